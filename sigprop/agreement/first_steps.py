"""``verify_first_step``: what theory has one step change, against finite networks that take it.

Rows are those of ``first_step``, of states and of parts of matrices' outputs as mean squares; an
equivalence test of all of them at once (``sigprop.verdict``), whose deciding row names the group
and the part that is off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.runtime.progress import Progress, Silent
from sigprop.simulations.measure import check_sizes
from sigprop.simulations.network.weights import least_width
from sigprop.simulations.training.propagation import Numbers
from sigprop.simulations.training.response import FirstStep
from sigprop.tables.table import Table
from sigprop.theory.first_step.response import POINTS, Response, response
from sigprop.verdict import Judgement, judge

START, FACTORS, CEILING = 64, (1, 2, 4), 2048
"""n1 at least, multiples of it beside n1/2, and the widest network."""
SMALL = 1e-3
"""Of the largest of a quantity: what is less is compared with this share of it."""


class Key(NamedTuple):
    """Which number a row is."""

    quantity: str
    group: str
    application: int | None
    token: int


class _Rows(NamedTuple):
    """Rows, what theory has there, its error, and where networks have them: the field of
    ``Numbers`` and the index of each."""

    keys: list[Key]
    values: np.ndarray
    errors: np.ndarray
    places: list[tuple[str, tuple[int, ...]]]


def verify_first_step(
    arch: Architecture,
    optimizer: str = "adam",
    rates: Mapping[str, float] | None = None,
    labels: Sequence[float] | None = None,
    *,
    tolerance: float = 0.05,
    theory: Architecture | None = None,
    width: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    points: int = POINTS,
    progress: Progress | None = None,
) -> Table:
    """Test if abs(lim_n (mean - theory)/scale) <= tolerance on every row of ``first_step``.

    arch: the network that is sampled; optimizer, rates, labels, points: as of ``first_step``;
    tolerance: relative, of mean squares where a row is one (``square_change`` of states, effective
    and propagating parts); theory: the architecture whose theory judges it (default: its own);
    width: n1 of the ladder n1/2, n1, 2 n1, 4 n1; samples: networks a rung (default: sized by a
    pilot); seed: of networks and of theory's samples. Returns a ``Table`` with theory, measured
    (extrapolated), deviation, se, lower, upper and verdict of every row. Raises ``InputError``, and
    ``NoRule`` for what has no first step.
    """
    check_sizes(width=width, samples=samples, seed=seed)
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance={tolerance}; accepted: a number between 0 and 1")
    _check_theory(arch, theory or arch)
    networks = _Networks(arch, optimizer, rates, labels, seed, progress or Silent())
    start = networks.start(width)
    found = response(theory or arch, optimizer, rates, labels, seed=seed, points=points)
    rows = _rows(arch, found, networks)
    networks.places = rows.places
    scale = _scales(rows)
    judgement = judge(
        networks,
        rows.values,
        scale,
        rows.errors,
        tolerance=tolerance,
        widths=FACTORS,
        start_width=start,
        ceiling=CEILING,
        samples=samples,
    )
    evidence = [_evidence(rows, scale, judgement, k) for k in range(len(rows.keys))]
    notes: dict[str, Any] = {
        "optimizer": optimizer,
        "seed": seed,
        "reason": judgement.reason,
        "widths": list(judgement.widths),
        "samples": list(judgement.samples),
    }
    if judgement.row is not None:
        notes["deciding_row"] = " ".join(str(x) for x in rows.keys[judgement.row] if x is not None)
    name, parameters = arch.name, dict(arch.parameters)
    return Table(name, parameters, evidence, "verify first-step", judgement.verdict, notes)


class _Networks:
    """Draw rows of first steps: (width, samples, stream) -> [samples, R]."""

    def __init__(
        self,
        arch: Architecture,
        optimizer: str,
        rates: Mapping[str, float] | None,
        labels: Sequence[float] | None,
        seed: int,
        progress: Progress,
    ):
        self.arch, self.optimizer, self.seed, self.progress = arch, optimizer, seed, progress
        self.rates, self.labels = rates, labels
        self.places: list[tuple[str, tuple[int, ...]]] = []
        self.steps: dict[int, FirstStep] = {}

    def at(self, width: int) -> FirstStep:
        """The program of a width."""
        if width not in self.steps:
            self.steps[width] = FirstStep(self.arch, width, self.optimizer)
        return self.steps[width]

    def start(self, width: int | None) -> int:
        """n1: as given, or the least from ``START`` on whose half the network can have. Raises
        ``InputError``."""
        step, most = 2 * least_width(self.arch, 64 * START), CEILING // FACTORS[-1]
        if width is not None and (width % step or width > most):
            raise InputError(f"width={width}; accepted: a multiple of {step} up to {most}")
        return width or step * math.ceil(START / step)

    def __call__(self, width: int, samples: int, stream: int) -> np.ndarray:
        self.progress.start(samples, f"width {width}")
        numbers: Numbers = self.at(width).networks(
            range(samples), self.seed, rates=self.rates, labels=self.labels, stream=stream
        )
        self.progress.advance(samples)
        return np.stack(
            [getattr(numbers, name)[(slice(None), *at)] for name, at in self.places], axis=1
        )


def _check_theory(arch: Architecture, theory: Architecture) -> None:
    """Raise ``InputError`` for a theory whose rows are others."""
    if any(getattr(arch, name) != getattr(theory, name) for name in ("groups", "depth", "tokens")):
        raise InputError(
            "theory: other groups, applications or tokens than the network; accepted: the same"
        )


def _rows(arch: Architecture, found: Response, networks: _Networks) -> _Rows:
    """Gather what both have, but for what is zero in every network."""
    keys: list[Key] = []
    values, errors, places = [], [], []

    def add(
        key: Key, estimate: Any, at: tuple[int, ...], place: tuple[str, tuple[int, ...]]
    ) -> None:
        if estimate.value[at] != 0:
            keys.append(key)
            values.append(float(estimate.value[at]))
            errors.append(float(estimate.error[at]))
            places.append(place)

    for at in np.ndindex(*found.output.value.shape):
        key = Key("output_change", found.settings[at[0]], None, at[1])
        add(key, found.output, at, ("output", at))
    for at in np.ndindex(*found.state.value.shape):
        key = Key("square_change", found.settings[at[0]], at[1], at[2])
        add(key, found.state, at, ("state", at))
    weights = networks.at(networks.start(None)).weights
    for name, parts in (("effective", found.effective), ("propagating", found.propagating)):
        for weight, estimate in parts.items():
            for use, token in np.ndindex(*estimate.value.shape):
                a = int(found.applications[weight][use])
                key = Key(f"{name}_square", weight, a + 1, token)
                add(key, estimate, (use, token), (name, (weights.index(weight), a, token)))
    return _Rows(keys, np.array(values), np.array(errors), places)


def _scales(rows: _Rows) -> np.ndarray:
    """Return what deviations are divided by: the prediction, or a share of the largest of its
    quantity and group."""
    largest: dict[tuple[str, str], float] = {}
    for key, value in zip(rows.keys, rows.values, strict=True):
        of = key.quantity, key.group
        largest[of] = max(largest.get(of, 0.0), abs(float(value)))
    floors = np.array([SMALL * largest[key.quantity, key.group] for key in rows.keys])
    return np.maximum(np.abs(rows.values), floors)


def _evidence(rows: _Rows, scale: np.ndarray, judgement: Judgement, k: int) -> dict[str, Any]:
    """Return a row's numbers and verdict."""
    shown = ("measured", "deviation", "se", "lower", "upper", "detectable")
    return (
        rows.keys[k]._asdict()
        | {
            "theory": float(rows.values[k]),
            "error": float(rows.errors[k]),
            "scale": float(scale[k]),
        }
        | {name: float(getattr(judgement, name)[k]) for name in shown}
        | {"tolerance": judgement.tolerance, "verdict": str(judgement.rows[k])}
    )

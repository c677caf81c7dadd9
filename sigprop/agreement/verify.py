"""``verify``: the theory's rows against finite networks, as an equivalence test
(``sigprop.verdict``, docs/verdict.md).

Rows: theory, measured (extrapolated to infinite width), scale, deviation a, se, lower and upper (90
%), tolerance, slope b (deviation a + b/n) and slope_se, detectable, verdict. A row's verdict is
``identity`` where theory and every network are alike within rounding (``identities``): it speaks
against a theory, never for one. With slopes judged or predicted also predicted_slope (with _error),
slope_margin, slope_verdict and, of an inconclusive one, slope_times: how many times the networks
would decide it (``slopes``, docs/verdict.md, "The slope"). Notes: engine (as asked) and engines
(the one of each rung), identities (how many rows).

The ladder is n1 x {1/2, 1, 2, 4, 8}, or n1 x {1/2, 1, 4, 16} where the matrix-free engine samples
the widest networks, from a tolerance of 5 % on {1, 2, 8} or {1, 4, 16}.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from sigprop.agreement.finite_width.controlled import has_form, twin_of
from sigprop.agreement.finite_width.measuring import AUTO, TWIN, check_control
from sigprop.agreement.identities import ROUNDING, Origins, change_limit, unmoved
from sigprop.agreement.sampler import Ladder, Sampler, Simulation, choose_ladder
from sigprop.agreement.slopes import (
    FITTED,
    PREDICTED,
    check_slope,
    columns,
    predicted_slopes,
    remarks,
)
from sigprop.description.architecture import Architecture, check_described
from sigprop.description.quantities import QUANTITIES
from sigprop.description.rows import judged, require_rows
from sigprop.description.shapes import Row
from sigprop.errors import Diverged, InputError
from sigprop.runtime.progress import Progress
from sigprop.simulations.engines.monte_carlo import TYPICAL, sample
from sigprop.simulations.measure import check_sizes
from sigprop.simulations.network.precision import BEYOND, SINGLE, check_dtype
from sigprop.tables.table import Table
from sigprop.theory.predictions.evaluate import evaluate, unscaled
from sigprop.verdict import IDENTITY, INCONCLUSIVE, Judgement, judge

FIXED_SAMPLES = 16  # networks that identities are looked for on
ZERO = 1e-12  # relative to a quantity's largest scale
# a tolerance from which on few networks decide: what counts is how many widths are compiled
LOOSE = 0.05
FEW = 600  # networks a width at LOOSE, its pilot's among them, of which there are TYPICAL at 1 %
FINE = 0.005  # a tolerance below which networks cost more than what a twin takes to compile
SHARE = 0.02  # of the tolerance, which the standard error of a twin's own mean may have
# stream of the networks that identities are looked for on; the verdict's own start at 0
SCOUT = 2**31


def verify(
    arch: Architecture,
    *,
    tolerance: float = 0.01,
    theory: Architecture | None = None,
    width: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    engine: str = "auto",
    dtype: str = SINGLE,
    quantities: Sequence[str] | None = None,
    applications: Sequence[int] | None = None,
    slope: str = FITTED,
    control: str = AUTO,
    memory_mib: int = 1024,
    progress: Progress | None = None,
) -> Table:
    """Test if abs(lim_n (mean - theory)/scale) <= tolerance on every row; the table's ``verdict``
    says, and each row its evidence.

    arch: the network that is sampled; theory: the architecture whose theory judges it (default: its
    own); tolerance: relative; width: n1 (default: found by a pilot); samples: networks a rung
    (default: sized so that a true theory is confirmed with probability 0.95); seed, engine, dtype,
    memory_mib, progress: as in ``measure``; quantities, applications: see ``rows.judged``; slope:
    'fitted', 'judged' (the theory's b of d = a + b/n is judged beside the rows that have a form for
    it, and a wrong one rejects), or 'predicted' (where it is confirmed, a is fitted with b fixed);
    control: 'twin' (networks are sampled with a twin where a row has a form for it: fewer of them
    do), 'none', or 'auto' (with one where every row has a form, below a tolerance of 0.5 %).
    Raises ``InputError``.
    """
    check_described(arch)
    check_sizes(width=width, samples=samples, seed=seed, memory_mib=memory_mib)
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance={tolerance}; accepted: a number between 0 and 1")
    rows = judged(arch, quantities, applications)
    require_rows(arch, quantities, rows)
    check_slope(slope, theory or arch, rows)
    check_control(control)
    simulation = Simulation(
        seed=seed,
        engine=engine,
        dtype=check_dtype(dtype),
        memory_mib=memory_mib,
        typical=_typical(tolerance),
    )
    sampler = Sampler(arch, rows, simulation, progress)
    ladder = choose_ladder(sampler, width, tolerance >= LOOSE)
    predicted = _predict(theory or arch, sampler)
    terms = _Terms(tolerance, samples, slope, theory or arch, control)
    return _table(sampler, predicted, ladder, terms)


def _typical(tolerance: float) -> int:
    """Return the networks a width, roughly: what the choice of an engine is made for."""
    return int(np.clip(TYPICAL * 0.01 / tolerance, FEW, TYPICAL))


@dataclass(frozen=True)
class _Theory:
    """Hold what a theory has for a verdict's rows and for the origins after them: values, None
    beyond 1e300; of the rows alone, scales and the theory's own errors."""

    name: str
    origins: Origins
    values: list[float | None]
    scales: list[float | None]
    errors: list[float | None]

    @property
    def rows(self) -> tuple[Row, ...]:
        """Return the rows that are judged."""
        return self.origins.rows[: len(self.scales)]


def _predict(theory: Architecture, sampler: Sampler) -> _Theory:
    """Evaluate the theory at the sampler's rows; raise ``InputError`` where it has no value."""
    count = len(sampler.rows)
    origins = Origins.find(sampler.arch, sampler.rows)
    values, scales, errors, *_ = evaluate(theory, origins.rows).required()
    return _Theory(
        theory.name,
        origins,
        [unscaled(*value) for value in values],
        [unscaled(*scale) for scale in scales[:count]],
        errors[:count],
    )


class _Terms(NamedTuple):
    """How rows are judged, and whose fluctuations their slopes are predicted from."""

    tolerance: float
    samples: int | None
    slope: str
    theory: Architecture
    control: str


def _table(sampler: Sampler, theory: _Theory, ladder: Ladder, terms: _Terms) -> Table:
    """Judge the rows and say how; inconclusive before any network where no network reaches the
    theory's value."""
    arch, rows, asked = sampler.arch, theory.rows, sampler.simulation
    notes: dict[str, Any] = {
        "seed": asked.seed,
        "engine": asked.engine,
        "dtype": asked.dtype,
        "theory": theory.name,
    }
    beyond = [row for row, value in zip(rows, theory.values, strict=False) if value is None]
    if beyond:
        evidence, verdict = [row.to_dict() for row in rows], INCONCLUSIVE
        notes |= {"reason": f"{beyond[0]} is beyond 1e300: no finite network reaches it"}
    else:
        ruler = _rulers(rows, theory.scales)
        judgement = _judge(sampler, theory, ladder, terms, ruler)
        evidence, verdict = _evidence(theory, ruler, judgement), judgement.verdict
        evidence = [row | sampler.about(k) for k, row in enumerate(evidence)]
        notes |= {"engines": [sampler.engine(width).name for width in judgement.widths]}
        notes |= _about(rows, judgement, asked.dtype)
    return Table(arch.name, dict(arch.parameters), evidence, "verify", verdict, notes)


def _rulers(rows: Sequence[Row], scale: Sequence[float | None]) -> np.ndarray:
    """Return what deviations are divided by: the scale; 1 for a row that is zero by symmetry
    (next to its quantity's largest, rounding)."""
    largest: dict[str, float] = {}
    for row, s in zip(rows, scale, strict=True):
        largest[row.quantity] = max(largest.get(row.quantity, 0.0), s or 0.0)
    return np.array(
        [
            s if s and s > ZERO * largest[row.quantity] else 1.0
            for row, s in zip(rows, scale, strict=True)
        ]
    )


def _judge(
    sampler: Sampler,
    theory: _Theory,
    ladder: Ladder,
    terms: _Terms,
    ruler: np.ndarray,
) -> Judgement:
    """Look for identities, then judge."""
    predicted = None
    if terms.slope != FITTED:
        use = terms.slope == PREDICTED
        predicted = predicted_slopes(terms.theory, theory.rows, ruler, use)
    identities = _identities(sampler, theory, ruler, ladder.start, terms)
    error = np.array(theory.errors, dtype=float)
    if sampler.beside is not None:
        predicted = predicted and replace(predicted, scatter=None)  # a twin takes most of it off
        error = error + sampler.beside.half_width[: len(ruler)]
    return judge(
        sampler,
        np.array(theory.values[: len(ruler)]),
        ruler,
        error,
        tolerance=terms.tolerance,
        widths=ladder.factors,
        start_width=ladder.start,
        ceiling=ladder.ceiling,
        cost=sampler.cost,
        samples=terms.samples,
        half_rung=terms.tolerance < LOOSE,
        identities=identities.alike | identities.unchanged,
        on_average=identities.unchanged,
        rounding=ROUNDING[sampler.simulation.dtype].allowed,
        predicted=predicted,
    )


class _Identities(NamedTuple):
    """[R] boolean each: rows that all networks have alike, and others that theory and every
    network leave as the stem (or the read-out) has them."""

    alike: np.ndarray
    unchanged: np.ndarray


def _identities(
    sampler: Sampler, theory: _Theory, ruler: np.ndarray, width: int, terms: _Terms
) -> _Identities:
    """Find the identities on a few networks; of the unchanged rows the sampler gives the change
    from there on, and no twin says anything of either."""
    origins, asked = theory.origins, sampler.simulation
    limit = change_limit(asked.dtype, sampler.arch.depth)
    pairs = origins.without_change(theory.values, ruler, limit)
    sampler.watch(origins, pairs)
    _put_beside(sampler, ruler, width, terms)
    values = sample(sampler.engine(width), FIXED_SAMPLES, asked.seed, SCOUT)
    columns = {row: sampler.at(origins, start) for row, start in pairs.items()}
    pairs = unmoved(values, columns, ruler, limit)
    sampler.origins = {
        row: (start, float(theory.values[origins.of[row]] or 0.0)) for row, start in pairs.items()
    }
    alike = (values[:, : len(ruler)] / ruler).std(axis=0) < ROUNDING[asked.dtype].spread
    alike &= ~np.array([QUANTITIES[row.quantity].event for row in theory.rows])
    unchanged = np.zeros_like(alike)
    unchanged[list(pairs)] = True
    if sampler.beside is not None:
        sampler.beside.used[: len(ruler)] &= ~(alike | unchanged)
    return _Identities(alike & ~unchanged, unchanged)


def _put_beside(sampler: Sampler, ruler: np.ndarray, width: int, terms: _Terms) -> None:
    """Sample with a twin from now on, where that is asked for and there is one."""
    arch = sampler.arch
    every = terms.tolerance < FINE and all(has_form(arch, row) for row in sampler.rows)
    if terms.control == TWIN or (terms.control == AUTO and every):
        twin = twin_of(arch, sampler.rows, required=terms.control == TWIN)
        if twin is not None:
            wanted = np.full(len(sampler.rows), np.inf)
            wanted[: len(ruler)] = terms.tolerance * ruler * SHARE
            sampler.put_beside(twin, width, wanted)


def _evidence(theory: _Theory, ruler: np.ndarray, judgement: Judgement) -> list[dict[str, Any]]:
    """Return each row's numbers and verdict."""
    shown = ("measured", "deviation", "se", "lower", "upper", "slope", "slope_se", "detectable")
    return [
        row.to_dict()
        | {"theory": theory.values[i], "scale": float(ruler[i])}
        | {name: float(getattr(judgement, name)[i]) for name in shown}
        | {"tolerance": judgement.tolerance, "verdict": str(judgement.rows[i])}
        | columns(judgement, i)
        for i, row in enumerate(theory.rows)
    ]


def _about(rows: Sequence[Row], judgement: Judgement, dtype: str) -> dict[str, Any]:
    """Return the notes of a verdict: why, and on which networks."""
    about: dict[str, Any] = {
        "reason": judgement.reason,
        "identities": judgement.rows.count(IDENTITY),
        "widths": list(judgement.widths),
        "samples": list(judgement.samples),
        "looks": judgement.looks,
    }
    about |= remarks(judgement)
    if about["identities"] == len(rows):
        more = "; what could: other quantities" + (
            ", or these in float64" if dtype == SINGLE else ""
        )
        about["reason"] = (
            f"every row is an identity within rounding ({dtype}): nothing could have failed{more}"
        )
    elif judgement.reason.startswith(str(Diverged())):
        about["reason"] = f"{judgement.reason} {BEYOND[dtype]}"
    if judgement.row is not None:
        about["deciding_row"] = str(rows[judgement.row])
    return about | ({"samples_needed": list(judgement.needed)} if judgement.needed else {})

"""``check``: the coordinate check as a test. Real optimiser steps on ladders of finite networks,
slopes judged against theory's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sigprop.coordinate_check.ladder import VARIABLES, WIDTH, Members, Rung, variables_of
from sigprop.coordinate_check.rates import NAMED, Parametrisation, named
from sigprop.coordinate_check.reference import first_step
from sigprop.coordinate_check.steps import EXTENSION, FIRST, LINEAR, Networks
from sigprop.description.architecture import Architecture
from sigprop.errors import InputError, near_miss
from sigprop.runtime.progress import Silent
from sigprop.simulations.measure import check_sizes
from sigprop.simulations.training.changes import OBSERVABLES, check_training
from sigprop.tables.table import Table
from sigprop.verdict.judgement import overall
from sigprop.verdict.slope import HALF_WIDTH, TOLERANCE, Fit, fit, judge, needed, point

NETWORKS, MOST = 32, 256
"""Networks a rung at the first look, and after the extension at most."""


def check(
    arch: Architecture,
    optimizer: str = "adamw",
    parametrisation: str | Parametrisation = "prescribed",
    seed: int = 0,
    variables: Sequence[str] | None = None,
    steps: Sequence[int] = (1, 10),
    *,
    ladders: Mapping[str, Sequence[int]] | None = None,
    width: int = WIDTH,
    loss: str = "linear",
    networks: int = NETWORKS,
    most: int = MOST,
    progress: Any = None,
) -> Table:
    """Slopes of ln(rms change) in ln(size), each tested for equivalence with the reference slope
    within +-0.1.

    arch: a registered architecture; what it is at other sizes is built from its parameters;
    optimizer: sgd, adam or adamw (optax); parametrisation: 'prescribed', 'naive', or a function
    (arch, width, optimizer) -> ``Rule``; seed: of weights, inputs and labels; variables: of width
    n, depth L and loops N, by default all it has; steps: after how many; ladders: {variable:
    sizes}, by default n = 128..1024, L and N = 2..32, the others at L = 2, N = 2 and n = width;
    loss: 'linear', -(1/T) sum y_t z_t with y = +-1, or 'squared'; networks, most: a rung, at first
    and after the one extension.

    A row is confirmed when the 95 % interval of slope - reference lies inside +-0.1 and half of it
    is at most 0.05, rejected when it lies wholly outside, else inconclusive; the table is rejected
    if any row is, else inconclusive if any is. reference: of the output after the first step the
    slope of the wide limit's prediction on the same ladder under the prescribed rates, where theory
    has it; else the leading exponent,
    0. predicted: that slope under the rates in use. Notes hold every point. Raises ``InputError``,
       ``Diverged``. Source: docs/check.md.
    """
    check_sizes(width=width, seed=seed)
    steps = check_training(optimizer, steps, loss)
    if not 4 <= networks <= most:
        raise InputError(
            f"networks={networks}, most={most}; accepted: at least 4, and most no smaller"
        )
    name, rule = named(parametrisation)
    right = Members(arch)
    family = Members(arch, {"residual_scale": 1.0}) if name == "naive" else right
    ladders = ladders or {}
    for unknown in set(ladders) - set(VARIABLES):
        raise InputError(f"ladders: {unknown!r}{near_miss(unknown, VARIABLES)}")
    every = {
        v: (family.ladder(v, ladders.get(v), width), right.ladder(v, ladders.get(v), width))
        for v in variables_of(arch, variables)
    }
    run = Networks(optimizer, rule, steps, loss, seed)
    # what it refuses it refuses before anything is run
    rule(*_of(next(iter(every.values()))[0][0]), optimizer)
    rows, points, rates = [], [], {}
    with ThreadPoolExecutor(1) as pool:  # theory compiles beside the networks
        predicted = {
            v: [
                pool.submit(_first_steps, *job)
                for job in ((own, optimizer, rule), (ref, optimizer, NAMED["prescribed"]))
            ]
            for v, (own, ref) in every.items()
        }
        try:
            for variable, (ladder, _) in every.items():
                rates[variable] = base = run.linear_rate(ladder[-1])
                found = _sampled(
                    run, ladder, base, (networks, most), predicted[variable], progress or Silent()
                )
                pairs = [(i, j) for i in range(len(steps)) for j in range(len(OBSERVABLES))]
                rows += [
                    {"quantity": OBSERVABLES[j], "variable": variable, "steps": steps[i]}
                    | _row(found, i, j)
                    for i, j in pairs
                ]
                points += [
                    {"quantity": OBSERVABLES[j], "variable": variable, "steps": steps[i]} | p
                    for i, j in pairs
                    for p in _points(found, base, i, j)
                ]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    notes = {
        "optimizer": optimizer,
        "parametrisation": name,
        "seed": seed,
        "loss": loss,
        "labels": "+-1 of each token",
        "rates": rates,
        "linear_within": LINEAR,
    }
    notes |= {
        "engine": "dense",
        "dtype": next(iter(run.programs.values())).dtype,
        "estimator": "ln of the rms over networks, tokens and coordinates",
    }
    notes |= {"tolerance": TOLERANCE, "half_width": HALF_WIDTH, "points": points}
    return Table(
        arch.name,
        dict(arch.parameters),
        rows,
        "check",
        overall([row["verdict"] for row in rows]),
        notes,
    )


@dataclass
class _Found:
    """Of one ladder: squared changes [networks, steps, observables] of each rung; ln of what
    theory has for the output after one step of base rate 1 at every size (None where it has it
    not everywhere), under the rule in use and, for reference, under the prescribed one."""

    steps: tuple[int, ...]
    ladder: Sequence[Rung]
    theory: list[float] | None
    reference: list[float] | None
    squares: list[np.ndarray] = field(default_factory=list)

    @property
    def sizes(self) -> list[int]:
        return [rung.size for rung in self.ladder]

    def of(self, known: list[float] | None, step: int, observable: int) -> list[float] | None:
        """What theory has, where it is about this step and observable."""
        return known if (self.steps[step], observable) == (1, 0) else None

    def fit(self, step: int, observable: int, known: list[float] | None = None) -> Fit:
        points = [point(x[:, step, observable]) for x in self.squares]
        found = fit(
            self.sizes,
            points,
            self.of(self.reference if known is None else known, step, observable),
        )
        # the rule's own prediction is not flat, and no network makes it so
        steep = known is None and abs(found.reference) > TOLERANCE
        return found._replace(reference=0.0) if steep else found


def _of(rung: Rung) -> tuple[Architecture, int]:
    return rung.arch, rung.width


def _first_steps(
    ladder: Sequence[Rung], optimizer: str, rule: Parametrisation
) -> list[float] | None:
    """None where theory has it not at every size, or there is no prescription (which only
    another rule's reference would want)."""
    try:
        found = [first_step(*_of(rung), optimizer, rule(*_of(rung), optimizer)) for rung in ladder]
    except InputError:
        return None
    known = [value for value in found if value is not None]
    return known if len(known) == len(found) else None


def _sampled(
    run: Networks,
    ladder: Sequence[Rung],
    base: float,
    networks: tuple[int, int],
    predicted: Sequence[Future],
    progress: Any,
) -> _Found:
    """The first look, and one extension with fresh networks, as many as its intervals ask for."""
    first, most = networks
    progress.start(len(ladder) * first, "networks")
    squares = run.ladder(ladder, base, first, FIRST, progress.advance)
    found = _Found(run.steps, ladder, predicted[0].result(), predicted[1].result(), squares)
    more = (
        max(
            needed(found.fit(i, j), first, most)
            for i in range(len(run.steps))
            for j in range(len(OBSERVABLES))
        )
        - first
    )
    if more > 0:
        progress.start(len(ladder) * more, "more networks")
        fresh = run.ladder(ladder, base, more, EXTENSION, progress.advance)
        found.squares = [np.concatenate(pair) for pair in zip(squares, fresh, strict=True)]
    return found


def _row(found: _Found, step: int, observable: int) -> dict[str, Any]:
    own, theory, widths = (
        found.fit(step, observable),
        found.of(found.theory, step, observable),
        {rung.width for rung in found.ladder},
    )
    off = own.slope - own.reference
    row = {
        "slope": own.slope,
        "se": own.se,
        "predicted": None if theory is None else found.fit(step, observable, theory).reference,
        "reference": own.reference,
        "deviation": off,
        "lower": off - own.half,
        "upper": off + own.half,
        "tolerance": TOLERANCE,
        "verdict": judge(own),
        "sizes": found.sizes,
        "samples": len(found.squares[0]),
        "width": widths.pop() if len(widths) == 1 else None,
    }
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def _points(found: _Found, base: float, step: int, observable: int) -> list[dict[str, Any]]:
    """Every rung's rms change, and theory's where it is known."""
    rows, theory = [], found.of(found.theory, step, observable)
    for r, (rung, squares) in enumerate(zip(found.ladder, found.squares, strict=True)):
        p = point(squares[:, step, observable])
        own = {
            "size": rung.size,
            "value": math.exp(p.log),
            "relative_se": p.se,
            "theory": None if theory is None else base * math.exp(theory[r]),
        }
        rows.append(
            own | {"samples": p.networks, "width": rung.width, "applications": rung.arch.depth}
        )
    return rows

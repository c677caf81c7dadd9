"""``evaluate``: rows read off the kernels, at resolutions whose disagreement is the stated numerical error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from sigprop.architecture import Architecture
from sigprop.expression import Activate, Attend
from sigprop.quantities import QUANTITIES
from sigprop.rows import Row
from sigprop.theory import dual, field
from sigprop.theory.kernels import COARSE, DEGREE, sampled_kernels
from sigprop.theory.passes import FORWARD, GRADIENTS, NTK, WEIGHTS
from sigprop.theory.program import Room
from sigprop.theory.values import Scaled, Values
from sigprop.traversal import walk

LARGEST = 1e300  # beyond it a value is given by its logarithm only
REPLICATES = 16  # independent sets of sampled heads, whose mean is the value and whose scatter is its error
CONFIDENCE = 0.99  # of the error stated for sampled heads


def status(arch: Architecture) -> str:
    """'exact' where every activation has a closed form and attention is uniform, else 'quadrature'."""
    return "quadrature" if _series(arch) or sampled(arch) or arch.modulators else "exact"


def _nodes(arch: Architecture, kind: type) -> list:  # type: ignore[type-arg]
    branches = [block.branch for block in arch.sub_blocks] + [arch.readout.branch]
    return [node for branch in branches for node in walk(branch) if isinstance(node, kind)]


def _series(arch: Architecture) -> bool:
    return any(dual.status(node.activation) == "quadrature" for node in _nodes(arch, Activate))


def sampled(arch: Architecture) -> bool:
    """Whether attention's expectation is taken over sampled heads."""
    return arch.tokens > 1 and any(not node.scores.uniform for node in _nodes(arch, Attend))


def unscaled(value: float, log: float) -> float | None:
    """The plain number, or None beyond 1e300."""
    if value == 0:
        return 0.0
    return math.copysign(math.exp(log + math.log(abs(value))), value) if log + math.log(abs(value)) < math.log(LARGEST) else None


class Evaluated(NamedTuple):
    """Of the rows: values, scales (what a deviation is divided by, docs/verdict.md, step 2), errors, and with learned modulators the standard
    deviations between networks (of forward rows; else None)."""

    values: list[Scaled]
    scales: list[Scaled]
    errors: list[float | None]
    sds: list[float | None]


def evaluate(arch: Architecture, rows: Sequence[Row], approximation: str | None = None, room: Room = Room(), sets: int = REPLICATES) -> Evaluated:  # noqa: B008 (a tuple)
    """The rows' wide limits; room: ``program.Room``; sets: of sampled heads or modulators' scores, where there are any.

    errors: rounding; where a Hermite series is used, the difference of two degrees; where heads or modulators' scores are sampled, the
    half-width of a 99 % interval (Student's t) over ``REPLICATES`` independent sets, whose mean is the value.
    """
    seen = {row.application for row in rows if row.application_2 is not None and row.application is not None}
    turned = max((row.application or 0 for row in rows if row.quantity == "rotation"), default=0)
    seen |= set(range(turned))
    columns = tuple(sorted(seen | {0} if any(row.quantity == "logit_contact" for row in rows) else seen)) or (0,)
    reach = max((_reach(row.quantity) for row in rows), default=FORWARD)
    seeds = range(sets if (sampled(arch) or arch.modulators) and approximation is None else 1)
    draws = [[Values(arch, one) for one in sampled_kernels(arch, columns, DEGREE, seed, reach, approximation, room)] for seed in seeds]
    every = [[[one.value(row) for one in each] for row in rows] for each in draws]
    known = {r: (field.skip_rate(arch, row.application or 0), 0.0) for r, row in enumerate(rows) if row.quantity == "skip_rate"}
    found = [[known.get(r) or _mean(each) for r, each in enumerate(own)] for own in every]
    values = [_mean([values[r] for values in found]) for r in range(len(rows))]
    errors: list[float | None] = [None if (v := unscaled(*value)) is None else abs(v) * 1e-14 * (10 + arch.depth) for value in values]
    others: list[list[float | None]] = []
    if len(draws) > 1:
        width = float(student.ppf((1 + CONFIDENCE) / 2, len(draws) - 1)) / math.sqrt(len(draws))
        others.append([_spread([values[r] for values in found], values[r][1], width) for r in range(len(rows))])
    if _series(arch):
        coarse = [Values(arch, one) for one in sampled_kernels(arch, columns, COARSE, 0, reach, approximation, room)]
        others.append([_difference(found[0][r], _mean([one.value(row) for one in coarse])) for r, row in enumerate(rows)])
    for other in others:
        errors = [None if own is None or more is None else max(own, more) for own, more in zip(errors, other, strict=True)]
    sds = [
        _spread([v for own in every for v in own[r]], values[r][1], 1.0) if arch.modulators and not QUANTITIES[row.quantity].backward else None
        for r, row in enumerate(rows)
    ]
    return Evaluated(values, [_scale(draws[0], row, value) for row, value in zip(rows, values, strict=True)], errors, sds)


def _reach(quantity: str) -> int:
    """How far the passes go for it."""
    beyond = {"weight_gradient": WEIGHTS, "ntk": NTK}
    return beyond.get(quantity, GRADIENTS if QUANTITIES[quantity].backward else FORWARD)


def _scale(sets: Sequence[Values], row: Row, value: Scaled) -> Scaled:
    """As ``Values.scale``; of a covariance from the means of its two ends."""
    return sets[0].scale(row, value) if len(sets) == 1 else _mean([one.scale(row, value) for one in sets])


def _mean(values: Sequence[Scaled]) -> Scaled:
    top = max(log for _, log in values)
    return float(np.mean([v * math.exp(log - top) for v, log in values])), top


def _spread(values: Sequence[Scaled], log: float, width: float) -> float | None:
    return unscaled(width * float(np.std([v * math.exp(own - log) for v, own in values], ddof=1)), log)


def _difference(value: Scaled, other: Scaled) -> float | None:
    a, b = unscaled(*value), unscaled(*other)
    return None if a is None or b is None else abs(a - b)

"""What a verdict says: one entry a row, and the answer for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sigprop.verdict.moments import Floats
from sigprop.verdict.sampling import Draw

CONFIRMED, REJECTED, INCONCLUSIVE = "confirmed", "rejected", "inconclusive"
IDENTITY = "identity"
"""Of a row that theory and every network have alike within rounding: it can speak against a
theory (rejected), not for it."""
Verdicts = NDArray[np.object_]
"""A verdict (text) for each row."""


def overall(verdicts: Sequence[str]) -> str:
    """Rejected if any is, else inconclusive if any is (or there is none), else confirmed."""
    return (
        REJECTED
        if REJECTED in verdicts
        else INCONCLUSIVE
        if INCONCLUSIVE in verdicts or not verdicts
        else CONFIRMED
    )


@dataclass(frozen=True)
class Judgement:
    """The verdict and its evidence; arrays are [R] (rows), deviations d = (x - theory)/scale.

    measured: theory + a * scale, the value extrapolated to infinite width. deviation, se: a and its
    standard error. lower, upper: 90 % interval of a (repeated over the two looks, widened by the
    theory's error). simultaneous_lower, simultaneous_upper: 99 % for all rows at once. slope,
    slope_se: b of d = a + b/n, in units of width. linear: a of the fit without a 1/n^2 term, for
    comparison. detectable: smallest |a| estimate that would have been rejected. misfit: p-values of
    lack of fit. row: the deciding one. widths, samples: the rungs judged. needed: networks a rung
    that would decide it, None where no number would. draws: every sampler call. rows: a verdict
    each, ``identity`` where nothing could have failed; these do not count. Identity rows: a is the
    networks' mean, the intervals their range. Source: docs/verdict.md, step 11.
    """

    verdict: str
    reason: str
    row: int | None
    tolerance: float
    rows: tuple[str, ...]
    measured: Floats
    deviation: Floats
    se: Floats
    lower: Floats
    upper: Floats
    simultaneous_lower: Floats
    simultaneous_upper: Floats
    slope: Floats
    slope_se: Floats
    linear: Floats
    detectable: Floats
    misfit: Floats
    widths: tuple[int, ...] = ()
    samples: tuple[int, ...] = ()
    looks: int = 0
    needed: tuple[int, ...] | None = None
    cost: float = 0.0
    draws: tuple[Draw, ...] = field(default=(), repr=False)


ARRAYS = (
    "measured",
    "deviation",
    "se",
    "lower",
    "upper",
    "simultaneous_lower",
    "simultaneous_upper",
    "slope",
    "slope_se",
    "linear",
    "detectable",
    "misfit",
)


def empty(rows: int) -> dict[str, Floats]:
    """Every array full of NaN: not measured."""
    return {name: np.full(rows, np.nan) for name in ARRAYS}

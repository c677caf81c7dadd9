"""What a verdict is asked, and what it says: one entry a row, and the answer for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sigprop.verdict.moments import Booleans, Floats
from sigprop.verdict.sampling import Draw

CONFIRMED, REJECTED, INCONCLUSIVE = "confirmed", "rejected", "inconclusive"
IDENTITY = "identity"
"""Of a row that theory and every network have alike within rounding: it can speak against a
theory (rejected), not for it."""
Verdicts = NDArray[np.object_]
"""A verdict (text) for each row."""


def overall(verdicts: Sequence[str]) -> str:
    """Return rejected if any is, else inconclusive if any is (or there is none), else
    confirmed."""
    return (
        REJECTED
        if REJECTED in verdicts
        else INCONCLUSIVE
        if INCONCLUSIVE in verdicts or not verdicts
        else CONFIRMED
    )


@dataclass(frozen=True)
class Predicted:
    """Hold the slopes b of d = a + b/n that a theory has, [R] each (NaN: none), in units of width,
    and half their 99 % intervals; use: fix b in the fit of a where the networks confirm it;
    scatter: n Var of d [R] of one network, likewise, which sizes the run (None: the pilot does)."""

    slope: Floats
    error: Floats
    use: bool = False
    scatter: Floats | None = None

    def rows(self, keep: NDArray[np.intp]) -> Predicted:
        """Return the rows ``keep`` only."""
        scatter = None if self.scatter is None else self.scatter[keep]
        return Predicted(self.slope[keep], self.error[keep], self.use, scatter)


@dataclass(frozen=True)
class Tested:
    """Hold the rows that are judged, [R] each.

    theory, scale: what is claimed of their means, and what deviations are divided by, > 0. error:
    absolute numerical error of the theory, here over scale. identities: rows that hold in every
    network, compared to ``Terms.rounding`` (in d) and to nothing else: they reject, and never
    confirm (with no other row the verdict is inconclusive). on_average: those of them whose mean is
    compared, not every network. predicted: slopes that are judged beside the rows.
    """

    theory: Floats
    scale: Floats
    error: Floats
    identities: Booleans
    on_average: Booleans
    predicted: Predicted | None = None


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Say how rows are judged.

    tolerance, rounding: of d. widths: ascending factors of n1. half_rung: also sample n1/2, where
    curvature is cheap to see; without it n1 may leap (``pilot.climb``) and the same precision costs
    about twice as much and needs at least three widths. start_width: first n1 (default 32,
    must be even; n1 only doubles). ceiling: largest width ever sampled. samples: networks a rung
    and look instead of planned ones (one number or one a rung, smallest width first). max_cost:
    limit on the sum of ``cost`` (of a network of a width, default n^2) over everything sampled; a
    run that would exceed it shrinks, down to 200 networks a rung (the pilot, at 1 % the cost of
    some 20,000 networks of width n1, is never cut).
    """

    tolerance: float
    rounding: float
    widths: Sequence[int]
    half_rung: bool
    start_width: int
    ceiling: int
    samples: int | Sequence[int] | None
    max_cost: float | None

    @property
    def factors(self) -> Floats:
        """Return all factors of n1, [k]."""
        return np.array(([0.5] if self.half_rung else []) + [float(w) for w in self.widths])

    @property
    def counts(self) -> Sequence[int] | None:
        """Return ``samples`` for each rung."""
        if isinstance(self.samples, int):
            return [self.samples] * len(self.factors)
        return self.samples


@dataclass(frozen=True)
class Judgement:
    """Hold the verdict and its evidence; arrays are [R] (rows), deviations d = (x - theory)/scale.

    measured: theory + a * scale, the value extrapolated to infinite width. deviation, se: a and its
    standard error. lower, upper: 90 % interval of a (repeated over the two looks, widened by the
    theory's error). simultaneous_lower, simultaneous_upper: 99 % for all rows at once. slope,
    slope_se: b of d = a + b/n, in units of width. linear: a of the fit without a 1/n^2 term, for
    comparison. predicted_slope, predicted_slope_error, slope_margin: what ``Predicted`` has, and by
    how much the fitted one may differ; slope_times: how many times the networks would decide an
    inconclusive one; slopes: their verdicts, '' where none is predicted. detectable: smallest |a|
    estimate that would have been rejected. misfit: p-values of lack of fit. row: the deciding one.
    widths, samples: the rungs judged. needed: networks a rung that would decide it, None where no
    number would. draws: every sampler call. rows: a verdict each, ``identity`` where nothing could
    have failed; these do not count. Identity rows: a is the
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
    predicted_slope: Floats
    predicted_slope_error: Floats
    slope_margin: Floats
    slope_times: Floats
    slopes: tuple[str, ...] = ()
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
    "predicted_slope",
    "predicted_slope_error",
    "slope_margin",
    "slope_times",
)


def empty(rows: int) -> dict[str, Floats]:
    """Return every array full of NaN: not measured."""
    return {name: np.full(rows, np.nan) for name in ARRAYS}

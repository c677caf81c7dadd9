"""From the rungs' moments to intervals and to a verdict for every row (docs/verdict.md, step 5
to 9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sigprop.verdict.fit import Fit, Known, fit, fit_known, lack_of_fit, weights
from sigprop.verdict.judgement import CONFIRMED, INCONCLUSIVE, REJECTED, Predicted, Verdicts
from sigprop.verdict.looks import boundary, simultaneous, student
from sigprop.verdict.moments import Booleans, Floats, Moments
from sigprop.verdict.pilot import TINY
from sigprop.verdict.sizing import Plan

MISFIT_LEVEL = 0.001
# part of a rung's scatter that one network may carry; a standard error beyond it is luck
HEAVY = 0.25
PULL = 20  # ... unless all that this network moves the estimate by is below tolerance / 20
PART = 0.5  # of the tolerance, which a slope within its margin moves a by at most
NO_LEVER = 1e-6  # least |g|: a margin is finite


@dataclass(frozen=True)
class Evidence:
    """Hold the arrays of ``Judgement`` for the rows under test, and each row's verdict, reason and
    factor still needed."""

    arrays: dict[str, Floats]
    verdicts: Verdicts
    troubled: Booleans
    trouble: tuple[str, ...]
    factor: Floats

    @property
    def misfits(self) -> Booleans:
        """Tell the [R] rows whose lack of fit is significant at 0.001, Bonferroni over rows."""
        return self.arrays["misfit"] < MISFIT_LEVEL / len(self.verdicts)


def weigh_up(
    rungs: Sequence[Moments],
    plan: Plan,
    ladder: Floats,
    *,
    n1: int,
    error: Floats,
    tolerance: float,
    known: Known | None = None,
) -> Evidence:
    """Return intervals a +- (c se + w), w = error (+ |a - a1| where the fit fails), and what they
    decide.

    error: [R], the theory's own absolute error over scale. a: intercept of a + b/n + c/n^2, a1: of
    a + b/n. known: slopes b that the fit takes as they are; w is wider by what their error moves a.
    A row is rejected if its simultaneous interval lies outside +-tolerance, confirmed if
    its 90 % interval lies inside; a row with lack of fit or with one network behind its standard
    error is not confirmed, the latter not rejected.
    """
    best, line = fit(rungs, plan.weight), _line(rungs, 1 / ladder)
    if known is not None:
        best = fit_known(rungs, plan.weight, plan.lever, known)
        error = error + np.where(known.used, abs(plan.lever) * known.error, 0.0)
    misfit, shares, unfit, heavy = troubles(rungs, plan, ladder, tolerance)
    wide = error + np.where(unfit, abs(best.intercept - line.intercept), 0.0)
    interval = Interval.of(best, wide, plan.looks)
    arrays = interval.arrays | {
        "slope": best.coefficients[1] * n1,
        "slope_se": best.errors[1] * n1,
        "linear": line.intercept,
        "detectable": tolerance + interval.far,
        "misfit": misfit,
    }
    verdicts: Verdicts = np.full(len(misfit), INCONCLUSIVE, dtype=object)
    verdicts[interval.inside(tolerance) & ~unfit & ~heavy] = CONFIRMED
    verdicts[interval.outside(tolerance) & ~heavy] = REJECTED
    trouble = tuple(map(_trouble, heavy, unfit, shares, misfit))
    return Evidence(arrays, verdicts, unfit | heavy, trouble, interval.factor(tolerance))


class Troubles(NamedTuple):
    """What speaks against rows' intervals, [R] each: p-value of lack of fit, largest part of a
    rung's scatter that one network carries, and whether each is too much."""

    misfit: Floats
    shares: Floats
    unfit: Booleans
    heavy: Booleans


def troubles(rungs: Sequence[Moments], plan: Plan, ladder: Floats, tolerance: float) -> Troubles:
    """Look for lack of fit, and for single networks behind a standard error."""
    misfit = _misfit(rungs, ladder, tolerance)
    shares = np.stack([r.variance_share for r in rungs]).max(axis=0)
    heavy = (shares > HEAVY) & (_pull(rungs, plan.weight[0]) > tolerance / PULL)
    return Troubles(misfit, shares, misfit < MISFIT_LEVEL / len(misfit), heavy)


def _line(rungs: Sequence[Moments], x: Floats) -> Fit:
    """Fit a + b x."""
    variance = np.stack([np.maximum(r.variance, TINY) / r.count for r in rungs])
    return fit(rungs, weights(x, variance, 1))


def _misfit(rungs: Sequence[Moments], ladder: Floats, tolerance: float) -> Floats:
    """Return each row's p-value of lack of fit, up to a misfit that could not change a verdict."""
    size = np.maximum(1.0, rungs[int(np.argmin(abs(ladder - 1)))].size)
    return lack_of_fit(rungs, 1 / ladder, 2, tolerance / 50 * size)


def _pull(rungs: Sequence[Moments], weight: Floats) -> Floats:
    """Return by how much one network moves each row's estimate: too little to matter, or not."""
    return np.stack([abs(w) * r.reach / r.count for w, r in zip(weight, rungs, strict=True)]).max(
        axis=0
    )


def _trouble(heavy: bool, unfit: bool, share: float, p: float) -> str:
    """Say what speaks against a row's interval."""
    if heavy:
        return f"one network carries {share:.0%} of the row's variance"
    return f"lack of fit, p = {p:.1g}" if unfit else ""


@dataclass(frozen=True)
class Interval:
    """Estimates a with their standard errors, critical values for a row alone and for all rows at
    once, and what the intervals are widened by: [R] each."""

    a: Floats
    se: Floats
    critical: Floats
    limit: Floats
    wide: Floats

    @classmethod
    def of(cls, best: Fit, wide: Floats, looks: int) -> Interval:
        """Return the intervals of a fit that is looked at so many times."""
        critical = student(boundary(looks), best.freedom)
        limit = student(simultaneous(best.covariance, looks), best.freedom)
        return cls(best.intercept, best.se, critical, limit, wide)

    @classmethod
    def at_one_width(cls, moments: Moments, wide: Floats) -> Interval:
        """Return the intervals of networks of one width about their own mean (``judge``
        extrapolates, this does not)."""
        freedom = np.full(len(moments.mean), float(moments.count - 1))
        critical = student(boundary(1), freedom)
        limit = student(simultaneous(moments.covariance, 1), freedom)
        se = np.sqrt(moments.variance / moments.count)
        return cls(moments.mean, se, critical, limit, wide)

    @property
    def half(self) -> Floats:
        """Return half of the 90 % interval."""
        return self.critical * self.se + self.wide

    @property
    def far(self) -> Floats:
        """Return half of the simultaneous interval."""
        return self.limit * self.se + self.wide

    @property
    def arrays(self) -> dict[str, Floats]:
        """Return both intervals by the names they have in ``Judgement``."""
        return {
            "deviation": self.a,
            "se": self.se,
            "lower": self.a - self.half,
            "upper": self.a + self.half,
            "simultaneous_lower": self.a - self.far,
            "simultaneous_upper": self.a + self.far,
        }

    def inside(self, tolerance: float) -> Booleans:
        """Tell which 90 % intervals lie inside +-tolerance."""
        return abs(self.a) + self.half <= tolerance

    def outside(self, tolerance: float) -> Booleans:
        """Tell which simultaneous intervals lie outside +-tolerance."""
        return abs(self.a) - self.far > tolerance

    def factor(self, tolerance: float) -> Floats:
        """Return how many times the networks would decide each row if a stays where it is;
        infinite where no number would."""
        gap = abs(abs(self.a) - tolerance) - self.wide
        critical = np.where(abs(self.a) < tolerance, self.critical, self.limit)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = (critical * self.se / gap) ** 2
        return np.where(gap > 0, factor, np.inf)


def deciding(evidence: Evidence, tolerance: float) -> tuple[str, int]:
    """Return the overall verdict and its row: the clearest rejection, else the row hardest to
    decide, else the confirmed row nearest to +-tolerance."""
    verdicts = evidence.verdicts
    arrays = evidence.arrays
    if (verdicts == REJECTED).any():
        beyond = np.maximum(arrays["simultaneous_lower"], -arrays["simultaneous_upper"]) - tolerance
        return REJECTED, int(np.argmax(np.where(verdicts == REJECTED, beyond, -np.inf)))
    if (verdicts == INCONCLUSIVE).any():
        hard = np.where(evidence.troubled, np.inf, evidence.factor)
        return INCONCLUSIVE, int(np.argmax(np.where(verdicts == INCONCLUSIVE, hard, -1.0)))
    return CONFIRMED, int(np.argmax(np.maximum(arrays["upper"], -arrays["lower"])))


@dataclass(frozen=True)
class Slopes:
    """Hold the arrays of ``Judgement`` about predicted slopes, each row's verdict ('' where nothing
    is predicted), and what a fit of a may take as known."""

    arrays: dict[str, Floats]
    verdicts: Verdicts
    known: Known


def weigh_slopes(
    rungs: Sequence[Moments],
    plan: Plan,
    ladder: Floats,
    *,
    predicted: Predicted,
    n1: int,
    tolerance: float,
) -> Slopes:
    """Judge predicted slopes b of d = a + b/n beside the fitted ones.

    What counts of a slope is how far it moves a: with b fixed the fit has a - g (b_fitted - b), g =
    Cov(a, b)/Var(b), ``plan.lever``. So the margin is what moves a by half the tolerance, and the
    test is the rows' own: confirmed if the 90 % interval of b_fitted - b lies inside, rejected if
    the simultaneous 99 % interval lies outside, both widened by the prediction's error. Under
    normal errors a with b fixed is independent of b_fitted: to confirm b first does not bend the
    interval of a. A row with lack of fit, or with one network behind its standard error, is neither
    confirmed nor rejected.

    ladder: factors of n1; predicted: of the same rows; n1: the width at x = 1. Source:
    docs/verdict.md, "The slope"; tests/verdict/test_predicted_slopes.py.
    """
    has = np.isfinite(predicted.slope)
    slope = np.where(has, predicted.slope, 0.0) / n1
    error = np.where(has, predicted.error, 0.0) / n1
    lever = np.maximum(abs(plan.lever), NO_LEVER)
    moved = fit(rungs, (lever * plan.weight[1])[None])
    offset = moved.coefficients - lever * slope
    interval = Interval.of(
        type(moved)(offset, moved.errors, moved.covariance, moved.freedom),
        lever * error,
        plan.looks,
    )
    margin = PART * tolerance
    found = troubles(rungs, plan, ladder, tolerance)
    verdicts = _slope_verdicts(interval, margin, has, ~found.unfit & ~found.heavy)
    arrays = {
        "predicted_slope": predicted.slope,
        "predicted_slope_error": np.where(has, predicted.error, np.nan),
        "slope_margin": np.where(has, margin / lever * n1, np.nan),
        "slope_times": np.where(verdicts == INCONCLUSIVE, interval.factor(margin), np.nan),
    }
    return Slopes(arrays, verdicts, Known(slope, error, has & (verdicts == CONFIRMED)))


def _slope_verdicts(interval: Interval, margin: float, has: Booleans, sound: Booleans) -> Verdicts:
    """Return the verdict of each row that has a slope."""
    verdicts: Verdicts = np.full(len(has), "", dtype=object)
    verdicts[has] = INCONCLUSIVE
    verdicts[has & sound & interval.inside(margin)] = CONFIRMED
    verdicts[has & sound & interval.outside(margin)] = REJECTED
    return verdicts

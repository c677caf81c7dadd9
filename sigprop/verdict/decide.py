"""From the rungs' moments to intervals and to a verdict for every row (docs/verdict.md, step 5
to 9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sigprop.verdict.fit import fit, lack_of_fit, weights
from sigprop.verdict.judgement import CONFIRMED, INCONCLUSIVE, REJECTED, Verdicts
from sigprop.verdict.looks import boundary, simultaneous, student
from sigprop.verdict.moments import Booleans, Floats, Moments
from sigprop.verdict.pilot import TINY
from sigprop.verdict.sizing import Plan

MISFIT_LEVEL = 0.001
# part of a rung's scatter that one network may carry; a standard error beyond it is luck
HEAVY = 0.25
PULL = 20  # ... unless all that this network moves the estimate by is below tolerance / 20


@dataclass(frozen=True)
class Evidence:
    """The arrays of ``Judgement`` for the rows under test, and each row's verdict, reason and
    factor still needed."""

    arrays: dict[str, Floats]
    verdicts: Verdicts
    troubled: Booleans
    trouble: tuple[str, ...]
    factor: Floats

    @property
    def misfits(self) -> Booleans:
        """[R] rows whose lack of fit is significant at 0.001, Bonferroni over rows."""
        return self.arrays["misfit"] < MISFIT_LEVEL / len(self.verdicts)


def weigh_up(
    rungs: Sequence[Moments],
    plan: Plan,
    n1: int,
    ladder: Floats,
    error: Floats,
    tolerance: float,
) -> Evidence:
    """Intervals a +- (c se + w), w = error (+ |a - a1| where the fit fails), and what they decide.

    error: [R], the theory's own absolute error over scale. a: intercept of a + b/n + c/n^2, a1: of
    a + b/n. A row is rejected if its simultaneous interval lies outside +-tolerance, confirmed if
    its 90 % interval lies inside; a row with lack of fit or with one network behind its standard
    error is not confirmed, the latter not rejected.
    """
    x = 1 / ladder
    best = fit(rungs, plan.weight)
    variance = np.stack([np.maximum(r.variance, TINY) / r.count for r in rungs])
    line = fit(rungs, weights(x, variance, 1))
    size = np.maximum(1.0, rungs[int(np.argmin(abs(ladder - 1)))].size)
    misfit = lack_of_fit(rungs, x, 2, tolerance / 50 * size)
    unfit = misfit < MISFIT_LEVEL / len(misfit)
    shares = np.stack([r.variance_share for r in rungs]).max(axis=0)
    pull = np.stack(
        [abs(w) * r.reach / r.count for w, r in zip(plan.weight[0], rungs, strict=True)]
    ).max(axis=0)
    # what one network moves a by: too little to matter, or not
    heavy = (shares > HEAVY) & (pull > tolerance / PULL)
    a, se = best.intercept, best.se
    wide = error + np.where(unfit, abs(a - line.intercept), 0.0)
    critical = student(boundary(plan.looks), best.freedom)
    limit = student(simultaneous(best.covariance, plan.looks), best.freedom)
    half, far = critical * se + wide, limit * se + wide
    inside = abs(a) + half <= tolerance
    outside = abs(a) - far > tolerance
    verdicts: Verdicts = np.full(len(a), INCONCLUSIVE, dtype=object)
    verdicts[inside & ~unfit & ~heavy] = CONFIRMED
    verdicts[outside & ~heavy] = REJECTED
    trouble = tuple(
        f"one network carries {share:.0%} of the row's variance"
        if h
        else f"lack of fit, p = {p:.1g}"
        if u
        else ""
        for h, u, share, p in zip(heavy, unfit, shares, misfit, strict=True)
    )
    arrays = {
        "deviation": a,
        "se": se,
        "lower": a - half,
        "upper": a + half,
        "simultaneous_lower": a - far,
        "simultaneous_upper": a + far,
        "slope": best.coefficients[1] * n1,
        "slope_se": best.errors[1] * n1,
        "linear": line.intercept,
        "detectable": tolerance + far,
        "misfit": misfit,
    }
    return Evidence(
        arrays, verdicts, unfit | heavy, trouble, _factor(a, se, critical, limit, wide, tolerance)
    )


def _factor(
    a: Floats,
    se: Floats,
    critical: Floats,
    limit: Floats,
    wide: Floats,
    tolerance: float,
) -> Floats:
    """How many times the networks would decide each row if a stays where it is; infinite where
    no number would."""
    gap = abs(abs(a) - tolerance) - wide
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = (np.where(abs(a) < tolerance, critical, limit) * se / gap) ** 2
    return np.where(gap > 0, factor, np.inf)


def deciding(evidence: Evidence, tolerance: float) -> tuple[str, int]:
    """Overall verdict and its row: the clearest rejection, else the row hardest to decide, else
    the confirmed row nearest to +-tolerance."""
    verdicts = evidence.verdicts
    arrays = evidence.arrays
    if (verdicts == REJECTED).any():
        beyond = np.maximum(arrays["simultaneous_lower"], -arrays["simultaneous_upper"]) - tolerance
        return REJECTED, int(np.argmax(np.where(verdicts == REJECTED, beyond, -np.inf)))
    if (verdicts == INCONCLUSIVE).any():
        hard = np.where(evidence.troubled, np.inf, evidence.factor)
        return INCONCLUSIVE, int(np.argmax(np.where(verdicts == INCONCLUSIVE, hard, -1.0)))
    return CONFIRMED, int(np.argmax(np.maximum(arrays["upper"], -arrays["lower"])))

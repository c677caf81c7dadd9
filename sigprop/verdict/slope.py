"""Slopes of ``check``: ln of a change against ln of a size, by weighted least squares, and the
equivalence test against a reference slope.

    y_i = (1/2) ln mean_k x_ik,   se_i = sd_i/(2 sqrt(S_i) mean_i)     x_ik: squared change in
                                  network k of rung i (delta method)
    slope = sum_i c_i y_i,        se^2 = sum_i c_i^2 se_i^2            networks of different rungs
                                  are independent

The mean of squares, because the wide limit has it exactly with labels +-1: E (sum_s K_ts y_s)^2 =
sum_s K_ts^2. The interval has Student's t with Welch and Satterthwaite's degrees of freedom.
Weights 1/se_i^2 are estimated from the same networks; the reference is fitted with the same, and
its own error, sum_i c_i^2 error_i^2 of independent sizes, widens the interval.

Looks are at 1, 2, 4, ... times as many networks. Of K that there may be, each has an interval of
1 - 5 %/K (Bonferroni), so that all that are taken hold the slope with at least 95 %, however it is
decided to take another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sigprop.verdict.judgement import CONFIRMED, INCONCLUSIVE, REJECTED
from sigprop.verdict.moments import Floats

TOLERANCE, HALF_WIDTH, LEVEL = 0.1, 0.05, 0.95


class Point(NamedTuple):
    """ln of the rms change at one size, its standard error, networks."""

    log: float
    se: float
    networks: int


class Known(NamedTuple):
    """ln of what theory has at one size, and half its 99 % interval."""

    log: float
    error: float = 0.0


class Fit(NamedTuple):
    """slope, its standard error, half the interval of slope - reference, the same weights' slope of
    the reference; exact: whether the reference is of these very sizes, not a leading exponent."""

    slope: float
    se: float
    half: float
    reference: float
    exact: bool = False


def looks(first: int, most: int) -> tuple[int, ...]:
    """Numbers of networks at which slopes are looked at: first, doubled until there are most."""
    found = [first]
    while found[-1] < most:
        found.append(min(2 * found[-1], most))
    return tuple(found)


def level(count: int) -> float:
    """Confidence of each look's interval, where there may be so many looks."""
    return 1 - (1 - LEVEL) / count


def point(squares: Floats) -> Point:
    """From the squared changes of a rung's networks."""
    mean, count = float(squares.mean()), len(squares)
    if mean <= 0:
        return Point(-math.inf, math.inf, count)
    return Point(
        0.5 * math.log(mean), float(squares.std(ddof=1)) / (2 * math.sqrt(count) * mean), count
    )


def fit(
    sizes: Sequence[int],
    points: Sequence[Point],
    reference: Sequence[Known] | None = None,
    confidence: float = LEVEL,
) -> Fit:
    """The slope over a ladder; reference: what theory has at the same sizes (None: a slope of 0),
    whose errors widen the interval; confidence: of the interval."""
    from scipy.special import stdtrit

    x = np.log(np.asarray(sizes, dtype=np.float64))
    y, se = (np.array([getattr(p, name) for p in points]) for name in ("log", "se"))
    if not np.isfinite(y).all() or not np.isfinite(se).all():
        return Fit(math.nan, math.inf, math.inf, 0.0)
    w = 1 / np.maximum(se, 1e-6) ** 2  # a change that is the same in every network has no error
    centred = x - (w * x).sum() / w.sum()
    c = w * centred / (w * centred**2).sum()
    parts = (c * se) ** 2
    variance = float(parts.sum())
    free = variance**2 / max(
        float((parts**2 / (np.array([p.networks for p in points]) - 1)).sum()), 1e-300
    )
    half = float(stdtrit(max(free, 1.0), (1 + confidence) / 2)) * math.sqrt(variance)
    logs, errors = (
        (0 * x, 0 * x) if reference is None else np.array([tuple(known) for known in reference]).T
    )
    return Fit(
        float(c @ y),
        math.sqrt(variance),
        math.hypot(half, float(np.linalg.norm(c * errors))),
        round(float(c @ logs), 12) + 0.0,  # no -0.0
        reference is not None,
    )


def judge(found: Fit) -> str:
    """confirmed: the interval of slope - reference lies inside +-0.1, and half of it is at most
    0.05 where the reference is a leading exponent; rejected: it lies wholly outside."""
    if not math.isfinite(found.half):
        return INCONCLUSIVE
    low, high = (
        found.slope - found.reference - found.half,
        found.slope - found.reference + found.half,
    )
    if low > TOLERANCE or high < -TOLERANCE:
        return REJECTED
    return (
        CONFIRMED
        if low > -TOLERANCE and high < TOLERANCE and (found.exact or found.half <= HALF_WIDTH)
        else INCONCLUSIVE
    )

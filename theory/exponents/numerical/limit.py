"""The limit of a ladder of slopes, estimated: sizes that double, ln y at each, no law.

With s_k the slope of the k-th doubling and x_k the middle of ln size there, two ways to go on:

    geometric  s + r^k (r from the last three, at most 0.8: corrections in powers of 1/size)
    logarithm  s + b/x_k (through the last two: y ~ size^s (ln size)^b)

limit: the geometric one; error: ``SPREAD`` times half of what it, the logarithm's and the last
slope span, and what the ladder cannot show: ``FLOOR``/x^2, and of gradients, whose logarithm turns
up late, ``LATE``/x times the slope where that is below 1; less of both where slopes do not move at
all (``STILL``). The numbers are calibrated on quantities whose exponents are known: the interval
holds at least ``SHARE`` of them (docs/exponents.md; tests/theory/exponents/numerical).

What grows by no power is said: slopes' steps s_k - s_(k-1), which no power beside it enters, double
with each doubling of an exponential, and have the ratio 2^e where ln y ~ size^e, as then have the
slopes themselves; what is neither, or not yet, has a reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sigprop.theory.exponents.ladder import DIGITS
from sigprop.theory.exponents.laws import EXPONENTIAL, POWER_LAW, STRETCHED

NUMERICAL = "numerical"
SHARE = 0.9
FEWEST = 4  # sizes: three slopes
STILL = 1e-4  # slopes that move by less: the nearer to a power's alone, the less is unseen
MOST_RATIO = 0.8  # of a geometric approach
SPREAD, FLOOR, ROUNDING = 1.2, 0.3, 1e-3
LATE = {False: 0.5, True: 0.75}
"""Whether weights are used again and again -> what a gradient's logarithm may hide."""
GROWING, SETTLED = 1.05, 0.02  # slopes that grow by less, as a ratio or by steps, are a power's
SLOWING = 0.95  # a power's steps, each to the one before
ALIKE = 0.1  # how far two readings of a stretched exponent may be apart
STEEP = 1.0  # local slope from which growth is called faster than a power
WIDEST = 0.5  # an interval beyond says nothing


class Limit(NamedTuple):
    """kind: 'power', 'stretched', 'exponential', or None; value, error: of a power's exponent;
    leading: e where ln y ~ size^e; rate: of ln y a step of an exponential; method: 'numerical', or
    'none: ' and why."""

    kind: str | None
    method: str
    value: float | None = None
    error: float | None = None
    leading: float | None = None
    rate: float | None = None


class Slopes(NamedTuple):
    """slopes, middles [m - 1] of m sizes that double."""

    slopes: np.ndarray
    middles: np.ndarray


def slopes_of(sizes: Sequence[int], logs: Sequence[float]) -> Slopes:
    """Slopes between neighbours."""
    x = np.log(np.asarray(sizes, dtype=float))
    return Slopes(np.diff(np.asarray(logs, dtype=float)) / np.diff(x), (x[1:] + x[:-1]) / 2)


def limit_of(
    sizes: Sequence[int], logs: Sequence[float], gradient: bool, tied: bool, fewest: int = FEWEST
) -> Limit:
    """Estimate how y grows beyond the ladder.

    sizes [m]: each twice the one before; logs [m]: ln y; gradient: whether y is made of gradients,
    which may have a logarithm; tied: whether the variable counts uses of one weight;
    fewest: sizes below which nothing is estimated.
    """
    if len(sizes) < fewest:
        return Limit(None, f"none: {len(sizes)} sizes that double, of {fewest} at least")
    read = slopes_of(sizes, logs)
    a, b, c = (float(s) for s in read.slopes[-3:])
    if abs(c) > GROWING * abs(b) and _steady(a, b, c):
        return _faster(sizes, read.slopes)
    value = geometric(a, b, c)
    unseen = _unseen(float(read.middles[-1]), c, LATE[tied] if gradient else 0.0)
    moving = min(1.0, max(abs(c - b), abs(b - a)) / STILL)
    error = SPREAD * _span(read, value) / 2 + moving * unseen + ROUNDING
    if error > WIDEST:
        low, high = value - error, value + error
        return Limit(None, f"none: between {low:.1f} and {high:.1f} at sizes up to {sizes[-1]}")
    return Limit(POWER_LAW, NUMERICAL, round(value, DIGITS), error)


def _steady(a: float, b: float, c: float) -> bool:
    """Tell if slopes go on in one direction by steps that do not slow down."""
    step, before = c - b, b - a
    return abs(step) > SETTLED and step * before > 0 and abs(step) > SLOWING * abs(before)


def geometric(a: float, b: float, c: float) -> float:
    """The limit of a + b r^k through three terms, r at most ``MOST_RATIO``; the last where they
    are alike."""
    if abs(c - b) < 1e-9 or abs(b - a) < 1e-9:
        return c
    r = min(max((c - b) / (b - a), -0.5), MOST_RATIO)
    return c + (c - b) * r / (1 - r)


def _span(read: Slopes, value: float) -> float:
    """How far apart the last slope, ``value`` and the logarithm's limit are."""
    before, last = (float(s) for s in read.slopes[-2:])
    earlier, middle = (float(x) for x in read.middles[-2:])
    logarithm = last - (before - last) / middle / (1 / earlier - 1 / middle)
    return max(last, value, logarithm) - min(last, value, logarithm)


def _unseen(middle: float, last: float, late: float) -> float:
    """What slopes up to the last one's middle cannot show."""
    return FLOOR / middle**2 + late * min(1.0, abs(last)) / middle


def _faster(sizes: Sequence[int], slopes: np.ndarray) -> Limit:
    """Say what grows by steps that do not slow down: an exponential, a stretched one, or
    neither."""
    a, b, c = (float(s) for s in slopes[-3:])
    shown = ", ".join(f"{s:.2g}" for s in (a, b, c))
    reason = f"none: slopes {shown} up to {sizes[-1]}, of no power yet"
    if abs(c) < STEEP or a * c <= 0:
        return Limit(None, reason)
    if c / b <= 1 or abs(math.log2(c / b) - (e := math.log2((c - b) / (b - a)))) > 2 * ALIKE:
        return Limit(None, reason)
    if not ALIKE < e < 1 + ALIKE:
        return Limit(None, reason)
    if e >= 1 - ALIKE:  # steps: a power beside the exponential has none
        earlier, middle, last = sizes[-3:]
        rate = (c - b) * math.log(2) / (last - 2 * middle + earlier)
        return Limit(EXPONENTIAL, NUMERICAL, leading=1.0, rate=rate)
    return Limit(STRETCHED, NUMERICAL, leading=round(e, DIGITS))

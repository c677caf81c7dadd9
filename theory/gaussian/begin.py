"""What the recursion begins with: the stem's Gram as mantissas in float64's range, and gaps from
its exact determinants.

The given numbers are taken as they are: qa qb - c^2 is formed from sums of two floats that hold
every product exactly (Dekker 1971; Knuth's two-sum), so that 1 - rho^2 keeps its digits where c is
next to sqrt(qa qb).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from sigprop.description.sub_block import Part

MODERATE = 200  # powers of two: variances within 2^+-200 are left on their own scale
SPLIT = 2.0**27 + 1

Gram = Float[np.ndarray, "T T"]
Powers = Integer[np.ndarray, " T"]
Numbers = Float[np.ndarray, "*shape"]


class Begin(NamedTuple):
    """The stem's output: gram [T, T] of mantissas, log [T] of their scales, gap [T, T] = 1 -
    rho^2 between tokens."""

    gram: Gram
    log: Float[np.ndarray, " T"]
    gap: Gram


class _Double(NamedTuple):
    """high + low, low below a rounding of high."""

    high: Numbers
    low: Numbers


def begin(parts: Mapping[str, Part]) -> Begin:
    """Return what the recursion begins with, from the stem's independent parts (a variance and a
    Gram [T, T] each)."""
    gram = np.asarray(sum(variance * gram for variance, gram in parts.values()), dtype=np.float64)
    power = _powers(np.diag(gram))
    products = [_product(*_moderate(variance, gram, power)) for variance, gram in parts.values()]
    exact = functools.reduce(_sum, products)
    diagonal = np.diag(exact.high), np.diag(exact.low)
    left, right = (
        _Double(*(np.broadcast_to(d[axis], gram.shape) for d in diagonal))
        for axis in (np.s_[:, None], np.s_[None, :])
    )
    square = _times(exact, exact)
    whole = _times(left, right)
    apart = _sum(whole, _Double(-square.high, -square.low))
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.where(whole.high > 0, apart.high / whole.high, 0.0)
    gap = np.clip((gap + gap.T) / 2, 0.0, 1.0)  # a given Gram may be indefinite by its own rounding
    np.fill_diagonal(gap, 0.0)
    mantissas = np.ldexp(gram, -(power[:, None] + power[None, :]))
    return Begin(mantissas, power * math.log(2), gap)


def _powers(variances: Float[np.ndarray, " T"]) -> Powers:
    """k [T] with variance 4^-k near 1 where the variance is beyond ``MODERATE``, else 0."""
    exponent = np.frexp(variances)[1]
    return np.where((np.abs(exponent) > MODERATE) & (variances > 0), exponent // 2, 0)


def _moderate(variance: float, gram: Gram, power: Powers) -> tuple[Gram, Gram]:
    """A part's variance and Gram in units of 2^power, neither beyond what products of floats can
    hold."""
    mantissa, exponent = math.frexp(variance)
    shifted = np.ldexp(gram, exponent - (power[:, None] + power[None, :]))
    return np.full_like(gram, mantissa), shifted


def _split(x: Numbers) -> tuple[Numbers, Numbers]:
    big = SPLIT * x
    high = big - (big - x)
    return high, x - high


def _product(x: Numbers, y: Numbers) -> _Double:
    """x y, exactly."""
    high = x * y
    (a, b), (c, d) = _split(x), _split(y)
    return _Double(high, ((a * c - high) + a * d + b * c) + b * d)


def _sum(x: _Double, y: _Double) -> _Double:
    high = x.high + y.high
    rest = high - x.high
    low = (x.high - (high - rest)) + (y.high - rest) + (x.low + y.low)
    total = high + low
    return _Double(total, low - (total - high))


def _times(x: _Double, y: _Double) -> _Double:
    product = _product(x.high, y.high)
    low = product.low + (x.high * y.low + x.low * y.high)
    total = product.high + low
    return _Double(total, low - (total - product.high))

"""How far from parallel two vectors are: gap = 1 - rho^2, carried beside their Gram, from which it cannot be read.

A Gram's entries are rounded, so that 1 - |rho| below 1e-16 is lost in them, while V' of a kink moves as its square root.
Each map here is a sum of terms of one sign, or of squares of differences, so that the angle between two vectors
keeps an absolute error of rounding. Variances are of arrays of one broadcastable shape; all is symmetric in a and b.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from sigprop.activation import Activation
from sigprop.activations import LeakyRelu
from sigprop.theory.algebra import cosine, over, sqrt, squared_sine
from sigprop.theory.dual.closed import rules


class Pair(NamedTuple):
    """Variances of two vectors, their covariance, and gap = 1 - rho^2 of its cosine rho."""

    qa: Array
    c: Array
    qb: Array
    gap: Array


def joined(pairs: Sequence[Pair]) -> Pair:
    """Return the pair of the sums of independent vectors.

    pairs: one for each summand. The determinants add, and each two summands j, k bring
    (sqrt(a_j b_k) - sqrt(a_k b_j))^2 + 2 sqrt(a_j b_j a_k b_k) (1 - rho_j rho_k) more, a and b their variances.
    """
    total = pairs[0]
    for pair in pairs[1:]:
        roots = [sqrt(q) for q in (total.qa, total.qb, pair.qa, pair.qb)]
        crossed = roots[0] * roots[3] - roots[2] * roots[1]
        apart = roots[0] * roots[1] * roots[2] * roots[3] * _one_minus_product(total, pair)
        own = total.qa * total.qb * total.gap + pair.qa * pair.qb * pair.gap
        qa, qb = total.qa + pair.qa, total.qb + pair.qb
        gap = over(own + crossed * crossed + 2 * apart, qa * qb)
        total = Pair(qa, total.c + pair.c, qb, jnp.clip(gap, 0.0, 1.0))
    return total


def _one_minus_product(x: Pair, y: Pair) -> Array:
    """1 - rho_x rho_y."""
    product = cosine(x.qa, x.c, x.qb) * cosine(y.qa, y.c, y.qb)
    near = over(multiplied(x.gap, y.gap), 1 + product)
    return jnp.where(product > 0, near, 1 - product)


def multiplied(gap: Array, other: Array) -> Array:
    """Return the gap of elementwise products of independent vectors, whose cosines multiply."""
    return gap + (1 - gap) * other


def activated(activation: Activation, pair: Pair, nudge: Array | float) -> Array | None:
    """Return the gap of phi(x), phi(y) from that of x and y; None where phi has no closed form.

    nudge: of relative size 1, what differences that do cancel are moved by (0: as they are).
    """
    if rules(activation) is None:
        return None
    if isinstance(activation.function, LeakyRelu):
        return _leaky(activation.function.slope, pair)
    return MAPS[activation.name](pair, nudge)


def _linear(pair: Pair, nudge: Array | float) -> Array:
    return pair.gap


def _relu(pair: Pair, nudge: Array | float) -> Array:
    return _leaky(0.0, pair)


def _leaky(slope: float, pair: Pair) -> Array:
    """phi = (1 + s)/2 x + (1 - s)/2 |x|, the two parts orthogonal; |x|: 1 - cos theta - 2/pi (sin theta - theta cos theta)."""
    odd, even = ((1 + slope) / 2) ** 2, ((1 - slope) / 2) ** 2
    rho = cosine(pair.qa, pair.c, pair.qb)
    size = jnp.abs(rho)
    near = pair.gap / (1 + size)
    apart = near - 2 / math.pi * _lag(jnp.arctan2(sqrt(pair.gap), size))
    minus = odd * jnp.where(rho < 0, 1 + size, near) + even * apart
    plus = odd * jnp.where(rho < 0, near, 1 + size) + even * (2 - apart)
    return minus * plus / (odd + even) ** 2


def _lag(x: Array) -> Array:
    """sin x - x cos x on [0, pi/2], as a series where the two cancel."""
    square = x * x
    series = 0.0
    for n in range(7, 0, -1):
        series = (-1) ** (n + 1) * 2 * n / math.factorial(2 * n + 1) + square * series
    return jnp.where(x < 0.7, x * square * series, jnp.sin(x) - x * jnp.cos(x))


class _Arc(NamedTuple):
    """beta = asin(|c| / R), R^2 = (1 + qa)(1 + qb), as its complement, and the same at |rho| = 1."""

    complement: Array
    least: Array
    turned: Array  # complement - least, to all digits
    delta: Array  # R^2 - c^2
    delta_1: Array  # at |rho| = 1
    square: Array  # R^2


def _arc(qa: Array, size: Array, qb: Array, gap: Array) -> _Arc:
    product, delta_1 = qa * qb, 1 + qa + qb
    delta, c_1 = delta_1 + product * gap, sqrt(product)
    c, square = size * c_1, delta_1 + product
    root, root_1 = sqrt(delta), sqrt(delta_1)
    sine = over(product * gap * square, root * c_1 + c * root_1)
    turned = jnp.arctan2(sine, c * c_1 + root * root_1)
    return _Arc(jnp.arctan2(root, c), jnp.arctan2(root_1, c_1), turned, delta, delta_1, square)


def _erf(pair: Pair, nudge: Array | float) -> Array:
    """|V| = 2/pi beta at doubled variances: what parallel vectors of two lengths differ by, and the turn of beta."""
    qa, qb = 2 * pair.qa, 2 * pair.qb
    arc = _arc(qa, jnp.abs(cosine(pair.qa, pair.c, pair.qb)), qb, pair.gap)
    ends = [_arc(q, jnp.ones_like(q), q, jnp.zeros_like(q)).complement for q in (qa, qb)]
    a, b = (jnp.arctan2(q, sqrt(1 + 2 * q)) for q in (qa, qb))
    norm = sqrt(a * b)
    split = arc.least - (ends[0] + ends[1]) / 2 - (sqrt(a) - sqrt(b)) ** 2 / 2
    whole = norm - jnp.arctan2(sqrt(qa * qb), sqrt(1 + qa + qb))
    large = jnp.minimum(qa, qb) > 1
    parallel = _lengths(jnp.where(large, split, whole), qa, qb, nudge * jnp.where(large, arc.least, norm))
    parallel = jnp.minimum(parallel, norm * jnp.maximum(qa, qb) ** 2)  # nearly linear: x^3 alone tells lengths apart
    return _from_one(over(parallel + arc.turned, norm))


def _gelu(pair: Pair, nudge: Array | float) -> Array:
    """gelu = x/2 + x erf(x / sqrt 2)/2, the two parts orthogonal."""
    quarter = Pair(pair.qa / 4, pair.c / 4, pair.qb / 4, pair.gap)
    return joined([quarter, _even_gelu(pair, nudge)]).gap


def _even_gelu(pair: Pair, nudge: Array | float) -> Pair:
    """The pair of x erf(x / sqrt 2)/2, whose covariance is w/(2 pi), w = c beta + (det + c^2 u)/sqrt(Delta), u = 1/(1+qa) + 1/(1+qb).

    At given variances w falls from parallel vectors by R (F(beta_1) - F(beta)), F = beta sin beta + cos beta, and two more
    terms of that sign.
    """
    qa, qb = pair.qa, pair.qb
    size = jnp.abs(cosine(qa, pair.c, qb))
    arc = _arc(qa, size, qb, pair.gap)
    a, b = (_w(q, jnp.ones_like(q), q, jnp.zeros_like(q)) for q in (qa, qb))
    mean, half = (arc.complement + arc.least) / 2, arc.turned / 2
    radius, u = sqrt(arc.square), 1 / (1 + qa) + 1 / (1 + qb)
    rising = 2 * (math.pi / 2 - mean) * jnp.sin(mean) * jnp.sin(half) - 2 * jnp.cos(mean) * _lag(half)
    rest = 2 * jnp.cos(mean) * jnp.sin(half) * (u + 1 / (sqrt(arc.delta) * sqrt(arc.delta_1)))
    norm = sqrt(a * b)
    whole = over(norm - _w(qa, jnp.ones_like(size), qb, jnp.zeros_like(size)), norm)
    large = jnp.minimum(qa, qb) > 1
    rounding = nudge * jnp.where(large, jnp.abs(_short(qa, qb)), jnp.ones_like(norm))
    apart = _lengths(jnp.where(large, _parallel(qa, qb), whole), qa, qb, rounding) + over(radius * (rising + rest), norm)
    full = 2 * math.pi
    return Pair(a / full, _w(qa, size, qb, pair.gap) / full, b / full, _from_one(apart))


def _w(qa: Array, size: Array, qb: Array, gap: Array) -> Array:
    arc = _arc(qa, size, qb, gap)
    c = size * sqrt(qa * qb)
    more = qa * qb * gap + c * c * (1 / (1 + qa) + 1 / (1 + qb))
    return c * jnp.arctan2(c, sqrt(arc.delta)) + more / sqrt(arc.delta)


def _parallel(qa: Array, qb: Array) -> Array:
    """1 - w/sqrt(w_a w_b) of parallel vectors; w/sqrt(qa qb) = pi/2 - ``_short``, which is small at large variances."""
    x, a, b = (_short(*pair) * 2 / math.pi for pair in ((qa, qb), (qa, qa), (qb, qb)))
    roots = sqrt(1 - a) + sqrt(1 - b)
    return (x - (a + b) / 2 - ((a - b) / roots) ** 2 / 2) / sqrt((1 - a) * (1 - b))


def _short(qa: Array, qb: Array) -> Array:
    delta, product = 1 + qa + qb, qa * qb
    square, c = delta + product, jnp.maximum(sqrt(product), 1.0)  # asked at variances above 1 only
    t = sqrt(delta) / c
    series = 0.0
    for n in range(9, 0, -1):
        series = (-1) ** (n + 1) / (2 * n + 1) + t * t * series
    lag = jnp.where(t < 0.1, t**3 * series, t - jnp.arctan(t))
    return delta * sqrt(delta) / (square * c) - lag - product / (square * c * sqrt(delta))


def _lengths(parallel: Array, qa: Array, qb: Array, rounding: Array) -> Array:
    """What vectors of one direction differ by through their lengths: exactly 0 where these are equal."""
    return jnp.where(qa == qb, 0.0, jnp.maximum(parallel, 0.0) + rounding)


def _from_one(apart: Array) -> Array:
    """1 - rho^2 from 1 - |rho|."""
    apart = jnp.clip(apart, 0.0, 1.0)
    return apart * (2 - apart)


MAPS: dict[str, Callable[[Pair, Array | float], Array]] = {"linear": _linear, "relu": _relu, "erf": _erf, "gelu": _gelu}


def from_values(qa: Any, c: Any, qb: Any) -> Any:
    """Return 1 - rho^2 as it stands in the rounded values, exactly 0 where qa = c = qb."""
    return squared_sine(cosine(qa, c, qb))

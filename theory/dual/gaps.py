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
from sigprop.theory.dual.closed import Units, rules


class Pair(NamedTuple):
    """Variances of two vectors, their covariance, and gap = 1 - rho^2 of its cosine rho."""

    qa: Array
    c: Array
    qb: Array
    gap: Array


def joined(pairs: Sequence[Pair]) -> Pair:
    """Return the pair of the sums of independent vectors.

    pairs: one for each summand. With a and b their shares of the variances, the gap is the sum of a_j b_j gap_j, and each two
    summands j, k bring (sqrt(a_j b_k) - sqrt(a_k b_j))^2 + 2 sqrt(a_j b_j a_k b_k) (1 - rho_j rho_k) more.
    """
    total = pairs[0]
    for pair in pairs[1:]:
        qa, qb = total.qa + pair.qa, total.qb + pair.qb
        a, b, other_a, other_b = over(total.qa, qa), over(total.qb, qb), over(pair.qa, qa), over(pair.qb, qb)
        crossed = sqrt(a * other_b) - sqrt(other_a * b)
        apart = sqrt(a * other_b) * sqrt(other_a * b) * _one_minus_product(total, pair)
        gap = a * b * total.gap + other_a * other_b * pair.gap + crossed * crossed + 2 * apart
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


def activated(activation: Activation, pair: Pair, units: Units, nudge: Array | float) -> Array | None:
    """Return the gap of phi(x), phi(y) from that of x and y; None where phi has no closed form.

    units: as ``closed`` has them; nudge: of relative size 1, what differences that do cancel are moved by (0: as they are).
    """
    if rules(activation) is None:
        return None
    if isinstance(activation.function, LeakyRelu):
        return _leaky(activation.function.slope, pair)
    return MAPS[activation.name](pair, units, nudge)


def _linear(pair: Pair, units: Units, nudge: Array | float) -> Array:
    return pair.gap


def _relu(pair: Pair, units: Units, nudge: Array | float) -> Array:
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


class _Share(NamedTuple):
    """rest = 1/(1 + q) and part = q/(1 + q) of one vector's variance."""

    rest: Array
    part: Array


def _share(q: Array, unit: Any) -> _Share:
    return _Share(unit / (unit + q), q / (unit + q))


class _Arc(NamedTuple):
    """beta = asin(|rho| sqrt(part_a part_b)) as its complement, the same at |rho| = 1, and the squares of their cosines."""

    complement: Array
    least: Array
    turned: Array  # complement - least, to all digits
    delta: Array  # cos^2 beta
    delta_1: Array  # at |rho| = 1


def _arc(a: _Share, size: Array | float, b: _Share, gap: Array | float) -> _Arc:
    product, delta_1 = a.part * b.part, a.rest + b.rest * a.part
    delta, c_1 = delta_1 + product * gap, sqrt(product)
    c, root, root_1 = size * c_1, sqrt(delta), sqrt(delta_1)
    turned = jnp.arctan2(over(product * gap, root * c_1 + c * root_1), c * c_1 + root * root_1)
    return _Arc(jnp.arctan2(root, c), jnp.arctan2(root_1, c_1), turned, delta, delta_1)


def _erf(pair: Pair, units: Units, nudge: Array | float) -> Array:
    """|V| = 2/pi beta at doubled variances: what parallel vectors of two lengths differ by, and the turn of beta."""
    a, b = _share(2 * pair.qa, units[0]), _share(2 * pair.qb, units[1])
    arc = _arc(a, jnp.abs(cosine(pair.qa, pair.c, pair.qb)), b, pair.gap)
    own = [jnp.arctan2(sqrt(s.rest * (1 + s.part)), s.part) for s in (a, b)]
    angles = [jnp.arctan2(s.part, sqrt(s.rest * (1 + s.part))) for s in (a, b)]
    norm = sqrt(angles[0] * angles[1])
    split = arc.least - (own[0] + own[1]) / 2 - (sqrt(angles[0]) - sqrt(angles[1])) ** 2 / 2
    whole = norm - jnp.arctan2(sqrt(a.part * b.part), sqrt(arc.delta_1))
    large = jnp.minimum(a.part, b.part) > 0.5
    parallel = _lengths(jnp.where(large, split, whole), a, b, nudge * jnp.where(large, arc.least, norm))
    return _from_one(over(parallel + arc.turned, norm))


def _gelu(pair: Pair, units: Units, nudge: Array | float) -> Array:
    """gelu = x/2 + x erf(x / sqrt 2)/2, the two parts orthogonal."""
    quarter = Pair(pair.qa / 4, pair.c / 4, pair.qb / 4, pair.gap)
    return joined([quarter, _even_gelu(pair, units, nudge)]).gap


def _even_gelu(pair: Pair, units: Units, nudge: Array | float) -> Pair:
    """The pair of x erf(x / sqrt 2)/2, whose covariance is R w/(2 pi), R^2 = (1 + qa)(1 + qb), w of ``_w``.

    At given variances w falls from parallel vectors by F(beta_1) - F(beta), F = beta sin beta + cos beta, and two more
    terms of that sign.
    """
    a, b = _share(pair.qa, units[0]), _share(pair.qb, units[1])
    size = jnp.abs(cosine(pair.qa, pair.c, pair.qb))
    arc, ends = _arc(a, size, b, pair.gap), [_w(s, 1.0, s, 0.0) for s in (a, b)]
    norm = sqrt(ends[0] * ends[1])
    mean, half = (arc.complement + arc.least) / 2, arc.turned / 2
    rising = 2 * (math.pi / 2 - mean) * jnp.sin(mean) * jnp.sin(half) - 2 * jnp.cos(mean) * _lag(half)
    more = a.rest + b.rest + a.rest * b.rest / (sqrt(arc.delta) * sqrt(arc.delta_1))
    rest = 2 * jnp.cos(mean) * jnp.sin(half) * more
    whole = over(norm - _w(a, 1.0, b, 0.0), norm)
    large = jnp.minimum(a.part, b.part) > 0.5
    rounding = nudge * jnp.where(large, jnp.abs(_short(a, b)), jnp.ones_like(norm))
    apart = _lengths(jnp.where(large, _parallel(a, b), whole), a, b, rounding) + over(rising + rest, norm)
    qa, qb = (pair.qa + units[0]) / (2 * math.pi), (pair.qb + units[1]) / (2 * math.pi)
    covariance = sqrt(qa) * sqrt(qb) * _w(a, size, b, pair.gap)
    return Pair(qa * ends[0], covariance, qb * ends[1], _from_one(apart))


def _w(a: _Share, size: Array | float, b: _Share, gap: Array | float) -> Array:
    """sin beta beta + (det + c^2 (1/(1 + qa) + 1/(1 + qb)))/(R sqrt(Delta))."""
    arc, product = _arc(a, size, b, gap), a.part * b.part
    c = size * sqrt(product)
    return c * jnp.arctan2(c, sqrt(arc.delta)) + (product * gap + c * c * (a.rest + b.rest)) / sqrt(arc.delta)


def _parallel(a: _Share, b: _Share) -> Array:
    """1 - w/sqrt(w_a w_b) of parallel vectors; R w/sqrt(qa qb) = pi/2 - ``_short``, which is small at large variances."""
    x, own_a, own_b = (_short(*pair) * 2 / math.pi for pair in ((a, b), (a, a), (b, b)))
    roots = sqrt(1 - own_a) + sqrt(1 - own_b)
    return (x - (own_a + own_b) / 2 - ((own_a - own_b) / roots) ** 2 / 2) / sqrt((1 - own_a) * (1 - own_b))


def _short(a: _Share, b: _Share) -> Array:
    delta, c = _arc(a, 1.0, b, 0.0).delta_1, jnp.maximum(sqrt(a.part * b.part), 0.5)  # asked above that only
    root = sqrt(delta)
    t = root / c
    series = 0.0
    for n in range(9, 0, -1):
        series = (-1) ** (n + 1) / (2 * n + 1) + t * t * series
    lag = jnp.where(t < 0.1, t**3 * series, t - jnp.arctan(t))
    return delta * root / c - lag - c * a.rest * b.rest / root


def _lengths(parallel: Array, a: _Share, b: _Share, rounding: Array) -> Array:
    """What vectors of one direction differ by through their lengths: exactly 0 where these are equal."""
    equal = (a.part == b.part) & (a.rest == b.rest)
    return jnp.where(equal, 0.0, jnp.maximum(parallel, 0.0) + rounding)


def _from_one(apart: Array) -> Array:
    """1 - rho^2 from 1 - |rho|."""
    apart = jnp.clip(apart, 0.0, 1.0)
    return apart * (2 - apart)


MAPS: dict[str, Callable[[Pair, Units, Array | float], Array]] = {"linear": _linear, "relu": _relu, "erf": _erf, "gelu": _gelu}


def from_values(qa: Any, c: Any, qb: Any) -> Any:
    """Return 1 - rho^2 as it stands in the rounded values, exactly 0 where qa = c = qb."""
    return squared_sine(cosine(qa, c, qb))

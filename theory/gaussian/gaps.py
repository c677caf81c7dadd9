"""How far from parallel two vectors are: gap = 1 - rho^2, carried beside their Gram, from which it
cannot be read.

A Gram's entries are rounded, so that 1 - |rho| below 1e-16 is lost in them, while V' of a kink
moves as its square root. Each map here is a sum of terms of one sign, or of squares of differences,
so that the angle between two vectors keeps an absolute error of rounding. Variances are of arrays
of one broadcastable shape; all is symmetric in a and b.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from sigprop.language.activation import Activation
from sigprop.language.activations import LeakyRelu
from sigprop.theory.calculus.algebra import cosine, over, squared_sine
from sigprop.theory.gaussian.closed import Units, rules


class Pair(NamedTuple):
    """Variances of two vectors, their covariance, and gap = 1 - rho^2 of its cosine rho."""

    qa: Array
    c: Array
    qb: Array
    gap: Array


def joined(pairs: Sequence[Pair]) -> Pair:
    """Return the pair of the sums of independent vectors.

    pairs: one for each summand. With a and b their shares of the variances, the gap is the sum of
    a_j b_j gap_j, and each two summands j, k bring (sqrt(a_j b_k) - sqrt(a_k b_j))^2 + 2 sqrt(a_j
    b_j a_k b_k) (1 - rho_j rho_k) more.
    """
    total = pairs[0]
    for pair in pairs[1:]:
        qa, qb = total.qa + pair.qa, total.qb + pair.qb
        over_a, over_b = (1 / jnp.where(q == 0, 1.0, q) for q in (qa, qb))
        a, b, other_a, other_b = (
            total.qa * over_a,
            total.qb * over_b,
            pair.qa * over_a,
            pair.qb * over_b,
        )
        left, right = jnp.sqrt(a * other_b), jnp.sqrt(other_a * b)
        apart = left * right * _one_minus_product(total, pair)
        gap = a * b * total.gap + other_a * other_b * pair.gap + (left - right) ** 2 + 2 * apart
        total = Pair(qa, total.c + pair.c, qb, jnp.clip(gap, 0.0, 1.0))
    return total


def _one_minus_product(x: Pair, y: Pair) -> Array:
    """1 - rho_x rho_y."""
    # roots first: of bounded functions a share may be 1e-200
    cosines = [over(p.c, jnp.sqrt(p.qa) * jnp.sqrt(p.qb)) for p in (x, y)]
    product = cosines[0] * cosines[1]
    return jnp.where(product > 0, multiplied(x.gap, y.gap) / (1 + product), 1 - product)


def multiplied(gap: Array, other: Array) -> Array:
    """Return the gap of elementwise products of independent vectors, whose cosines multiply."""
    return gap + (1 - gap) * other


def activated(
    activation: Activation, pair: Pair, units: Units, nudge: Array | float
) -> Array | None:
    """Return the gap of phi(x), phi(y) from that of x and y; None where phi has no closed form.

    units: as ``closed`` has them; nudge: of relative size 1, what differences that do cancel are
    moved by (0: as they are).
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
    """phi = (1 + s)/2 x + (1 - s)/2 |x|, the two parts orthogonal; |x|: 1 - cos theta - 2/pi
    (sin theta - theta cos theta)."""
    odd, even = ((1 + slope) / 2) ** 2, ((1 - slope) / 2) ** 2
    rho = cosine(pair.qa, pair.c, pair.qb)
    size = jnp.abs(rho)
    near = pair.gap / (1 + size)
    apart = near - 2 / math.pi * _lag(jnp.arctan2(jnp.sqrt(pair.gap), size))
    minus = odd * jnp.where(rho < 0, 1 + size, near) + even * apart
    plus = odd * jnp.where(rho < 0, near, 1 + size) + even * (2 - apart)
    return minus * plus / (odd + even) ** 2


def _lag(x: Array) -> Array:
    """sin x - x cos x on [0, pi/2], as a series where the two cancel."""
    square = x * x
    series = 0.0
    for n in range(6, 0, -1):
        series = (-1) ** (n + 1) * 2 * n / math.factorial(2 * n + 1) + square * series
    return jnp.where(x < 0.4, x * square * series, jnp.sin(x) - x * jnp.cos(x))


class _Share(NamedTuple):
    """rest = 1/(1 + q) and part = q/(1 + q) of one vector's variance."""

    rest: Array
    part: Array


def _share(q: Array, unit: Any) -> _Share:
    return _Share(unit / (unit + q), q / (unit + q))


class _Arc(NamedTuple):
    """beta = asin(|rho| sqrt(part_a part_b)) as its complement, the same at |rho| = 1, and the
    squares of their cosines."""

    complement: Array
    least: Array
    turned: Array  # complement - least, to all digits
    delta: Array  # cos^2 beta
    delta_1: Array  # at |rho| = 1


def _arc(a: _Share, size: Array | float, b: _Share, gap: Array | float) -> _Arc:
    product, delta_1 = a.part * b.part, a.rest + b.rest * a.part
    delta, c_1 = delta_1 + product * gap, jnp.sqrt(product)
    c, root, root_1 = size * c_1, jnp.sqrt(delta), jnp.sqrt(delta_1)
    turned = jnp.arctan2(over(product * gap, root * c_1 + c * root_1), c * c_1 + root * root_1)
    return _Arc(jnp.arctan2(root, c), jnp.arctan2(root_1, c_1), turned, delta, delta_1)


def _erf(pair: Pair, units: Units, nudge: Array | float) -> Array:
    """|V| = 2/pi beta at doubled variances: what parallel vectors of two lengths differ by, and
    the turn of beta."""
    a, b = _share(2 * pair.qa, units[0]), _share(2 * pair.qb, units[1])
    arc = _arc(a, jnp.abs(cosine(pair.qa, pair.c, pair.qb)), b, pair.gap)
    sides = [jnp.sqrt(s.rest * (1 + s.part)) for s in (a, b)]
    own = [jnp.arctan2(side, s.part) for side, s in zip(sides, (a, b), strict=True)]
    angles = [jnp.arctan2(s.part, side) for side, s in zip(sides, (a, b), strict=True)]
    norm = jnp.sqrt(angles[0] * angles[1])
    split = arc.least - (own[0] + own[1]) / 2 - (jnp.sqrt(angles[0]) - jnp.sqrt(angles[1])) ** 2 / 2
    whole = norm - jnp.arctan2(jnp.sqrt(a.part * b.part), jnp.sqrt(arc.delta_1))
    large = jnp.minimum(a.part, b.part) > 0.5
    parallel = _lengths(
        jnp.where(large, split, whole), a, b, nudge * jnp.where(large, arc.least, norm)
    )
    return _from_one(over(parallel + arc.turned, norm))


def _gelu(pair: Pair, units: Units, nudge: Array | float) -> Array:
    """gelu = x/2 + x erf(x / sqrt 2)/2, the two parts orthogonal."""
    quarter = Pair(pair.qa / 4, pair.c / 4, pair.qb / 4, pair.gap)
    return joined([quarter, _even_gelu(pair, units, nudge)]).gap


def _even_gelu(pair: Pair, units: Units, nudge: Array | float) -> Pair:
    """The pair of x erf(x / sqrt 2)/2, whose covariance is R w/(2 pi), R^2 = (1 + qa)(1 + qb), w of
    ``_w``.

    At given variances w falls from parallel vectors by F(beta_1) - F(beta), F = beta sin beta + cos
    beta, and two more terms of that sign.
    """
    a, b = _share(pair.qa, units[0]), _share(pair.qb, units[1])
    size = jnp.abs(cosine(pair.qa, pair.c, pair.qb))
    arc, ends = (
        _arc(a, size, b, pair.gap),
        [_w(s.part, s.rest * (1 + s.part), 0.0, 2 * s.rest) for s in (a, b)],
    )
    norm, c_1 = jnp.sqrt(ends[0] * ends[1]), jnp.sqrt(a.part * b.part)
    mean, half = (arc.complement + arc.least) / 2, arc.turned / 2
    rising = 2 * (math.pi / 2 - mean) * jnp.sin(mean) * jnp.sin(half) - 2 * jnp.cos(mean) * _lag(
        half
    )
    more = a.rest + b.rest + a.rest * b.rest / (jnp.sqrt(arc.delta) * jnp.sqrt(arc.delta_1))
    rest = 2 * jnp.cos(mean) * jnp.sin(half) * more
    whole = over(norm - _w(c_1, arc.delta_1, 0.0, a.rest + b.rest), norm)
    large = jnp.minimum(a.part, b.part) > 0.5
    short, split = _parallel(a, b, arc)
    rounding = nudge * jnp.where(large, jnp.abs(short), 1.0)
    apart = _lengths(jnp.where(large, split, whole), a, b, rounding) + over(rising + rest, norm)
    qa, qb = (pair.qa + units[0]) / (2 * math.pi), (pair.qb + units[1]) / (2 * math.pi)
    covariance = (
        jnp.sqrt(qa)
        * jnp.sqrt(qb)
        * _w(size * c_1, arc.delta, c_1 * c_1 * pair.gap, a.rest + b.rest)
    )
    return Pair(qa * ends[0], covariance, qb * ends[1], _from_one(apart))


def _w(c: Array, delta: Array, determinant: Array | float, rests: Array) -> Array:
    """c beta + (det + c^2 (1/(1 + qa) + 1/(1 + qb)))/cos beta, c = sin beta, in shares."""
    root = jnp.sqrt(delta)
    return c * jnp.arctan2(c, root) + (determinant + c * c * rests) / root


def _parallel(a: _Share, b: _Share, arc: _Arc) -> tuple[Array, Array]:
    """(h, 1 - w/sqrt(w_a w_b)) of parallel vectors; R w/sqrt(qa qb) = pi/2 - h, where h is small
    at large variances."""
    both = _short(arc.delta_1, jnp.sqrt(a.part * b.part), a.rest * b.rest) * 2 / math.pi
    own_a, own_b = (
        _short(s.rest * (1 + s.part), s.part, s.rest * s.rest) * 2 / math.pi for s in (a, b)
    )
    left, right = 1 - own_a, 1 - own_b
    roots = jnp.sqrt(left) + jnp.sqrt(right)
    return both, (both - (own_a + own_b) / 2 - ((own_a - own_b) / roots) ** 2 / 2) / jnp.sqrt(
        left * right
    )


def _short(delta: Array, c: Array, rests: Array) -> Array:
    root, c = jnp.sqrt(delta), jnp.maximum(c, 0.5)  # asked above that only
    t = root / c
    series = 0.0
    for n in range(6, 0, -1):
        series = (-1) ** (n + 1) / (2 * n + 1) + t * t * series
    lag = jnp.where(t < 0.05, t**3 * series, t - jnp.arctan(t))
    return delta * root / c - lag - c * rests / root


def _lengths(parallel: Array, a: _Share, b: _Share, rounding: Array) -> Array:
    """What vectors of one direction differ by through their lengths: exactly 0 where these are
    equal."""
    equal = (a.part == b.part) & (a.rest == b.rest)
    return jnp.where(equal, 0.0, jnp.maximum(parallel, 0.0) + rounding)


def _from_one(apart: Array) -> Array:
    """1 - rho^2 from 1 - |rho|."""
    apart = jnp.clip(apart, 0.0, 1.0)
    return apart * (2 - apart)


MAPS: dict[str, Callable[[Pair, Units, Array | float], Array]] = {
    "linear": _linear,
    "relu": _relu,
    "erf": _erf,
    "gelu": _gelu,
}


def from_values(qa: Any, c: Any, qb: Any) -> Any:
    """Return 1 - rho^2 as it stands in the rounded values, exactly 0 where qa = c = qb."""
    return squared_sine(cosine(qa, c, qb))

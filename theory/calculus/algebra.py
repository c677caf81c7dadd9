"""Functions that read the same on sympy expressions and on jax arrays, so that one formula is
derivation and prediction.

A formula imports ``sqrt``, ``pi``, ``angle``, ... from here and is written once. On arrays every
function can be jitted, stays finite (value and gradient) at the edges of its domain, where rounding
may put an argument on the wrong side, and passes NaN on: an overflow is never hidden.
"""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from typing import Any


def is_symbolic(*values: Any) -> bool:
    """Whether any of ``values`` is a sympy expression (does not import sympy: without it none
    can be)."""
    basic = getattr(sys.modules.get("sympy"), "Basic", None)
    return basic is not None and any(isinstance(value, basic) for value in values)


def _apply(name: str, x: Any) -> Any:
    """sympy.name(x) or jax.numpy.name(x)."""
    if is_symbolic(x):
        import sympy

        return getattr(sympy, name)(x)
    import jax.numpy as jnp

    return getattr(jnp, {"acos": "arccos", "asin": "arcsin", "atan": "arctan"}.get(name, name))(x)


def exp(x: Any) -> Any:
    """e^x; of the integer 0 (no scale) the integer 1, in either algebra."""
    return 1 if isinstance(x, int) and x == 0 else _apply("exp", x)


def exact(value: Any) -> Any:
    """A plain number as a sympy number: integers and fractions exactly, floats as they are."""
    import sympy

    return (
        sympy.Rational(value.numerator, value.denominator)
        if isinstance(value, (int, Fraction))
        else sympy.Float(value)
    )


def log(x: Any) -> Any:
    """Natural logarithm."""
    return _apply("log", x)


def minimum(x: Any, y: Any) -> Any:
    """The smaller of two."""
    if is_symbolic(x, y):
        import sympy

        return sympy.Min(x, y)
    import jax.numpy as jnp

    return jnp.minimum(x, y)


def atan(x: Any) -> Any:
    """Inverse tangent."""
    return _apply("atan", x)


def sqrt(x: Any) -> Any:
    """Square root. Arrays: 0, with derivative 0, for x <= 0."""
    if is_symbolic(x):
        return _apply("sqrt", x)
    import jax.numpy as jnp

    x = jnp.asarray(x)
    return jnp.where(x <= 0, jnp.zeros_like(x), jnp.sqrt(jnp.where(x <= 0, jnp.ones_like(x), x)))


def root_mean_square(variance: Any, epsilon: Any, log: Any) -> Any:
    """What a norm divides a mantissa by: sqrt(<x, x> + epsilon), with <x, x> = exp(2 log)
    variance and exp(log) left out."""
    if not is_symbolic(variance, epsilon, log):
        import jax.numpy as jnp

        # a branch's own norm is the same for all partners, its epsilon is one for each
        variance, epsilon, log = jnp.broadcast_arrays(variance, epsilon, log)
        # an overflow, which division would turn into a zero
        variance = jnp.where(jnp.isinf(variance), jnp.nan, variance)
    return sqrt(variance + epsilon * exp(-2 * log))


def over(x: Any, divisor: Any) -> Any:
    """x / divisor. Arrays: 0 where the divisor is 0."""
    if is_symbolic(x, divisor):
        return x / divisor
    import jax.numpy as jnp

    divisor = jnp.asarray(divisor)
    zero = divisor == 0
    return jnp.where(
        zero, jnp.zeros_like(divisor), x / jnp.where(zero, jnp.ones_like(divisor), divisor)
    )


def acos(x: Any) -> Any:
    """Inverse cosine. Arrays: of x clipped to [-1, 1], with derivative 0 at both ends and
    outside."""
    return _apply("acos", x) if is_symbolic(x) else math.pi / 2 - asin(x)


def asin(x: Any) -> Any:
    """Inverse sine. Arrays: of x clipped to [-1, 1], with derivative 0 at both ends and outside."""
    if is_symbolic(x):
        return _apply("asin", x)
    import jax.numpy as jnp

    x = jnp.asarray(x)
    outside = jnp.abs(x) >= 1
    return jnp.where(
        outside, jnp.sign(x) * (math.pi / 2), jnp.arcsin(jnp.where(outside, jnp.zeros_like(x), x))
    )


def pi(*like: Any) -> Any:
    """The number pi: sympy's if any of ``like`` is symbolic, else a float."""
    return sys.modules["sympy"].pi if is_symbolic(*like) else math.pi


def rational(numerator: int, denominator: int, *like: Any) -> Any:
    """numerator / denominator: exact if any of ``like`` is symbolic, else a float."""
    return (
        sys.modules["sympy"].Rational(numerator, denominator)
        if is_symbolic(*like)
        else numerator / denominator
    )


def one(like: Any) -> Any:
    """1 of the kind and shape of ``like``."""
    if is_symbolic(like):
        return sys.modules["sympy"].Integer(1)
    import jax.numpy as jnp

    return jnp.ones_like(like)


def clip(x: Any) -> Any:
    """x clipped to [-1, 1], with derivative 1 everywhere (the excess is rounding). Symbolic: x."""
    if is_symbolic(x):
        return x
    import jax
    import jax.numpy as jnp

    return x - jax.lax.stop_gradient(x - jnp.clip(x, -1, 1))


def cosine(qa: Any, c: Any, qb: Any) -> Any:
    """rho = c / sqrt(qa qb), arrays of one broadcastable shape; clipped to [-1, 1]; 1 where qa qb =
    0.

    Exactly 1 where qa = c = qb (a square root of a rounded square is exact), which the diagonals
    rely on.
    """
    if is_symbolic(qa, c, qb):
        return c / sqrt(qa * qb)
    import jax.numpy as jnp

    norm = sqrt(qa * qb)
    zero = norm == 0
    return clip(
        jnp.where(zero, jnp.ones_like(norm), c / jnp.where(zero, jnp.ones_like(norm), norm))
    )


def determinant(qa: Any, c: Any, qb: Any, gap: Any = None) -> Any:
    """qa qb - c^2 >= 0. Arrays: as qa qb (1 - rho) (1 + rho), exactly 0 where qa = c = qb (no
    cancellation at large q).

    gap: 1 - rho^2 where it is known to more digits than c holds.
    """
    if is_symbolic(qa, c, qb):
        return qa * qb - c**2
    return qa * qb * (squared_sine(cosine(qa, c, qb)) if gap is None else gap)


def squared_sine(rho: Any) -> Any:
    """1 - rho^2, exactly 0 at 1 and -1."""
    return (1 - rho) * (1 + rho)


def angle(qa: Any, c: Any, qb: Any, gap: Any = None) -> Any:
    """theta = acos(c / sqrt(qa qb)) in [0, pi]. Arrays: as atan2(sin, cos), accurate near 0 and
    pi; gap: as ``determinant``."""
    rho = cosine(qa, c, qb)
    if is_symbolic(rho):
        return acos(rho)
    import jax.numpy as jnp

    return jnp.arctan2(sqrt(squared_sine(rho) if gap is None else gap), rho)


def supplement(qa: Any, c: Any, qb: Any, gap: Any = None) -> Any:
    """pi - theta, theta as ``angle``; on arrays without the difference's loss near pi."""
    if is_symbolic(qa, c, qb):
        return pi(qa, c, qb) - angle(qa, c, qb)
    import jax.numpy as jnp

    rho = cosine(qa, c, qb)
    return jnp.arctan2(sqrt(squared_sine(rho) if gap is None else gap), -rho)

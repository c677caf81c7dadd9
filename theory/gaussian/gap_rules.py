"""Gaps of expressions: 1 - rho^2 between the tokens of one application, by recursion beside
``log_scale`` wherever nothing cancels.

``gap(u, i, env)`` follows ``inner(u, i, u, i, env)``: a matrix, a norm and a factor leave the
cosine as it is, sums of independent vectors and activations have maps of their own (``dual.gaps``).
What mixes tokens is read from its Gram.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from sigprop.language.expression import (
    Activate,
    Bias,
    Dropout,
    Linear,
    Normalise,
    Product,
    Read,
    Rescale,
    Scale,
    Sum,
    Vector,
)
from sigprop.language.nodes import Gate, Ones, Truncate
from sigprop.theory.calculus.environment import NumericEnvironment
from sigprop.theory.calculus.log_scale import shift
from sigprop.theory.calculus.rules import inner
from sigprop.theory.gaussian import dual
from sigprop.theory.gaussian.gaps import Pair, from_values, joined, multiplied


def gap(u: Vector, i: str, env: NumericEnvironment) -> Array:
    """Return 1 - rho^2 [B, T, T] of the cosines rho between tokens of u at one place, 0 on the
    diagonal."""
    key = ("gap", u, i)
    if key not in env.memo:
        known = _structural(u, i, env)
        env.memo[key] = _rounded(u, i, env) if known is None else known
    return env.memo[key]


def _rounded(u: Vector, i: str, env: NumericEnvironment) -> Array:
    """As the Gram has it, between different tokens moved by the resolution's nudge."""
    variance, cross = _own(u, i, env)
    read = from_values(env.left(variance), cross, env.right(variance))
    return jnp.where(env.same(i, i) == 1, read, jnp.minimum(read + env.resolution.nudge, 1.0))


def _structural(u: Vector, i: str, env: NumericEnvironment) -> Array | None:
    match u:
        case Read(0):
            return env.gaps.get(i)
        case Bias() | Ones():
            return jnp.zeros_like(env.ones(i, i))
        case (
            Linear(of=of)
            | Scale(of=of)
            | Gate(of=of)
            | Normalise(of=of)
            | Rescale(of=of)
            | Truncate(of=of)
        ):
            return gap(of, i, env)
        case Activate(activation, of, 0):
            return dual.gap(
                activation, env.features(activation, of, i), _pair(of, i, env), env.resolution.nudge
            )
        case Product(left, right):
            return multiplied(gap(left, i, env), gap(right, i, env))
        case Dropout(of=of, rate=rate):
            kept = 1 - env.number(rate, i)
            apart = (1 - kept) * (1 + kept) + kept * kept * gap(of, i, env)
            return apart * (1 - env.same(i, i))
        case Sum(terms) if _independent(terms, i, env):
            return joined([_pair(term, i, env, u) for term in terms]).gap
    return None


def _independent(terms: tuple[Vector, ...], i: str, env: NumericEnvironment) -> bool:
    """Whether every overlap of two terms is proved zero."""
    pairs = [(s, t) for k, s in enumerate(terms) for t in terms[k + 1 :]]
    return all(isinstance(inner(s, i, t, i, env), int) for s, t in pairs)


def _own(u: Vector, i: str, env: NumericEnvironment) -> tuple[Array, Array]:
    """Variances [1, T] and Gram [1, T, T]; those of a step's own summary come without the first
    axis."""
    cross, variance = env.block(inner(u, i, u, i, env), i, i), env.variance(u, i)
    return (variance if variance.ndim == cross.ndim - 1 else variance[None]), cross


def _pair(u: Vector, i: str, env: NumericEnvironment, whole: Vector | None = None) -> Pair:
    """Variances, covariance and gap of u, on the scale of the sum that it is a term of."""
    variance, cross = _own(u, i, env)
    if whole is not None:
        factor = shift(u, whole, i, env)
        variance, cross = variance * factor * factor, cross * env.left(factor) * env.right(factor)
    return Pair(env.left(variance), cross, env.right(variance), gap(u, i, env))

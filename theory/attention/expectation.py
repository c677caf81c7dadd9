"""Attention's Grams on arrays: the two places' Grams brought to one scale, and the expectation
over sampled heads."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from sigprop.errors import InputError
from sigprop.language.expression import Attend, PositionBias, TokenTable, Vector
from sigprop.language.scalar import Scalar
from sigprop.language.scores import DROPPED, Scores
from sigprop.theory.attention import mixing
from sigprop.theory.attention.approximations import approximate
from sigprop.theory.attention.draws import Points, law, leg_points
from sigprop.theory.attention.heads import Bias, Drawn, Form, Head, Leg
from sigprop.theory.attention.sampling import expectation
from sigprop.theory.calculus.environment import NumericEnvironment
from sigprop.theory.calculus.log_scale import log_scale
from sigprop.theory.calculus.rules import inner


def attention(
    env: NumericEnvironment,
    node: Attend,
    i: str,
    j: str,
    *,
    values: Any,
    cotangents: Any,
    of: Vector | None,
) -> dict[str, Float[Array, "B T *T"]]:
    """{'forward'} or {'value', 'query', 'key'}: [B, T, T], mantissas on the scales of
    ``log_scale``."""
    query, key = _leg(env, node.query, i, j), _leg(env, node.key, i, j)
    r = _even(env, node.value, i, j, env.block(values, i, j))
    points = env.resolution.points.get(law(node))
    over = functools.partial(expectation, node.scores, form(env, node, i, j))
    given = (query, key, i == j)
    odds = _odds(env, node, i) if i == j else None
    if of is not None:
        delta = env.block(cotangents, i, j)
        level = _even(env, of, i, j, delta)
        numbers = None if node.drawn_bias is None else _numbers(node.drawn_bias)
        legs = _backward(
            node.scores,
            over,
            points,
            given,
            lambda head: mixing.backward(head, r, level, odds, numbers),
        )
        factors = {"query": node.scores.power * delta, "key": node.scores.power, "bias": delta}
        return {leg: factors.get(leg, 1.0) * gram for leg, gram in legs.items()}
    spread = jnp.broadcast_to(r, (query.ab.shape[0], *r.shape[1:]))
    approximation = env.resolution.approximation
    if approximation is not None:
        return approximate(approximation, node, query, key, spread, i == j)
    return over(points, *given, lambda head: mixing.forward(head, spread, odds))


def _backward(
    scores: Scores,
    over: Callable[..., Any],
    points: Points | None,
    given: tuple[Leg, Leg, bool],
    sums: Callable[[Head], dict[str, Any]],
) -> dict[str, Any]:
    """All legs; those of queries, keys and a drawn bias over fewer points where they take more
    work."""
    count = 0 if points is None else points.count
    fewer = leg_points(scores, given[0].ab.shape[-1], count)
    if points is None or fewer == count:
        return over(points, *given, sums)

    def part(head: Head, *, values: bool) -> dict[str, Any]:
        return {name: leg for name, leg in sums(head).items() if (name == "value") == values}

    return over(points, *given, functools.partial(part, values=True)) | over(
        points.first(fewer), *given, functools.partial(part, values=False)
    )


def _odds(env: NumericEnvironment, node: Attend, i: str) -> Float[Array, "1 1 1"] | None:
    """Return p/(1 - p) of dropout at a place, None where there is none."""
    if node.rate is None:
        return None
    rate = _number(env, node.rate, i)
    return rate / (1 - rate)


def _number(env: NumericEnvironment, scalar: Scalar, i: str) -> Float[Array, "B 1 1"]:
    """Return a number of a place, to be multiplied with Grams."""
    return jnp.reshape(jnp.asarray(env.number(scalar, i), dtype=jnp.float64), (-1, 1, 1))


def mean(env: NumericEnvironment, node: Attend, i: str) -> Float[Array, "B T T"]:
    """E[Omega] [B, T, T] over one head's scores at one place."""
    if env.resolution.approximation is not None:
        raise InputError(
            f"approximation={env.resolution.approximation}: stated for attention alone; accepted: "
            f"networks without shaped attention"
        )
    query, key = _leg(env, node.query, i, i), _leg(env, node.key, i, i)
    points = env.resolution.points.get(law(node))
    return expectation(
        node.scores,
        form(env, node, i, i),
        points,
        query,
        key,
        True,
        lambda head: head.omega_a.sum(axis=0),
    )


def form(env: NumericEnvironment, node: Attend, i: str, j: str) -> Form:
    """Return what turns the scores of both places into weights."""
    cap, base = (
        None if scalar is None else _number(env, scalar, "a") for scalar in (node.cap, node.base)
    )
    drawn = None if node.drawn_bias is None else _drawn(env, node.drawn_bias, i, j)
    of_unit = env.scores(node, i)
    seen = None if of_unit is None else (of_unit, env.scores(node, j))
    return Form(cap, base, _bias(env, node, i), _bias(env, node, j), drawn, env.traced, seen)


def _bias(env: NumericEnvironment, node: Attend, i: str) -> Bias | None:
    """[kinds, B, T or 1, T] fixed numbers added to a place's scores, or None."""
    bias = None
    if isinstance(node.bias, TokenTable):
        table = env.table(node.bias, i)
        bias = table[None] if node.bias.heads is None else jnp.moveaxis(table, 1, 0)
    if not node.kept_by:
        return bias
    unseen = DROPPED * (1 - env.kept(node, i))[None, :, None, :]
    return unseen if bias is None else bias + unseen


def _numbers(bias: PositionBias) -> Int[np.ndarray, "T T"]:
    """Which of its numbers, counted without those that occur nowhere, every pair of tokens has."""
    return np.unique(bias.table, return_inverse=True)[1].reshape(bias.table.shape)


def _drawn(env: NumericEnvironment, bias: PositionBias, i: str, j: str) -> Drawn:
    """Return a drawn bias at two places; one place shares it with itself."""
    sd_a, sd_b = (jnp.sqrt(_number(env, bias.variance, place)) for place in (i, j))
    return Drawn(_numbers(bias), sd_a, sd_b, env.tied(bias.weight, i, j))


def _leg(env: NumericEnvironment, u: Vector, i: str, j: str) -> Leg:
    """Return the Grams of queries or keys, each place on its largest scale."""
    ab = _even(env, u, i, j, env.block(inner(u, i, u, j, env), i, j))
    if i == j:
        log = env.widest(log_scale(u, i, env))[..., 0]
        return Leg(ab, ab, ab, log, log)
    alone = [
        jnp.broadcast_to(_even(env, u, p, p, env.block(inner(u, p, u, p, env), p, p)), ab.shape)
        for p in (i, j)
    ]
    return Leg(alone[0], ab, alone[1], *(env.widest(log_scale(u, p, env))[..., 0] for p in (i, j)))


def _even(
    env: NumericEnvironment, u: Vector, i: str, j: str, gram: Float[Array, "#B T T"]
) -> Float[Array, "B T T"]:
    """Bring the Gram of u's mantissas to each place's largest scale."""

    def shift(p):
        return jnp.exp(log_scale(u, p, env) - env.widest(log_scale(u, p, env)))

    return gram * env.left(shift(i)) * env.right(shift(j))

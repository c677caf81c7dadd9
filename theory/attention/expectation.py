"""Attention's Grams on arrays: the two places' Grams brought to one scale, and the expectation
over sampled heads."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.errors import InputError
from sigprop.language.expression import Attend, Vector
from sigprop.language.scores import DROPPED
from sigprop.theory.attention import mixing
from sigprop.theory.attention.approximations import approximate
from sigprop.theory.attention.heads import Form, Leg, expectation
from sigprop.theory.calculus.environment import NumericEnvironment
from sigprop.theory.calculus.log_scale import log_scale
from sigprop.theory.calculus.rules import inner


def attention(
    env: NumericEnvironment,
    node: Attend,
    i: str,
    j: str,
    values: Any,
    cotangents: Any,
    of: Vector | None,
) -> dict[str, Float[Array, "B T *T"]]:
    """{'forward'} or {'value', 'query', 'key'}: [B, T, T], mantissas on the scales of
    ``log_scale``."""
    query, key = _leg(env, node.query, i, j), _leg(env, node.key, i, j)
    batch = query.ab.shape[0]
    r = _even(env, node.value, i, j, env.block(values, i, j))
    if env.resolution.approximation is not None and of is None:
        return approximate(
            env.resolution.approximation,
            node,
            query,
            key,
            jnp.broadcast_to(r, (batch, *r.shape[1:])),
            i == j,
        )
    form = _form(env, node, i, j)
    over = functools.partial(
        expectation, node.scores, form, env.resolution.points.get(node.scores), query, key, i == j
    )
    rate = (
        None
        if node.rate is None or i != j
        else jnp.reshape(jnp.asarray(env.number(node.rate, i), dtype=jnp.float64), (1, 1, 1))
    )
    odds = None if rate is None else rate / (1 - rate)
    if of is None:
        spread = jnp.broadcast_to(r, (batch, *r.shape[1:]))
        return over(lambda head: mixing.forward(head, spread, odds))
    delta = env.block(cotangents, i, j)
    level = _even(env, of, i, j, delta)
    found = over(lambda head: mixing.backward(head, r, level, odds))
    power = node.scores.power
    return {
        "value": found["value"],
        "query": power * delta * found["query"],
        "key": power * found["key"],
    }


def mean(env: NumericEnvironment, node: Attend, i: str) -> Float[Array, "B T T"]:
    """E[Omega] [B, T, T] over one head's scores at one place."""
    if env.resolution.approximation is not None:
        raise InputError(
            f"approximation={env.resolution.approximation}: stated for attention alone; accepted: "
            f"networks without shaped attention"
        )
    query, key = _leg(env, node.query, i, i), _leg(env, node.key, i, i)
    points = env.resolution.points.get(node.scores)
    return expectation(
        node.scores,
        _form(env, node, i, i),
        points,
        query,
        key,
        True,
        lambda head: head.omega_a.sum(axis=0),
    )


def _form(env: NumericEnvironment, node: Attend, i: str, j: str) -> Form:
    cap, base = (
        None
        if scalar is None
        else jnp.reshape(jnp.asarray(env.number(scalar, "a"), dtype=jnp.float64), (1, 1, 1))
        for scalar in (node.cap, node.base)
    )
    return Form(cap, base, _bias(env, node, i), _bias(env, node, j))


def _bias(env: NumericEnvironment, node: Attend, i: str) -> Float[Array, " B #T T"] | None:
    """[B, T or 1, T] added to a place's scores, or None."""
    bias = None if node.bias is None else env.table(node.bias, i)
    if not node.kept_by:
        return bias
    unseen = DROPPED * (1 - env.kept(node, i))[:, None, :]
    return unseen if bias is None else bias + unseen


def _leg(env: NumericEnvironment, u: Vector, i: str, j: str) -> Leg:
    ab = _even(env, u, i, j, env.block(inner(u, i, u, j, env), i, j))
    if i == j:
        log = env.widest(log_scale(u, i, env))[..., 0]
        return Leg(ab, ab, ab, log, log)
    own = [
        jnp.broadcast_to(_even(env, u, p, p, env.block(inner(u, p, u, p, env), p, p)), ab.shape)
        for p in (i, j)
    ]
    return Leg(own[0], ab, own[1], *(env.widest(log_scale(u, p, env))[..., 0] for p in (i, j)))


def _even(
    env: NumericEnvironment, u: Vector, i: str, j: str, gram: Float[Array, "#B T T"]
) -> Float[Array, "B T T"]:
    """The Gram of u's mantissas, all tokens of a place on that place's largest scale."""

    def shift(p):
        return jnp.exp(log_scale(u, p, env) - env.widest(log_scale(u, p, env)))

    return gram * env.left(shift(i)) * env.right(shift(j))

"""Attention of sampled heads, with their coordinates at hand: its output, its transposed Jacobian
and its derivative along a change, all of one function."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from sigprop.language.expression import Attend
from sigprop.runtime.compiling import jit
from sigprop.theory.attention.heads import softmax
from sigprop.theory.attention.positions import positions, rotated
from sigprop.theory.attention.sampling import normalised
from sigprop.theory.first_step.coordinates import vanishing

Heads = Float[np.ndarray, "P d T"]
Legs = tuple[Heads, Heads, Heads]


class Numbers(NamedTuple):
    """An application's cap, rotary base and bias [T, T] (or one row for all), where there are
    any."""

    cap: Any = None
    base: Any = None
    bias: Any = None


def output(node: Attend, numbers: Numbers, legs: Legs) -> Heads:
    """o [P, d, T] of queries, keys and values."""
    if vanishing.vanishes(node):
        return vanishing.output(_alike(node, numbers, legs), legs[2])
    with jax.enable_x64(True):
        return np.asarray(_output(node, numbers, legs))


def pulled(node: Attend, numbers: Numbers, legs: Legs, cotangent: Heads) -> Legs:
    """Return the cotangents of queries, keys and values."""
    if vanishing.vanishes(node):
        return vanishing.pulled(_alike(node, numbers, legs), cotangent)
    with jax.enable_x64(True):
        query, key, value = _pulled(node, numbers, legs, cotangent)
    return np.asarray(query), np.asarray(key), np.asarray(value)


def moved(node: Attend, numbers: Numbers, legs: Legs, along: tuple[Any, Any, Any]) -> np.ndarray:
    """Return o's change [S, P, d, T] along changes [S, P, d, T] of the legs."""
    if vanishing.vanishes(node):
        return vanishing.moved(_alike(node, numbers, legs), node, legs, along)
    with jax.enable_x64(True):
        return np.asarray(_moved(node, numbers, legs, along))


def _alike(node: Attend, numbers: Numbers, legs: Legs) -> vanishing.Weights:
    """Return the weights of scores that vanish."""
    return vanishing.weights(node, numbers.bias, legs[2].shape[-1])


def _attend(node: Attend, numbers: Numbers, legs: Any) -> Float[Array, "P d T"]:
    """Return the output of heads whose coordinates are given."""
    q, k, v = (jnp.swapaxes(leg, 1, 2)[:, None] for leg in legs)  # [P, 1, T, d]
    scores, size = node.scores, legs[0].shape[1]
    if scores.qk_norm:
        (q, _), (k, _) = normalised(q, size), normalised(k, size)
    if scores.rotary:
        angle = positions(q.shape[2], scores, numbers.base)
        q, k = rotated(q, angle), rotated(k, angle)
    s = jnp.einsum("pbtj,pbsj->pbts", q, k) * size**-0.5
    cap = None if numbers.cap is None else jnp.reshape(numbers.cap, (1, 1, 1))
    bias = None if numbers.bias is None else jnp.asarray(numbers.bias)[None, None]
    omega, _ = softmax(scores, cap, s, jnp.zeros((1,), dtype=jnp.float64), bias)
    return jnp.einsum("pbts,pbsj->pjt", omega, v)


@jit(static=(0,))
def _output(node: Attend, numbers: Numbers, legs: Any) -> Any:
    return _attend(node, numbers, legs)


@jit(static=(0,))
def _pulled(node: Attend, numbers: Numbers, legs: Any, cotangent: Any) -> Any:
    return jax.vjp(lambda given: _attend(node, numbers, given), legs)[1](cotangent)[0]


@jit(static=(0,))
def _moved(node: Attend, numbers: Numbers, legs: Any, along: Any) -> Any:
    """Take the derivative along each setting's change in turn."""

    def one(change: Any) -> Any:
        return jax.jvp(lambda given: _attend(node, numbers, given), (legs,), (change,))[1]

    return jax.lax.map(one, along)

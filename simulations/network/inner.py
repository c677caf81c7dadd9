"""Inner products of one network's vectors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.runtime.memory import LONG

# inner products of long vectors are sums: a CPU's matrix product takes three times as long for them
FEW = 4


def dot(x: Float[Array, "... T n"], y: Float[Array, "... S n"]) -> Float[Array, "... T S"]:
    """<x, y> = (1/n) sum_i x_i y_i over the last axis of arrays [..., n], pairwise over the axis
    before."""
    return products(x, y) / x.shape[-1]


def products(x: Float[Array, "... T n"], y: Float[Array, "... S n"]) -> Float[Array, "... T S"]:
    """[..., T, S] of sum_i x_i y_i, x [..., T, n], y [..., S, n]."""
    tokens, others, length = x.shape[-2], y.shape[-2], x.shape[-1]
    if tokens * others > FEW or length < LONG:
        return jnp.einsum("...tn,...sn->...ts", x, y, precision=jax.lax.Precision.HIGHEST)
    found = {
        (t, s): (x[..., t, :] * y[..., s, :]).sum(axis=-1)
        for t in range(tokens)
        for s in range(others)
        if s >= t or x is not y
    }
    found = {(s, t): sums for (t, s), sums in found.items() if x is y} | found
    return jnp.stack(
        [jnp.stack([found[t, s] for s in range(others)], axis=-1) for t in range(tokens)], axis=-2
    )

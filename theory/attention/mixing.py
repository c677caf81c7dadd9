"""What attention does to Grams, forward and backward: products of Omega with T x T Grams, for one sampled head.

With r = <v_a, v_b>, delta = <d_a, d_b> (d: the output's cotangent), k and q the head's <k_a, k_b>, <q_a, q_b>, and
J_t = diag(Omega_t) - Omega_t Omega_t^T:

    forward  E[Omega r Omega'^T]
    value    E[Omega^T delta Omega']
    query    sum_ss' (J_t r J'_t')_ss' k_ss' delta_tt',       key    sum_tt' (J_t r J'_t')_ss' q_tt' delta_tt'

as matrix products, O(T^3) a head. Source: papers' attention_backward, section 2.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from sigprop.theory.attention.heads import Head


def forward(head: Head, r: Any) -> Any:
    """Sum over the chunk's heads of Omega r Omega'^T, [B, T, T]."""
    return jnp.einsum("cbts,cbus->btu", head.omega_a @ r[None], head.omega_b)


def backward(head: Head, r: Any, delta: Any) -> dict[str, Any]:
    """Sums over the chunk's heads of the three legs' Grams, [B, T, T] each (the query's still without its factor delta)."""
    a, b = head.omega_a, head.omega_b
    turned = lambda x: jnp.swapaxes(x, -1, -2)  # noqa: E731
    r, delta, k = r[None], delta[None], head.keys
    value = jnp.einsum("cbts,cbtu->bsu", a, delta @ b)
    left_r, left_k = a @ r, a @ k  # Omega r, Omega k
    right_r, right_k = r @ turned(b), k @ turned(b)  # r Omega'^T, k Omega'^T
    both_r = left_r @ turned(b)
    query = a @ (r * k) @ turned(b) - a @ (right_r * right_k) - (left_r * left_k) @ turned(b) + both_r * (left_k @ turned(b))
    x = delta * head.queries
    ax, xb = turned(a) @ x, x @ b
    key = r * (ax @ b) - (ax * right_r) @ b - turned(a) @ (xb * left_r) + turned(a) @ (x * both_r) @ b
    return {"value": value, "query": query.sum(axis=0), "key": key.sum(axis=0)}

"""What attention does to Grams, forward and backward: products of Omega with T x T Grams, for one
sampled head.

With r = <v_a, v_b>, delta = <d_a, d_b> (d: the output's cotangent), k and q the head's <k_a, k_b>,
<q_a, q_b>, and C_tt' [s, s'] = W_ts W'_t's' (r - r Omega'^T - Omega r + Omega r Omega'^T), the
covariance of dz/dS over delta_tt' (W = Omega, times the slope of a soft cap where there is one):

    forward  Omega r Omega'^T           value    Omega^T delta Omega'
    query    delta_tt' sum_ss' C k_ss'  key      sum_tt' C q_tt' delta_tt'
    bias     delta_tt' sum_ss' C 1{one number of the drawn bias}

as matrix products, O(T^3) a head. Source: derived (tests/theory/attention/test_attention_laws.py
compares with tensors of four token indices, verdicts with finite networks).
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from sigprop.theory.attention.heads import Head
from sigprop.theory.attention.legs import bias, legs

Odds = Float[Array, "1 1 1"] | None


def forward(
    head: Head, r: Float[Array, "B T T"], odds: Odds = None
) -> dict[str, Float[Array, "B T *T"]]:
    """Sums over the chunk's heads of Omega r Omega'^T [B, T, T], and of each token's sum_s
    Omega_ts^2 at a [B, T].

    odds: p/(1 - p) of dropout where both sides have one mask: it adds odds times sum_s Omega_ts^2
    r_ss on the diagonal.
    """
    mixed = jnp.einsum("cbts,cbus->btu", head.omega_a @ r[None], head.omega_b)
    if odds is not None:
        mixed = mixed + odds * diagonal(forward(head, diagonal(r))["forward"])
    return {"forward": mixed, "participation": (head.omega_a**2).sum(axis=(0, -1))}


def diagonal(x: Float[Array, "*many T T"]) -> Float[Array, "*many T T"]:
    """The diagonal of [..., T, T] as a matrix."""
    return x * jnp.eye(x.shape[-1], dtype=x.dtype)[None]


def backward(
    head: Head,
    r: Float[Array, "#B T T"],
    delta: Float[Array, "#B T T"],
    odds: Odds = None,
    numbers: Int[np.ndarray, "T T"] | None = None,
) -> dict[str, Float[Array, "B T T"]]:
    """Sums over the chunk's heads of the legs' Grams, [B, T, T] each (the query's and the bias's
    still without their factor delta).

    numbers: of a drawn bias (``legs.bias``), whose leg is there where they are; odds: as in
    ``forward``; a mask couples a pair of tokens (t, s) with itself alone, so it adds odds times the
    same legs of the diagonals of r and delta (at values, queries and the bias on the diagonal
    only).
    """
    if odds is not None:
        plain = backward(head, r, delta, None, numbers)
        masked = backward(head, diagonal(r), diagonal(delta), None, numbers)
        return {
            leg: plain[leg] + odds * (masked[leg] if leg == "key" else diagonal(masked[leg]))
            for leg in plain
        }
    value = jnp.einsum("cbts,cbtu->bsu", head.omega_a, delta[None] @ head.omega_b)
    query, key = legs(head, r, delta)
    found = {"value": value, "query": query, "key": key}
    return found if numbers is None else found | {"bias": bias(head, r, numbers)}

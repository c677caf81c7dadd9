"""Attention's cotangents at queries and keys: Grams of one head's legs, as matrix products.

With dS the gradient at the scores, of covariance delta_tt' C_tt'[s, s'] (``mixing``), a query's
gradient is sum_s dS_ts k_s and a key's sum_t dS_ts q_t: from Grams k_ss' and q_tt' of the heads,
O(T^3) a head.

Where queries and keys are turned by their positions, or normalised over the head's coordinates,
what t sees of s depends on both, so the vectors themselves are contracted. With R_(s-t) the turn
between two positions, unit vectors times sqrt(d), nu = 1/rms, and x_ts = <q_t, R_(s-t) k_s>/d
(all without norms: x = 0, nu = 1),

    N_ts = W_ts nu_t (R_(s-t) k_s - x_ts q_t)      P_ts = W_ts nu_s (R_(t-s) q_t - x_ts k_s)

    query   delta_tt' sum_s' U_ts' . V_t's'/d,     U = N r - n Omega r,  V = N' - n' Omega',
                                                   n_t = sum_s N_ts
    key     sum_tt' C_tt'[s, s'] delta_tt' P_ts . P'_t's'/(d W_ts W'_t's')

O(T^3 d) a head, most of it one product of matrices for all heads of a chunk. Source: derived
(tests/theory/attention/test_attention_laws.py and test_qk_norm.py compare with tensors of four
indices and with jax's own gradients).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from sigprop.theory.attention.heads import Head, Omega, Side
from sigprop.theory.attention.positions import relative

Gram = Float[Array, "B T T"]
ValueGram = Float[Array, "#B T T"]
Shared = Float[Array, "#C #B T T"]
Reach = Float[Array, "C B T d T"]
"""What every token reaches of every other: N [C, B, t, d, s], or P [C, B, s, d, t]."""


def turned(x: Float[Array, "*many T S"]) -> Float[Array, "*many S T"]:
    """The transpose over tokens."""
    return jnp.swapaxes(x, -1, -2)


def legs(head: Head, r: ValueGram, delta: ValueGram) -> tuple[Gram, Gram]:
    """(query's leg without its factor delta, key's leg), sums over heads [B, T, T]; r, delta [B,
    T, T]: Grams of values and of the output's cotangents."""
    if r.shape[-1] == 1:  # the softmax of one score is 1, whatever the score
        zero = jnp.zeros(head.omega_a.shape[1:], dtype=jnp.float64)
        return zero, zero
    mixed = _Mixed(head, r)
    if head.sides is not None:
        return _query(head, mixed), _key(head, mixed, delta)
    assert head.queries is not None and head.keys is not None
    query, key = mixed.query(head.keys), mixed.key(delta[None] * head.queries)
    if head.norms is not None:
        norms = head.norms
        query = _sized(query, norms.query_a, norms.query_b)
        key = _sized(key, norms.key_a, norms.key_b)
    return query.sum(axis=0), key.sum(axis=0)


def bias(head: Head, r: ValueGram, numbers: Int[np.ndarray, "T T"]) -> Gram:
    """The leg of a drawn bias without its factor delta, sums over heads [B, T, T]: with W = Omega,
    whatever the cap,

        sum_ss' C_tt'[s, s'] 1{(t, s) and (t', s') have one number of the bias}

    so that its sum over t and t', times delta, is the squared gradient of a head's numbers. r [B,
    T, T]; numbers: which of them each pair of tokens has."""
    mixed = _Mixed(head, r)

    @jax.checkpoint
    def add(total: Omega, number: Array) -> tuple[Omega, None]:
        inside = (jnp.asarray(numbers) == number)[None, None]
        u, v = (jnp.where(inside, w, jnp.zeros_like(w)) for w in (head.omega_a, head.omega_b))
        return total + mixed.between(u, v), None

    start = jnp.zeros_like(head.omega_a + head.omega_b)
    return jax.lax.scan(add, start, jnp.arange(numbers.max() + 1))[0].sum(axis=0)


def _sized(gram: Omega, a: Float[Array, "#C B T"], b: Float[Array, "#C B T"]) -> Omega:
    """The Gram with a factor for each token of both places."""
    return gram * a[..., :, None] * b[..., None, :]


class _Mixed:
    """Sums over a head's covariance W W' c, c = r_ss' - right_st' - left_ts' + both_tt', by Grams
    of keys and queries."""

    def __init__(self, head: Head, r: ValueGram):
        self.r, self.wa, self.wb = r[None], head.slope_a, head.slope_b
        # Omega r, r Omega'^T
        self.left, self.right = head.omega_a @ self.r, self.r @ turned(head.omega_b)
        self.both = self.left @ turned(head.omega_b)

    def between(self, u: Omega, v: Omega) -> Omega:
        """Sum over s, s' of u_ts v_t's' c_tt'[s, s'], u and v in place of W and W'."""
        rows, columns = u.sum(axis=-1)[..., :, None], v.sum(axis=-1)[..., None, :]
        return (
            (u @ self.r) @ turned(v)
            - (u @ self.right) * columns
            - rows * (self.left @ turned(v))
            + self.both * rows * columns
        )

    def query(self, k: Shared) -> Omega:
        """Sum over s, s', times k_ss'."""
        through, v = self.wa @ k, turned(self.wb)
        return (
            (self.wa @ (self.r * k) - self.left * through) @ v
            - self.wa @ (self.right * (k @ v))
            + self.both * (through @ v)
        )

    def key(self, x: Shared) -> Omega:
        """Sum over t, t', times x_tt'."""
        down, across = turned(self.wa) @ x, x @ self.wb
        return (
            self.r * (down @ self.wb)
            - (down * self.right) @ self.wb
            - turned(self.wa) @ (across * self.left)
            + turned(self.wa) @ (x * self.both) @ self.wb
        )


def _query(head: Head, mixed: _Mixed) -> Gram:
    """Contract what queries see."""
    a, b = _seen(head, "query")
    u = jnp.einsum("cbtfs,bsu->cbtfu", a, mixed.r[0])
    u = u - a.sum(axis=-1)[..., None] * mixed.left[:, :, :, None]
    v = b - b.sum(axis=-1)[..., None] * head.omega_b[:, :, :, None]
    return jnp.einsum("cbtfs,cbufs->btu", u, v) / a.shape[3]


def _key(head: Head, mixed: _Mixed, delta: ValueGram) -> Gram:
    """Contract what sees keys."""
    a, b = _seen(head, "key")
    left, right = turned(mixed.left)[:, :, :, None], mixed.right[:, :, :, None]
    from_b = jnp.einsum("cbuft,bvt->cbufv", b, delta)
    both = jnp.einsum("cbuft,cbvt->cbufv", b, delta[None] * mixed.both)

    def over(x: Reach, y: Reach) -> Gram:
        return jnp.einsum("cbsft,cbuft->bsu", x, y) / a.shape[3]

    gram = mixed.r[0] * over(a, from_b)
    if head.same:  # each other's transpose
        half = over(a, both / 2 - left * from_b)
        return gram + half + turned(half)
    from_a = jnp.einsum("cbsfv,bvt->cbsft", a, delta)
    return gram + over(a, both - left * from_b) - over(from_a * right, b)


def _seen(head: Head, leg: str) -> tuple[Reach, Reach]:
    """N or P, at both places."""
    assert head.sides is not None
    norms, slopes = head.norms, (head.slope_a, head.slope_b)
    nus = (None, None)
    if norms is not None:
        nus = (norms.query_a, norms.query_b) if leg == "query" else (norms.key_a, norms.key_b)

    def reach(side: Side, slope: Omega, nu: Float[Array, "C B T"] | None) -> Reach:
        own, other, x = side.queries, side.keys, side.x
        if leg == "key":
            own, other, x, slope = other, own, turned(x), turned(slope)
        seen = jnp.swapaxes(relative(other, head.angle), -1, -2)
        if nu is not None:
            seen, slope = seen - x[:, :, :, None] * own[..., None], slope * nu[..., None]
        return slope[:, :, :, None] * seen

    a, b = (reach(*given) for given in zip(head.sides, slopes, nus, strict=True))
    return a, b

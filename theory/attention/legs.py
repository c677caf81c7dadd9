"""Attention's cotangents at queries and keys: Grams of one head's legs, as matrix products.

With dS the gradient at the scores, of covariance delta_tt' C_tt'[s, s'] (``mixing``), a query's
gradient is sum_s dS_ts k_s and a key's sum_t dS_ts q_t. Queries and keys normalised over the head's
coordinates are unit vectors times nu^-1; there each gradient is projected: nu_t sum_s dS_ts (k_s -
x_ts q_t), x_ts = <q_t, k_s>/d, so that

    query   nu_t nu'_t' delta_tt' sum_ss' C (k_ss' - x_ts y_ts' - z_st' x'_t's' + x_ts x'_t's'
            q_tt')
    key     nu_s nu'_s' sum_tt' C delta_tt' (q_tt' - x_ts z_st' - y_ts' x'_t's' + x_ts x'_t's'
            k_ss')

y, z: <q_t, k'_s'> and <k_s, q'_t'> over d. Rotary positions turn q_t and k_s after that: x, y, z, k
and q are then of the turned vectors, one Gram a frequency, and each leg is turned back to where its
token was before. O(T^3) a head and frequency, O(T^4) where keys are normalised. Source: derived
(tests/theory/attention/test_attention_laws.py and test_qk_norm.py compare with tensors of four
indices and with jax's own gradients).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from sigprop.theory.attention.heads import Head, Norms

Gram = Float[Array, "C B T T"]
Factor = Float[Array, "#C #B T T"]
ValueGram = Float[Array, "1 #B T T"]
Scale = Float[Array, "#C B T"]


def turned(x: Float[Array, "*many T S"]) -> Float[Array, "*many S T"]:
    """The transpose over tokens."""
    return jnp.swapaxes(x, -1, -2)


def legs(head: Head, r: ValueGram, delta: ValueGram) -> tuple[Gram, Gram]:
    """(query's leg without its factor delta, key's leg) [C, B, T, T]; r, delta [1, B, T, T]:
    Grams of values and of the output's cotangents."""
    parts, norms = _Parts(head, r), head.norms
    if norms is None:
        return _turned_back(head, functools.partial(_plain, parts, delta), head.keys, head.queries)
    query, key = (
        _turned_back(head, functools.partial(_plain, parts, delta), head.keys, head.queries)
        if norms.x_a is None
        else _projected(head, norms, parts, delta)
    )
    return (
        _sized(query, norms.query_a, norms.query_b),
        _sized(key, norms.key_a, norms.key_b),
    )


def bias(head: Head, r: ValueGram, numbers: Int[np.ndarray, "T T"]) -> Gram:
    """The leg of a drawn bias without its factor delta: with W = Omega, whatever the cap,

        sum_ss' C_tt'[s, s'] 1{(t, s) and (t', s') have one number of the bias}

    so that its sum over t and t', times delta, is the squared gradient of a head's numbers. r [1,
    B, T, T]; numbers: which of them each pair of tokens has."""
    whole = head._replace(slope_a=head.omega_a, slope_b=head.omega_b)
    parts = _Parts(whole, r)

    @jax.checkpoint
    def add(total: Gram, number: Array) -> tuple[Gram, None]:
        inside = (jnp.asarray(numbers) == number)[None, None]
        u, v = (jnp.where(inside, w, jnp.zeros_like(w)) for w in (parts.wa, parts.wb))
        return total + parts.query(u, v), None

    start = jnp.zeros_like(head.omega_a + head.omega_b)
    return jax.lax.scan(add, start, jnp.arange(numbers.max() + 1))[0]


def _plain(parts: _Parts, delta: Factor, k: Factor, q: Factor) -> tuple[Gram, Gram]:
    """Both legs from the Grams of keys and queries alone."""
    return parts.query_through(k), parts.key(delta * q, parts.wa, parts.wb)


def _projected(head: Head, norms: Norms, parts: _Parts, delta: Factor) -> tuple[Gram, Gram]:
    """Both legs less their parts along the unit vectors that queries and keys are."""
    assert norms.x_a is not None and norms.x_b is not None
    wa, wb = parts.wa, parts.wb
    ua, ub = wa * norms.x_a, wb * norms.x_b

    def across(k: Any, q: Any, y: Any, z: Any) -> tuple[Any, Any]:
        query, key = _plain(parts, delta, k, q)
        return (
            query - parts.query_by_row(ua, wb, y) - parts.query_by_column(wa, ub, z),
            key - parts.key_by_column(delta, ua, wb, z) - parts.key_by_row(delta, wa, ub, y),
        )

    query, key = _turned_back(head, across, head.keys, head.queries, norms.y, norms.z)
    queries, keys = (_sum_back(head, gram) for gram in (head.queries, head.keys))
    return query + queries * parts.query(ua, ub), key + keys * parts.key(delta, ua, ub)


def _turned_back(
    head: Head, function: Callable[..., tuple[Any, Any]], *grams: Any
) -> tuple[Gram, Gram]:
    """Both legs of Grams, of one frequency after the other where positions turn them."""
    query, key = function(*grams) if head.turns is None else jax.vmap(function)(*grams)
    return _sum_back(head, query), _sum_back(head, key)


def _sum_back(head: Head, leg: Any) -> Any:
    """Turn each frequency's leg back to where its token was before, and add them."""
    return leg if head.turns is None else (leg * head.turns[:, None, None]).sum(axis=0)


def _sized(gram: Gram, a: Scale, b: Scale) -> Gram:
    """The Gram with a factor for each token of both places."""
    return gram * a[..., :, None] * b[..., None, :]


class _Parts:
    """Sums of u_ts v_t's' c_tt'[s, s'] with further factors, c = r_ss' - right_st' - left_ts' +
    both_tt' (C is W W' c)."""

    def __init__(self, head: Head, r: ValueGram):
        self.r, self.wa, self.wb = r, head.slope_a, head.slope_b
        self.left, self.right = head.omega_a @ r, r @ turned(head.omega_b)  # Omega r, r Omega'^T
        self.both = self.left @ turned(head.omega_b)

    def query(self, u: Gram, v: Gram) -> Gram:
        """Sum over s, s'."""
        rows, columns = u.sum(axis=-1)[..., :, None], v.sum(axis=-1)[..., None, :]
        return (
            (u @ self.r) @ turned(v)
            - (u @ self.right) * columns
            - rows * (self.left @ turned(v))
            + self.both * rows * columns
        )

    def query_through(self, k: Factor) -> Gram:
        """Sum over s, s', times k_ss', of W and W'."""
        through, v = self.wa @ k, turned(self.wb)
        return (
            (self.wa @ (self.r * k) - self.left * through) @ v
            - self.wa @ (self.right * (k @ v))
            + self.both * (through @ v)
        )

    def query_by_row(self, u: Gram, v: Gram, y: Factor) -> Gram:
        """Sum over s, s', times y_ts'."""
        rows, across = u.sum(axis=-1)[..., :, None], y @ turned(v)
        return (
            ((u @ self.r) * y) @ turned(v)
            - (u @ self.right) * across
            - rows * ((self.left * y) @ turned(v))
            + self.both * rows * across
        )

    def query_by_column(self, u: Gram, v: Gram, z: Factor) -> Gram:
        """Sum over s, s', times z_st'."""
        columns, down = v.sum(axis=-1)[..., None, :], u @ z
        return (
            u @ (z * (self.r @ turned(v)))
            - (u @ (z * self.right)) * columns
            - down * (self.left @ turned(v))
            + self.both * down * columns
        )

    def key(self, x: Factor, u: Gram, v: Gram) -> Gram:
        """Sum over t, t', times x_tt'."""
        down, across = turned(u) @ x, x @ v
        return (
            self.r * (down @ v)
            - (down * self.right) @ v
            - turned(u) @ (across * self.left)
            + turned(u) @ (x * self.both) @ v
        )

    def key_by_column(self, x: Factor, u: Gram, v: Gram, z: Factor) -> Gram:
        """Sum over t, t', times x_tt' z_st'."""
        down = (turned(u) @ x) * z
        crossed = jnp.einsum(
            "cbts,cbtu,cbtsu->cbsu",
            u,
            self.left,
            jnp.einsum("cbtw,cbsw,cbwu->cbtsu", x + 0 * u, z, v),
        )
        return (
            self.r * (down @ v)
            - (down * self.right) @ v
            - crossed
            + ((turned(u) @ (x * self.both)) * z) @ v
        )

    def key_by_row(self, x: Factor, u: Gram, v: Gram, y: Factor) -> Gram:
        """Sum over t, t', times x_tt' y_ts'."""
        across = (x @ v) * y
        crossed = jnp.einsum(
            "cbsw,cbwu,cbwsu->cbsu",
            self.right,
            v,
            jnp.einsum("cbts,cbtw,cbtu->cbwsu", u, x + 0 * u, y),
        )
        return (
            self.r * (turned(u) @ across)
            - crossed
            - turned(u) @ (self.left * across)
            + turned(u) @ (y * ((x * self.both) @ v))
        )

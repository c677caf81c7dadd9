"""One head, sampled: weights Omega of two applications from their joint scores, and the head's own key and query Grams.

    law d     q = A z_q, k = B z_k, A A^T = <q, q>, B B^T = <k, k>, z iid of d coordinates;   S = q k^T / sqrt(d)
    law inf   S = A Z B^T, Z iid: Gaussian scores of covariance <q, q'> <k, k'>

Law d is exact for every head_dim as width and heads grow; both are joint over tokens and over two applications.
Source: papers' attention_backward, section 2 (derived there); tests/theory/test_attention.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sigprop.scores import Scores

CHUNK = 2**22  # numbers in one chunk of sampled heads
LARGEST = 300.0  # of the scores' log scale: beyond it a softmax has long been a maximum


class Leg(NamedTuple):
    """Gram of queries or keys at two places: own a [B, T, T], cross a-b, own b; log: of each place's scale, [B] each."""

    aa: Any
    ab: Any
    bb: Any
    log_a: Any
    log_b: Any


class Head(NamedTuple):
    """omega_a, omega_b [C, B, T, T]; queries, keys: <q_a, q_b>, <k_a, k_b> of the very head (law d) or their Grams (inf)."""

    omega_a: Any
    omega_b: Any
    queries: Any
    keys: Any


def factor(leg: Leg, same: bool) -> Any:
    """[B, T or 2T, same]: A with A A^T = the (stacked) Gram; singular Grams too. Leading columns carry most."""
    if same:
        gram = leg.aa
    else:
        turned = jnp.swapaxes(leg.ab, -1, -2)
        gram = jnp.concatenate([jnp.concatenate([leg.aa, leg.ab], -1), jnp.concatenate([turned, leg.bb], -1)], -2)
    values, vectors = jnp.linalg.eigh((gram + jnp.swapaxes(gram, -1, -2)) / 2)
    return (vectors * jnp.sqrt(jnp.maximum(values, jnp.zeros_like(values)))[..., None, :])[..., ::-1]


def expectation(scores: Scores, points: Any, query: Leg, key: Leg, same: bool, function: Callable[[Head], Any]) -> Any:
    """E[function(head)], by the mean over ``points`` (``draws``), chunk by chunk; function: [C, B, ...] -> [B, ...] sums.

    same: the two places are one application (then a and b coincide).
    """
    batch, tokens = query.ab.shape[:2]
    if scores.uniform:
        return function(_uniform(scores, query, key))
    a, b = factor(query, same), factor(key, same)
    size = a.shape[-1]
    count = points.shape[0]
    chunk = max(1, min(count, CHUNK // (batch * tokens * max(2 * tokens, points.shape[-1]))))
    chunk = 2 ** int(math.log2(chunk))
    z = points[:, :size].reshape(count // chunk, chunk, size, *points.shape[2:])
    sums = jax.lax.map(jax.checkpoint(lambda z: function(_head(scores, z, a, b, query, key, same))), z)  # heads are sampled again in reverse
    return jax.tree.map(lambda leaf: leaf.sum(axis=0) / count, sums)


def _head(scores: Scores, z: Any, a: Any, b: Any, query: Leg, key: Leg, same: bool) -> Head:
    tokens = query.ab.shape[-1]
    if math.isinf(scores.head_dim):
        size = a.shape[-1]
        mixed = jnp.einsum("bti,cij->cbtj", a, z[:, :, 0, :size])
        rows = [slice(0, tokens)] if same else [slice(0, tokens), slice(tokens, 2 * tokens)]
        s = [jnp.einsum("cbtj,bsj->cbts", mixed[:, :, r], b[:, r]) for r in rows]
        queries, keys = query.ab[None], key.ab[None]
    else:
        d, size = scores.head_dim, min(a.shape[-1], z.shape[-1])
        q = jnp.einsum("bti,cij->cbtj", a, z[:, :, 0, :size])
        k = jnp.einsum("bti,cij->cbtj", b, z[:, :, 1, :size])
        qs = [q] if same else [q[:, :, :tokens], q[:, :, tokens:]]
        ks = [k] if same else [k[:, :, :tokens], k[:, :, tokens:]]
        s = [jnp.einsum("cbtj,cbsj->cbts", x, y) / d**0.5 for x, y in zip(qs, ks, strict=True)]
        queries, keys = (jnp.einsum("cbtj,cbsj->cbts", x[0], x[-1]) / d for x in (qs, ks))
        keys = keys + (1 - size / d) * key.ab[None]  # coordinates that no query sees, by their mean
    omega_a = softmax(scores, s[0], query.log_a + key.log_a)
    omega_b = omega_a if same else softmax(scores, s[1], query.log_b + key.log_b)
    return Head(omega_a, omega_b, queries, keys)


def _uniform(scores: Scores, query: Leg, key: Leg) -> Head:
    tokens = query.ab.shape[-1]
    omega = jnp.asarray(scores.allowed(tokens), dtype=jnp.float64)
    omega = jnp.broadcast_to(omega / omega.sum(axis=1, keepdims=True), (1, *query.ab.shape))
    return Head(omega, omega, query.ab[None], key.ab[None])


def softmax(scores: Scores, s: Any, log: Any) -> Any:
    """Omega [C, B, T, T] of scores exp(log) s over the allowed tokens."""
    s = s * jnp.exp(jnp.minimum(log, LARGEST))[None, :, None, None]
    allowed = jnp.asarray(scores.allowed(s.shape[-1]))[None, None]
    return jax.nn.softmax(jnp.where(allowed, s, -jnp.inf), axis=-1)

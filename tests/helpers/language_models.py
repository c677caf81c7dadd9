"""Language models written out by hand, in jax, and AdamW from its formula: nothing here comes from
the package."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

Params = dict[str, Any]
B1, B2, EPSILON = 0.9, 0.999, 1e-8


def layer_norm(h: Any) -> Any:
    """(h - mean) / standard deviation over coordinates."""
    x = h - h.mean(axis=-1, keepdims=True)
    return x / jnp.sqrt((x * x).mean(axis=-1, keepdims=True))


def attention(p: Params, block: int, r: Any, head_dim: int) -> Any:
    """Causal softmax attention of one block on r [B, T, n]."""
    count, tokens, width = r.shape
    q, k, v = (
        (r @ p[name][block].T).reshape(count, tokens, width // head_dim, head_dim) for name in "qkv"
    )
    scores = jnp.einsum("bthd,bshd->bhts", q, k) / head_dim**0.5
    seen = jnp.tril(jnp.ones((tokens, tokens), dtype=bool))[None, None]
    shares = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1)
    mixed = jnp.einsum("bhts,bshd->bthd", shares, v).reshape(count, tokens, width)
    return mixed @ p["u"][block].T


def transformer(
    p: Params, words: Any, *, depth: int, loops: int, scale: float, head_dim: int
) -> Any:
    """Logits [B, T, V] of a looped pre-norm transformer without gains."""
    h = p["embedding"][words] + p["position"][None]
    for a in range(depth * loops):
        block = a % depth
        h = h + scale * attention(p, block, layer_norm(h), head_dim)
        hidden = jax.nn.gelu(layer_norm(h) @ p["w"][block].T, approximate=False)
        h = h + scale * (hidden @ p["x"][block].T)
    return h @ p["readout"].T


def cross_entropy(logits: Any, following: Any) -> Any:
    """Mean of -log of the share that each following word has."""
    shares = jax.nn.log_softmax(logits, axis=-1)
    return -jnp.take_along_axis(shares, following[..., None], axis=-1).mean()


def adamw(p: Params, g: Params, moments: Any, step: int, rate: float, decay: float) -> Any:
    """(Parameters, moments) after step 1, 2, ...: W <- W - rate (m/(sqrt v + epsilon) + decay
    W)."""
    m, v = moments
    m = {name: B1 * m[name] + (1 - B1) * x for name, x in g.items()}
    v = {name: B2 * v[name] + (1 - B2) * x * x for name, x in g.items()}
    moved = {
        name: x
        - rate
        * (m[name] / (1 - B1**step) / (jnp.sqrt(v[name] / (1 - B2**step)) + EPSILON) + decay * x)
        for name, x in p.items()
    }
    return moved, (m, v)

"""Plain samples of the table's single-head attention and softmax, a network a head, with their
standard errors."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import component_layers as layers
import jax
import jax.numpy as jnp
import numpy as np

HEAD_DIM = 64
LEAST, MOST = 24, 6000  # sampled heads

Point = tuple[float, float, str]  # dropout, input variance, quantity


def fan_in(tokens: int) -> int:
    """Of a sampled layer: gradients are off by about a quarter of tokens/fan_in, 1.6 % here."""
    return max(2048, 16 * tokens)


@functools.partial(jax.jit, static_argnums=(1, 2))
def attention_heads(key: Any, tokens: int, heads: int, cosine: Any, score: Any) -> dict[Point, Any]:
    """Plain single-head attention, a network a head, at every input variance and dropout:
    [heads] of every quantity."""
    width = fan_in(tokens)

    def head(key: Any) -> dict[Point, Any]:
        keys = jax.random.split(key, 8)

        def normal(i, *shape):
            return jax.random.normal(keys[i], shape, dtype=jnp.float32)

        x = jnp.sqrt(1 - cosine) * normal(0, tokens, width) + jnp.sqrt(cosine) * normal(1, 1, width)
        weights = (
            jnp.concatenate([normal(i, width, HEAD_DIM) for i in (2, 3, 4)], axis=1) * width**-0.5
        )
        projected, gram = x @ weights, weights.T @ weights
        gradients = {
            "independent": normal(6, tokens, HEAD_DIM),
            "common": jnp.broadcast_to(normal(7, 1, HEAD_DIM), (tokens, HEAD_DIM)),
        }
        found = {}
        for drop, variance in itertools.product(layers.DROPOUT, layers.VARIANCES):
            keep = jax.random.bernoulli(keys[5], 1 - drop, (tokens, tokens)).astype(jnp.float32) / (
                1 - drop
            )

            def layer(projected: Any, keep: Any = keep, variance: float = variance) -> Any:
                q, k, v = jnp.split(projected, 3, axis=1)
                s = q @ k.T * jnp.sqrt(score) / variance / HEAD_DIM**0.5
                return (jax.nn.softmax(s, axis=-1) * keep) @ v

            out, pull = jax.vjp(layer, variance**0.5 * projected)
            between = ((out.sum(0) ** 2).sum() - (out**2).sum()) / HEAD_DIM / tokens / (tokens - 1)
            own = {"variance": (out**2).mean(), "covariance": between}
            for kind, g in gradients.items():
                d = pull(g)[0]
                own[kind] = ((d @ gram) * d).sum() / tokens / HEAD_DIM  # |d W^T|^2 without d W^T
            found |= {(drop, variance, name): value for name, value in own.items()}
        return found

    return jax.lax.map(head, jax.random.split(key, heads))


@functools.partial(jax.jit, static_argnums=(1, 2))
def softmax_rows(key: Any, tokens: int, count: int, cosine: Any, score: Any) -> dict[str, Any]:
    """Plain softmax of correlated Gaussian logits, and a Gaussian gradient pulled through it:
    [count] of both."""
    one, two, three = jax.random.split(key, 3)

    def normal(k, *shape):
        return jax.random.normal(k, shape, dtype=jnp.float32)

    s = jnp.sqrt(score) * (
        jnp.sqrt(1 - cosine) * normal(one, count, tokens) + jnp.sqrt(cosine) * normal(two, count, 1)
    )
    omega, pull = jax.vjp(lambda s: jax.nn.softmax(s, axis=-1), s)
    return {
        "variance": omega.var(axis=-1),
        "gradient_variance": (pull(normal(three, count, tokens))[0] ** 2).mean(axis=-1),
    }


def measured(draw: Any, most: int, tolerance: float) -> tuple[Any, Any]:
    """(means, standard errors) over chunks until every error is below a quarter of the tolerance
    (a covariance's, of the variance)."""
    parts: list[dict[Any, np.ndarray]] = []
    while True:
        parts.append(
            {
                name: np.asarray(value, dtype=np.float64)
                for name, value in draw(jax.random.fold_in(jax.random.key(0), len(parts))).items()
            }
        )
        all_ = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        mean, se = (
            {n: float(v.mean()) for n, v in all_.items()},
            {n: float(v.std(ddof=1) / math.sqrt(len(v))) for n, v in all_.items()},
        )
        scale = {n: mean[(*n[:-1], "variance") if n[-1] == "covariance" else n] for n in mean}
        count = len(next(iter(all_.values())))
        if count >= most or (
            count >= LEAST and all(se[n] < tolerance / 4 * scale[n] for n in mean)
        ):
            return mean, se

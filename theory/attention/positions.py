"""Rotary positions: angles, and coordinates turned by them."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.language.scores import Scores

Angle = Float[Array, "half T"]


def positions(tokens: int, scores: Scores, base: Float[Array, "1 1 1"] | float | None) -> Angle:
    """Rotary angles [d/2, T]: theta_j t = base^(-2j/m) t of the m coordinates that are turned, 0 of
    the others (which coordinates are a pair does not matter: they are alike)."""
    assert base is not None
    size, turned = int(scores.head_dim), scores.turned_features
    frequency = jnp.reshape(base, (1,)) ** (
        -2 * jnp.arange(turned // 2, dtype=jnp.float64) / turned
    )
    frequency = jnp.pad(frequency, (0, (size - turned) // 2))
    return frequency[:, None] * jnp.arange(tokens, dtype=jnp.float64)[None]


def rotated(x: Float[Array, "C B T d"], angle: Angle) -> Float[Array, "C B T d"]:
    """Coordinates j and j + d/2 of x as one complex number, turned by each token's angle."""
    return _turned(x, angle.T)


def relative(x: Float[Array, "C B T d"], angle: Angle | None) -> Float[Array, "C B #T T d"]:
    """x [C, B, s, d] where a token t sees it, [C, B, t, s, d]: turned by s - t (None: not)."""
    x = x[:, :, None]
    return x if angle is None else _turned(x, angle.T[None] - angle.T[:, None])


def _turned(
    x: Float[Array, "*many d"], angle: Float[Array, "*some half"]
) -> Float[Array, "*all d"]:
    """Turn pairs of coordinates by these angles."""
    angle = angle.reshape((1,) * (x.ndim - angle.ndim) + angle.shape)
    first, second = jnp.split(x, 2, axis=-1)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)

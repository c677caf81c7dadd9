"""Batches of a text that lies on the device: which windows a step sees is a function of the seed
and the step alone, whatever network and rate it is for and however a grid is cut."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int, Key, UInt8

BATCHES = np.uint32(2**31 + 17)
"""Apart from the streams of networks."""


def key_of(seed: int) -> Key[Array, ""]:
    """Return the key of a seed's batches."""
    return jax.random.fold_in(jax.random.key(seed), BATCHES)


def windows(
    text: UInt8[Array, " N"], offsets: Int[Array, " B"], length: int
) -> Int[Array, "B length"]:
    """Return the pieces of that length that begin at the offsets."""
    places = offsets[:, None] + jnp.arange(length, dtype=offsets.dtype)[None]
    return text[places].astype(jnp.int32)


def batch(
    text: UInt8[Array, " N"], key: Key[Array, ""], step: Int[Array, ""], count: int, length: int
) -> Int[Array, "count length"]:
    """Return a step's windows, drawn uniformly from all of the text."""
    at = jax.random.fold_in(key, step)
    offsets = jax.random.randint(at, (count,), 0, len(text) - length + 1, dtype=jnp.int32)
    return windows(text, offsets, length)


def spread(length: int, window: int, most: int) -> Int[np.ndarray, " windows"]:
    """Return offsets of at most so many windows, evenly over a text; none overlaps another."""
    count = min(most, length // window)
    return (np.arange(count) * ((length - window) / max(count - 1, 1))).astype(np.int32)

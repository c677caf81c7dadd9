"""The numbers of ``jax.random``, bit for bit, written so that they fuse with what uses them.

On a CPU jax lowers its generator to a loop that stores and reloads every number twenty times over; the same operations in one
expression are one pass: several times as many numbers a second, and random numbers are what every Monte Carlo spends its time on.

    threefry(k, c)   20 rounds on the counter c = (0, i) of entry i; its two words xored are the entry's bits
    normal           sqrt(2) erfinv(u), u uniform in (-1, 1) from the upper 23 bits

Source: Salmon et al. 2011 (Random123); equal to ``jax.random.bits`` and ``normal`` (tests/simulations/test_random.py).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

PARITY = 0x1BD11BDA
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
LEAST = np.nextafter(np.float32(-1), np.float32(0))  # of u: erfinv(-1) is not finite
PARTS = 2
COUNTED = 2**32  # entries that one word counts


def _rotated(x: Any, by: int) -> Any:
    return (x << np.uint32(by)) | (x >> np.uint32(32 - by))


def _threefry(key: Any, low: Any) -> tuple[Any, Any]:
    """Two words of each counter (0, low)."""
    words = jax.random.key_data(key)
    keys = (words[0], words[1], words[0] ^ words[1] ^ np.uint32(PARITY))
    x, y = keys[0], low + keys[1]
    for i in range(5):
        for by in ROTATIONS[i % 2]:
            x = x + y
            y = x ^ _rotated(y, by)
        x, y = x + keys[(i + 1) % 3], y + (keys[(i + 2) % 3] + np.uint32(i + 1))
    return x, y


def branches(key: Any, count: int) -> Any:
    """[count] keys, ``jax.random.fold_in(key, 0), fold_in(key, 1), ...``, at once: one by one inside a loop they cost as much as vectors."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count, dtype=jnp.uint32))


def bits(key: Any, shape: tuple[int, ...]) -> Any:
    """``jax.random.bits(key, shape)``, fewer than 2^32 of them."""
    return _in_parts(functools.partial(_bits, key), shape)


def normal(key: Any, shape: tuple[int, ...]) -> Any:
    """``jax.random.normal(key, shape)``, float32."""
    if math.prod(shape) >= COUNTED:
        return jax.random.normal(key, shape, dtype=jnp.float32)

    def part(count: Any) -> Any:
        one = jax.lax.bitcast_convert_type((_bits(key, count) >> np.uint32(9)) | np.uint32(0x3F800000), jnp.float32)  # 1 <= one < 2
        u = jnp.maximum(LEAST, (one - np.float32(1)) * (np.float32(1) - LEAST) + LEAST)
        return np.float32(math.sqrt(2)) * jax.lax.erf_inv(u)

    return _in_parts(part, shape)


def _bits(key: Any, count: Any) -> Any:
    first, second = _threefry(key, count)
    return first ^ second


def _in_parts(function: Any, shape: tuple[int, ...]) -> Any:
    """function(0, 1, 2, ...) in a loop of two: what a loop makes is kept, and not made again by everything that uses it."""
    size = math.prod(shape)
    half = -(-size // PARTS)
    count = jax.lax.iota(jnp.uint32, half)
    parts = jax.lax.map(lambda i: function(count + i * np.uint32(half)), jnp.arange(PARTS, dtype=jnp.uint32))
    return parts.reshape(-1)[:size].reshape(shape)

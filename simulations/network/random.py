"""Standard normals that cost little: jax's own generator of random words, and the Box-Muller pair
of two of them, in one pass.

    threefry(k, c) = (a, b)   20 rounds on the counter c = (0, i): two words; ``jax.random.bits`` is
                              their exclusive or
    normals                   sqrt(-2 ln u) cos(theta), sqrt(-2 ln u) sin(theta), u in (0, 1) from
                              a, theta from b

``jax.random.normal`` uses one of the two words' worth, and on a CPU inverts the error function of
it number by number; random numbers are what every Monte Carlo spends its time on
(benchmarks/engines.py has both rates). u and theta are multiples of 2^-23 and a half: no normal is
beyond 5.8, and moments are those of a Gaussian to 1e-6.

Source: Salmon et al. 2011 (Random123), Box and Muller 1958;
tests/simulations/network/test_random.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Complex64, Float, Float32, Key, UInt32

from sigprop.simulations.network.precision import SINGLE

PARITY = 0x1BD11BDA
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
# sin(2 pi x) = x p(x^2) within 3e-11 for abs(x) <= 1/4
SINE = (6.28318531, -41.3417021, 81.6052237, -76.7041687, 42.0077701, -14.3812218)
HALF = np.float32(2**-24)  # a step
PARTS = 2
PIECE = 2**17  # normals at a time: what is made in passing stays in the cache
FEWEST = 8  # pairs at a time: the compiler rounds a single number otherwise than one of many
COUNTED = 2**33  # normals that one word counts pairs of

Words = UInt32[Array, "*n"]
Singles = Float32[Array, "*n"]


def _rotated(x: Words, by: int) -> Words:
    return (x << np.uint32(by)) | (x >> np.uint32(32 - by))


def threefry(key: Key[Array, ""], low: Words) -> tuple[Words, Words]:
    """Two words of each counter (0, low), low [...] uint32."""
    words = jax.random.key_data(key)
    keys = (words[0], words[1], words[0] ^ words[1] ^ np.uint32(PARITY))
    x, y = keys[0], low + keys[1]
    for i in range(5):
        for by in ROTATIONS[i % 2]:
            x = x + y
            y = x ^ _rotated(y, by)
        x, y = x + keys[(i + 1) % 3], y + (keys[(i + 2) % 3] + np.uint32(i + 1))
    return x, y


def branches(key: Key[Array, ""], count: int) -> Key[Array, " {count}"]:
    """[count] keys, ``jax.random.fold_in(key, 0), fold_in(key, 1), ...``, at once: one by one
    inside a loop they cost as much as vectors."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count, dtype=jnp.uint32))


def root(gram: Float[np.ndarray, "T T"]) -> Float[np.ndarray, "T T"]:
    """A with A A^T = gram, also for a singular Gram (repeated tokens)."""
    values, vectors = np.linalg.eigh(gram)
    return vectors * np.sqrt(np.clip(values, 0, None))


def normal(
    key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike = SINGLE
) -> Float[Array, " ..."]:
    """[*shape] independent standard normals: a function of the key and the shape, whatever it is
    mapped or compiled with.

    They are drawn in float32 and converted to ``dtype``: networks of every precision are the same
    ones. Pair i is sqrt(-2 ln u) (cos, sin)(theta), u and theta from the two words of
    ``threefry(key, i)``; from 2^33 entries on, jax's own normals.
    """
    size = math.prod(shape)
    if size >= COUNTED:
        return jax.random.normal(key, shape, dtype=jnp.float32).astype(dtype)
    pieces = -(-size // PIECE)
    count = max(-(-size // (2 * PARTS * pieces)), FEWEST)
    low = jax.lax.iota(jnp.uint32, count)

    def pair(part: UInt32[Array, ""]) -> Complex64[Array, " n"]:
        return _box_muller(*threefry(key, low + part * np.uint32(count)))

    def piece(p: UInt32[Array, ""] | np.uint32) -> Float32[Array, "parts n"]:
        # a complex number, because a loop makes arrays one by one
        z = _each(pair, p * np.uint32(PARTS) + jnp.arange(PARTS, dtype=jnp.uint32))
        return jnp.concatenate([z.real, z.imag], axis=1)

    every = (
        piece(np.uint32(0))
        if pieces == 1
        else _each(piece, jnp.arange(pieces, dtype=jnp.uint32))
    )
    return every.reshape(-1)[:size].reshape(shape).astype(dtype)


def _each(draw: Callable[[Any], Array], numbers: UInt32[Array, " k"]) -> Array:
    """Draw one after another on a CPU; an accelerator, which would wait for each, is given the
    same numbers at once. Either way what is drawn is kept, and not made again by each that uses
    it."""
    if jax.default_backend() == "cpu":
        return jax.lax.map(draw, numbers)
    return jax.lax.optimization_barrier(jax.vmap(draw)(numbers))


def _box_muller(a: Words, b: Words) -> Complex64[Array, "*n"]:
    """cos + i sin, of an angle in (-pi/2, pi/2) and a sign for the cosine: the sine's polynomial
    serves both."""
    radius = jnp.sqrt(np.float32(-2) * jnp.log((np.float32(2) - _from_one(a)) - HALF))
    turn = np.float32(0.5) * ((_from_one(b) - np.float32(1.5)) + HALF)
    cosine = jax.lax.bitcast_convert_type(
        radius * _sine(np.float32(0.25) - jnp.abs(turn)), jnp.uint32
    ) ^ (b << np.uint32(31))
    return jax.lax.complex(jax.lax.bitcast_convert_type(cosine, jnp.float32), radius * _sine(turn))


def _from_one(word: Words) -> Singles:
    """[1, 2) in steps of 2^-23, of the word's upper bits."""
    return jax.lax.bitcast_convert_type((word >> np.uint32(9)) | np.uint32(0x3F800000), jnp.float32)


def _sine(turn: Singles) -> Singles:
    """sin(2 pi turn), abs(turn) <= 1/4."""
    square = turn * turn
    p = jnp.full_like(square, SINE[-1])
    for c in SINE[-2::-1]:
        p = p * square + np.float32(c)
    return p * turn

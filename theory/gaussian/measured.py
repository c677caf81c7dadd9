"""Grams of a function of tokens that has no rule (``Sampled``), measured on Gaussian tokens.

What a matrix sees of the function's output at two places is the mean over coordinates of products
of tokens. Every coordinate of what is fed in is an independent draw, so one call of a wide function
is already an average; ``COORDINATES`` of them make a set, and the scatter between independent sets
is the stated error (``predictions.evaluate``). Source: derived
(tests/theory/gaussian/test_measured.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from sigprop.errors import InputError, no_rule, short
from sigprop.language.nodes import Sampled, Tokens
from sigprop.language.vectors import Vector
from sigprop.theory.calculus.environment import NumericEnvironment
from sigprop.theory.calculus.independence import not_gaussian
from sigprop.theory.calculus.log_scale import log_scale
from sigprop.theory.calculus.rules import inner

COORDINATES = 2**14  # of an input that one set feeds in, over all draws

Gram = Float[jax.Array, "B S S"]


def gram(env: NumericEnvironment, node: Sampled, i: str, j: str) -> Gram:
    """Return <f_i, f_j> [B, T, T] of a function's outputs at two places, measured on draws that
    ``env.resolution`` seeds.

    Raises ``NoRule`` where what it is fed is not Gaussian, or two of its inputs overlap,
    ``InputError`` where the function fails.
    """
    _check(env, node, i)
    tokens = env.ones(i, j).shape[-1]
    _try(node, tokens)
    grams = [_joint(env, of, i, j) for of in node.of]
    shape = jax.ShapeDtypeStruct((grams[0].shape[0], tokens, tokens, 2), np.uint32)
    draws = jnp.stack([jnp.asarray(env.resolution.seed), jnp.asarray(env.resolution.finer)])
    words = jax.pure_callback(
        partial(_answered, node, tokens),
        shape,
        draws.astype(jnp.int32),
        *map(_words, grams),
        vmap_method="sequential",
    )
    return jax.lax.bitcast_convert_type(words, jnp.float64)


def _words(value: Gram) -> Integer[jax.Array, "B S S 2"]:
    """The same bits as integers: the thread that calls back knows no float64 unless it is jax's
    default, and would round."""
    return jax.lax.bitcast_convert_type(value, jnp.uint32)


def _answered(
    node: Sampled, tokens: int, draws: Any, *words: Any
) -> Integer[np.ndarray, "B T T 2"]:
    """Measure what Grams are asked for as words, and answer in words."""
    grams = [np.ascontiguousarray(each).view(np.float64)[..., 0] for each in map(np.asarray, words)]
    seed, finer = (int(number) for number in np.asarray(draws))
    return _measured(node, tokens, seed, finer, grams)[..., None].view(np.uint32)


def _check(env: NumericEnvironment, node: Sampled, i: str) -> None:
    """Raise ``NoRule`` unless inputs are Gaussian, and independent of each other."""
    for k, u in enumerate(node.of):
        if (part := not_gaussian(u)) is not None:
            raise no_rule(node, f"{part} is not Gaussian", "a function of matrices' outputs")
        for v in node.of[:k]:
            if not isinstance(inner(u, i, v, i, env), int):
                raise no_rule(node, f"{v} and {u} overlap", "inputs from matrices of their own")


def _joint(env: NumericEnvironment, of: Vector, i: str, j: str) -> Gram:
    """Return the Gram of a vector's tokens at one place, or at two, as it is (no log scale left
    out): [B, T, T], or [B, 2T, 2T]."""
    if i == j:
        return _block(env, of, i, i)
    first, cross, last = (_block(env, of, *at) for at in ((i, i), (i, j), (j, j)))
    first, last = (jnp.broadcast_to(block, cross.shape) for block in (first, last))
    return jnp.block([[first, cross], [jnp.swapaxes(cross, -1, -2), last]])


def _block(env: NumericEnvironment, of: Vector, i: str, j: str) -> Gram:
    """Return <of_i, of_j> with the factors that its mantissa leaves out."""
    left, right = (jnp.exp(log_scale(of, at, env)) for at in (i, j))
    return env.block(inner(of, i, of, j, env), i, j) * env.left(left) * env.right(right)


def _measured(
    node: Sampled, tokens: int, seed: int, finer: int, grams: Sequence[Tokens]
) -> Float[np.ndarray, "B T T"]:
    """Feed draws to the function; returns the mean Gram of its outputs at the two places (not a
    number where what is fed, or returned, is none)."""
    roots = [*map(_root, grams)]
    total = np.zeros((len(roots[0]), tokens, tokens))
    calls = max(1, COORDINATES // min(node.features)) * finer
    rng = np.random.default_rng([seed, tokens, len(roots)])
    for _ in range(calls):
        normals = [
            rng.standard_normal((root.shape[-1], features))
            for root, features in zip(roots, node.features, strict=True)
        ]
        for k in range(len(total)):
            fed = [root[k] @ z for root, z in zip(roots, normals, strict=True)]
            first = _value(node, [x[:tokens] for x in fed])
            joint = fed[0].shape[0] > tokens
            last = _value(node, [x[tokens:] for x in fed]) if joint else first
            total[k] += first @ last.T / first.shape[-1]
    return total / calls


def _value(node: Sampled, inputs: Sequence[Tokens]) -> Tokens:
    """Call the function; of what is not a number it is none."""
    if all(np.isfinite(x).all() for x in inputs):
        return np.asarray(node.function(*inputs), dtype=np.float64)
    return np.full_like(inputs[0], np.nan)


def _try(node: Sampled, tokens: int) -> None:
    """Call the function once; raises ``InputError`` where it fails, or does not return tokens."""
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((tokens, features)) for features in node.features]
    accepted = f"accepted: a function of {len(inputs)} arrays [{tokens} tokens, features] to one"
    try:
        shape = np.shape(_value(node, inputs))
    except Exception as error:
        raise InputError(
            f"{node.name}: {type(error).__name__}: {short(str(error))}; {accepted}"
        ) from error
    if len(shape) != 2 or shape[0] != tokens:
        raise InputError(f"{node.name}: returned {list(shape)}; {accepted}")


def _root(gram: Float[np.ndarray, "B S S"]) -> Float[np.ndarray, "B S S"]:
    """Return a square root of every Gram, what rounding made negative taken as 0; not a number
    where one is none."""
    known = np.isfinite(gram).all(axis=(-2, -1), keepdims=True)
    values, vectors = np.linalg.eigh(np.where(known, gram, 0.0))
    vectors = np.where(known, vectors, np.nan)
    return vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]

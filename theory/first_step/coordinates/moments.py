"""Inner products of a branch's vectors between steps that share a slot, by the calculus: what the
samples' covariances are, without the samples' error."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sigprop.language.expression import Attend, Read, Vector
from sigprop.language.traversal import walk
from sigprop.runtime.compiling import jit
from sigprop.theory.calculus.environment import Resolution
from sigprop.theory.calculus.rules import inner
from sigprop.theory.calculus.transpose import AttendTransposed, Cotangent
from sigprop.theory.recursion.arrays import ArrayEnvironment
from sigprop.theory.recursion.kernels import DEGREE
from sigprop.theory.recursion.program import shared

PLACES = (("a", "a"), ("a", "b"), ("b", "b"))


class Pairs(NamedTuple):
    """B pairs of steps: reads [3, B, R, R, T, T] and cotangents [3, B, T, T], of the first with
    itself, of both, of the second with itself; numbers {place: {name: [B]}}, token tables among
    them; ties {weight: [B]}, 1 where both have one slot."""

    reads: np.ndarray
    cotangents: np.ndarray
    numbers: dict[str, dict[str, np.ndarray]]
    ties: dict[str, np.ndarray]


def ruled(u: Vector) -> bool:
    """Tell if the calculus has u without sampling heads."""
    return not any(isinstance(node, (Attend, AttendTransposed)) for node in walk(u))


def inner_products(u: Vector, pairs: Pairs) -> np.ndarray:
    """<u_a, u_b> [B, T, T]. Raises ``NoRule``."""
    count = pairs.reads.shape[1]
    more = shared(count) - count

    def filled(axis: int, x: Any) -> Any:
        return np.pad(x, [(0, more if k == axis else 0) for k in range(x.ndim)], mode="edge")

    with jax.enable_x64(True):
        found = _expanded(
            u,
            filled(1, pairs.reads),
            filled(1, pairs.cotangents),
            jax.tree.map(functools.partial(filled, 0), pairs.numbers),
            jax.tree.map(functools.partial(filled, 0), pairs.ties),
        )
        return np.asarray(found)[:count]


@jit(static=(0,))
def _expanded(u: Vector, reads: Any, cotangents: Any, numbers: Any, ties: Mapping[str, Any]) -> Any:
    """Expand <u_a, u_b> on arrays."""
    count, kinds, tokens = reads.shape[1], reads.shape[2], reads.shape[-1]
    leaves = (*(Read(j) for j in range(kinds)), Cotangent())
    zero = jnp.zeros((count, tokens), dtype=jnp.float64)
    env = ArrayEnvironment(
        {p: jnp.moveaxis(x, 0, 2) for p, x in zip(PLACES, reads, strict=True)},
        dict(zip(PLACES, cotangents, strict=True)),
        numbers,
        lambda weight: ties[weight],
        {(leaf, place): zero for leaf in leaves for place in "ab"},
        Resolution(jnp.asarray(DEGREE, dtype=jnp.int64)),
    )
    block = env.block(inner(u, "a", u, "b", env), "a", "b")
    return jnp.broadcast_to(block, (count, tokens, tokens))

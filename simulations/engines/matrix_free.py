"""The matrix-free engine: exact finite networks whose matrices are never formed (``conditional``),
forward and backward.

What is known of the matrices goes along with the forward pass, and back with the cotangents
(``carried``); further cotangents are pulled back one after another with the same carrier, so all
gradients are of one network. O(n) numbers a query instead of O(n^2) a matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Key

from sigprop.description.architecture import Architecture
from sigprop.simulations.engines.carried import (
    Kind,
    ask,
    forward_normals,
    put,
    take,
    transposed_normals,
)
from sigprop.simulations.engines.conditional import LAWS
from sigprop.simulations.engines.engine import Engine, Static
from sigprop.simulations.network import random
from sigprop.simulations.network.weights import Shape, Slots, most_uses, stored


def kinds(arch: Architecture, shapes: tuple[Shape, ...], passes: int, dtype: str) -> list[Kind]:
    """Of every matrix."""
    matrices = [shape for shape in shapes if len(shape.shape) > 1]
    uses = [most_uses(arch, shape.name) for shape in matrices]
    return [
        Kind(s, arch.ensemble, u, arch.tokens, passes, dtype)
        for s, u in zip(matrices, uses, strict=True)
    ]


class MatrixFree:
    """The matrices of one network (``Matrices``)."""

    def __init__(self, static: Static, keys: dict[str, Key[Array, ""]]):
        self.kinds = {
            kind.shape.name: kind
            for kind in kinds(static.arch, static.shapes, static.passes, static.dtype)
        }
        # of every query
        self.keys = {
            name: random.branches(
                keys[name], static.arch.depth * (1 + static.passes) * kind.shape.copies
            )
            for name, kind in self.kinds.items()
        }
        self.biases = {
            s.name: stored(keys[s.name], s, dtype=static.dtype)
            for s in static.shapes
            if len(s.shape) == 1
        }

    def start(self) -> Any:
        return {name: kind.empty() for name, kind in self.kinds.items()}

    def take(self, state: Any, place: Any) -> tuple[Any, Any]:
        return take(state, {name: place["slots"][name] for name in self.kinds})

    def put(self, state: Any, place: Any, local: Any) -> Any:
        return put(state, {name: place["slots"][name] for name in self.kinds}, local)

    def apply(
        self, local: Any, place: Any, weight: str, x: Float[Array, "*E T n_in"]
    ) -> tuple[Float[Array, "*E T n_out"], Any]:
        kind = self.kinds[weight]

        def one(copy: Any, known: Any, x: Any) -> Any:
            where = (place["step"], place["uses"][weight], copy)
            return ask(kind, self.keys[weight], where, known, x)

        copies = jnp.arange(kind.shape.copies, dtype=jnp.int32)
        several = kind.shape.copies > 1
        found: Any = (jax.vmap(one) if several else one)(
            copies if several else copies[0], local[weight], x
        )
        return found[0], local | {weight: found[1]}

    def bias(self, weight: str, slot: Slots) -> Float[Array, "*E n_out"]:
        return self.biases[weight][slot]

    def normals(
        self, weight: str, steps: Int[np.ndarray, "slots U"], asked: Float[Array, "slots U T n_in"]
    ) -> Float[Array, "slots U T n_out"]:
        kind, keys = self.kinds[weight], self.keys[weight]
        drawn = jax.vmap(lambda step: forward_normals(kind, keys, step))(steps.ravel())
        return drawn.reshape(*steps.shape, *drawn.shape[1:])

    def transposed_normals(
        self,
        weight: str,
        steps: Int[np.ndarray, "slots U"],
        asked: Float[Array, "slots U T n_in"],
        came: Float[Array, "slots U T n_out"],
    ) -> Float[Array, "slots U T n_in"]:
        kind, keys = self.kinds[weight], self.keys[weight]
        drawn = jax.vmap(lambda step: transposed_normals(kind, keys, step))(steps.ravel())
        return drawn.reshape(*steps.shape, *drawn.shape[1:])

    def pull(self, vjp: Any, cotangents: Any, state: Any) -> Any:
        def one(carrier: Any, c: Any) -> tuple[Any, Any]:
            gradients, carrier = vjp((c, carrier))
            return {
                name: known._replace(passes=known.passes + jnp.ones_like(known.passes))
                for name, known in carrier.items()
            }, gradients

        return jax.lax.scan(one, state, cotangents)[1]


@dataclass(frozen=True)
class _Plan:
    def __call__(self, static: Static, keys: dict[str, Key[Array, ""]]) -> MatrixFree:
        return MatrixFree(static, keys)


class MatrixFreeEngine(Engine):
    """Costs normals for queries, not for matrices: O(n) each."""

    name, compiling = "matrix-free", 1.1
    # width is cheap, so the 1/n term is seen from further away
    ladder, loose, widest = (1, 4, 16), (1, 4, 16), 2**14

    @staticmethod
    def can(arch: Architecture) -> bool:
        return arch.ensemble in LAWS

    def plan(self, memory_bytes: int) -> Callable[[Static, dict[str, Array]], MatrixFree]:
        return _Plan()

    @property
    def bytes_per_network(self) -> int:
        """The queries, as state and as carrier, and the vectors."""
        every = kinds(self.arch, self.shapes, self.passes, self.dtype)
        return (
            2 * self.itemsize * sum(kind.kept * sum(kind.sides) for kind in every) + self._vectors
        )

    @property
    def seconds(self) -> float:
        """Normals and orthogonalisations of the queries, and the vectors."""
        total = self._vector_seconds
        for kind in kinds(self.arch, self.shapes, self.passes, self.dtype):
            before = kind.uses * kind.tokens * (1 + kind.passes)
            total += kind.shape.slots * before * sum(kind.sides) * (1.6e-9 + 0.1e-9 * before)
        return total

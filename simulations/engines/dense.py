"""The dense engine: every matrix drawn in full, and kept or drawn again at every use. Any
architecture, any ensemble."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, Key

from sigprop.simulations.engines.engine import Engine, Static
from sigprop.simulations.network import random
from sigprop.simulations.network.directions import extend, times
from sigprop.simulations.network.inner import products
from sigprop.simulations.network.weights import Shape, Slots, Source, matvec, stored

SPARE = 2**32 - 1  # of keys: no slot's


class Dense:
    """Matrices that are formed: no state goes along."""

    def __init__(
        self,
        found: tuple[Shape, ...],
        ensemble: str,
        sources: dict[str, Source],
        spare: dict[str, Key[Array, ""]] | None = None,
    ):
        """sources {weight: entries [slots, ...], or the key that they are drawn from at every
        use}; spare {weight: key} of further normals (``normals``)."""
        self.shapes, self.ensemble, self.sources = {s.name: s for s in found}, ensemble, sources
        self.spare = spare or {}

    def start(self) -> Any:
        return ()

    def take(self, state: Any, place: Any) -> tuple[Any, Any]:
        return (), state

    def put(self, state: Any, place: Any, local: Any) -> Any:
        return state

    def apply(
        self, local: Any, place: Any, weight: str, x: Float[Array, "*E T n_in"]
    ) -> tuple[Float[Array, "*E T n_out"], Any]:
        shape, slot = self.shapes[weight], place["slots"][weight]
        apply = functools.partial(matvec, shape, self.ensemble, self.sources[weight])
        if shape.copies == 1:
            return apply(slot, x), local
        return jax.vmap(apply)(slot * shape.copies + jnp.arange(shape.copies), x), local

    def bias(self, weight: str, slot: Slots) -> Float[Array, "*E n_out"]:
        return self.sources[weight][slot]

    def normals(
        self, weight: str, steps: Int[np.ndarray, "slots U"], asked: Float[Array, "slots U T n_in"]
    ) -> Float[Array, "slots U T n_out"]:
        """A matrix makes standard normals of orthonormal directions; where a slot's directions
        are fewer than what was asked, its answers know nothing of the others."""
        shape, source, (slots, uses, tokens, side) = (
            self.shapes[weight],
            self.sources[weight],
            asked.shape,
        )

        def one(given: Any) -> Float[Array, "UT n_out"]:
            slot, x, key = given
            directions = extend([], x)[1]
            images: Any = matvec(shape, self.ensemble, source, slot, directions)
            others = random.normal(key, images.shape, images.dtype)
            return jnp.where(_new(directions), images, others)

        # one after another: where matrices are drawn anew, one is there at a time
        found = jax.lax.map(
            one,
            (
                jnp.arange(slots, dtype=jnp.uint32),
                asked.reshape(slots, uses * tokens, side),
                random.branches(self.spare[weight], slots),
            ),
        )
        return found.reshape(slots, uses, tokens, shape.shape[0])

    def transposed_normals(
        self,
        weight: str,
        steps: Int[np.ndarray, "slots U"],
        asked: Float[Array, "slots U T n_in"],
        came: Float[Array, "slots U T n_out"],
    ) -> Float[Array, "slots U T n_in"]:
        """As of ``normals``, of orthonormal cotangents; what was asked is exchanged for others."""
        shape, source, (slots, uses, tokens, side) = (
            self.shapes[weight],
            self.sources[weight],
            asked.shape,
        )

        def one(given: Any) -> Float[Array, "UT n_in"]:
            slot, x, d, key = given
            directions, known = extend([], d)[1], extend([], x)[1]
            act = functools.partial(matvec, shape, self.ensemble, source, slot)
            (images,) = jax.vjp(act, jnp.zeros_like(x))[1](directions)
            others = random.normal(key, images.shape, images.dtype)
            exchanged = images + times(products(others - images, known), known)
            return jnp.where(_new(directions), exchanged, others)

        keys = random.branches(jax.random.fold_in(self.spare[weight], np.uint32(SPARE)), slots)
        every = jnp.arange(slots, dtype=jnp.uint32)
        flat = (array.reshape(slots, uses * tokens, -1) for array in (asked, came))
        found = jax.lax.map(one, (every, *flat, keys))
        return found.reshape(slots, uses, tokens, side)

    def pull(self, vjp: Any, cotangents: Any, state: Any) -> Any:
        return jax.vmap(lambda c: vjp((c, state))[0])(cotangents)


def _new(directions: Float[Array, "T n"]) -> Bool[Array, "T 1"]:
    """Tell which directions there are."""
    return (directions * directions).sum(axis=-1, keepdims=True) > 0


@dataclass(frozen=True)
class Plan:
    """keep: whether matrices are stored, or drawn again at every use."""

    keep: bool

    def __call__(self, static: Static, keys: dict[str, Key[Array, ""]]) -> Dense:
        found, ensemble = {s.name: s for s in static.shapes}, static.arch.ensemble
        held: dict[str, Source] = {}
        for name, key in keys.items():
            formed = self.keep or len(found[name].shape) == 1
            held[name] = stored(key, found[name], ensemble, static.dtype) if formed else key
        spare = {name: jax.random.fold_in(key, np.uint32(SPARE)) for name, key in keys.items()}
        return Dense(static.shapes, ensemble, held, spare)


class DenseEngine(Engine):
    """Costs n^2 normals a matrix."""

    name = "dense"

    def plan(self, memory_bytes: int) -> Callable[[Static, dict[str, Array]], Dense]:
        self.keep = self._bytes(keep=True) <= memory_bytes or self.arch.tied
        return Plan(self.keep)

    @property
    def bytes_per_network(self) -> int:
        """Its matrices (all, or one application's), and its vectors forward and backward."""
        return self._bytes(self.keep)

    def _bytes(self, keep: bool) -> int:
        matrices = sum(s.size for s in self.shapes) if keep else sum(s.used for s in self.shapes)
        # a switch between kinds of sub-blocks holds them once more
        copies = 2 + 2 * (len(self.arch.sub_blocks) > 1)
        return (
            self.itemsize * copies * (matrices + sum(s.used for s in self.shapes)) + self._vectors
        )

    @property
    def seconds(self) -> float:
        """Its normals, its matrix products forward and backward, its vectors."""
        normals = sum(s.size for s in self.shapes)
        products = (
            2
            * self.arch.tokens
            * sum(
                len(used) * s.used
                for s in self.shapes
                for used in self.arch.applications_of(s.name).values()
            )
        )
        return 4e-9 * normals + 0.07e-9 * products + self._vector_seconds

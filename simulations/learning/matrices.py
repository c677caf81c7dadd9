"""Matrices of which gradients are taken: each application is handed its own, so that what comes
back is one array an application, added up by slot once and not at every application."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from sigprop.description.architecture import Architecture
from sigprop.simulations.network.matrices import Slots
from sigprop.simulations.network.weights import Shape


def by_application(
    arch: Architecture, weights: tuple[Shape, ...], params: dict[str, Any]
) -> dict[str, Any]:
    """Return {matrix: [D, n_out, n_in], of experts [D, E, n_out, n_in]}, of every application the
    one that it uses (of one that does not hold it: slot 0's)."""
    gathered: dict[str, Any] = {}
    for shape in weights:
        if len(shape.shape) > 1:
            slots = np.zeros(arch.depth, dtype=np.int32)
            for index, used in enumerate(arch.applications_of(shape.name).values()):
                slots[used] = index
            if shape.copies > 1:
                slots = slots[:, None] * shape.copies + np.arange(shape.copies, dtype=np.int32)
            gathered[shape.name] = params[shape.name][slots]
    return gathered


class Handed:
    """Matrices that come with each application ('weights' of the tables that ``passes.run``
    takes): plain products, differentiable in the parameters. The protocol is
    ``network.matrices.Matrices``; what no forward pass needs is not there."""

    def __init__(self, params: dict[str, Any]):
        self.params = params

    def start(self) -> Any:
        return ()

    def take(self, state: Any, place: Any) -> tuple[Any, Any]:
        return place["weights"], state

    def put(self, state: Any, place: Any, local: Any) -> Any:
        return state

    def apply(
        self, local: Any, place: Any, weight: str, x: Float[Array, "*E T n_in"]
    ) -> tuple[Float[Array, "*E T n_out"], Any]:
        product = jnp.einsum(
            "...oi,...ti->...to", local[weight], x, precision=jax.lax.Precision.HIGHEST
        )
        return product, local

    def bias(self, weight: str, slot: Slots) -> Float[Array, "*E n_out"]:
        return self.params[weight][slot]

    def normals(self, weight: str, steps: Any, asked: Any) -> Any:
        raise NotImplementedError("matrices that are trained have no twin")

    def transposed_normals(self, weight: str, steps: Any, asked: Any, came: Any) -> Any:
        raise NotImplementedError("matrices that are trained have no twin")

    def pull(self, vjp: Any, cotangents: Any, state: Any) -> Any:
        return jax.vmap(lambda c: vjp((c, state))[0])(cotangents)

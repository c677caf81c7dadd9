"""What stands at the uses of each slot of a weight: vectors, their Grams, and a network's own unit
normals."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from sigprop.description.architecture import Architecture
from sigprop.description.averages import matrices, most_uses
from sigprop.simulations.network.inner import dot
from sigprop.simulations.network.matrices import Matrices

Normals = dict[str, Float[Array, "_ _ T _"]]
"""Of every matrix [slots, U, T, n_out]: unit normals of its answers, at every use of every slot (any
where a slot has fewer uses)."""


def steps(arch: Architecture, weight: str) -> Int[np.ndarray, "slots U"]:
    """Return the applications that use each slot, in order; -1 where it has fewer."""
    used = list(arch.applications_of(weight).values())
    most = most_uses(arch, weight)
    return np.array([each + [-1] * (most - len(each)) for each in used], dtype=np.int32)


def over_uses(
    arch: Architecture, weight: str, left: Float[Array, "D T _"]
) -> Float[Array, "slots UT UT"]:
    """The Gram of what is at a weight's uses, over those of each slot: left are vectors, or
    where no slot is used twice Grams."""
    at = steps(arch, weight)
    if at.shape[1] == 1:
        return left[at[:, 0]]
    seen = _at_uses(at, left)
    seen = seen.reshape(len(at), at.shape[1] * left.shape[1], left.shape[2])
    return dot(seen, seen)


def _at_uses(
    at: Int[np.ndarray, "slots U"], x: Float[Array, "D T n"]
) -> Float[Array, "slots U T n"]:
    """Return what is at every use of every slot, zeros where it has fewer."""
    real, found = jnp.asarray(at >= 0)[:, :, None, None], x[at]
    return jnp.where(real, found, jnp.zeros_like(found))


def normals_of(
    arch: Architecture, given: Matrices, inputs: dict[str, Float[Array, "D T _"]]
) -> Normals:
    """A network's own unit normals. given: its matrices; inputs: what each was asked,
    application by application."""
    found: Normals = {}
    for weight in matrices(arch):
        at = steps(arch, weight)
        found[weight] = given.normals(weight, at, _at_uses(at, inputs[weight]))
    return found


def transposed_normals_of(
    arch: Architecture,
    given: Matrices,
    inputs: dict[str, Float[Array, "D T _"]],
    outputs: dict[str, Float[Array, "D T _"]],
) -> Normals:
    """Return those of its transposed answers, the last use first. outputs: the cotangents that
    came to each matrix's outputs."""
    found: Normals = {}
    for weight in matrices(arch):
        at = steps(arch, weight)
        asked, came = _at_uses(at, inputs[weight]), _at_uses(at, outputs[weight])
        found[weight] = given.transposed_normals(weight, at[:, ::-1], asked, came[:, ::-1])
    return found

"""Units as tracers of the two scans: traced, as a part of every average, or of none."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from sigprop.theory.gaussian import field
from sigprop.theory.recursion.sources.apart import Apart
from sigprop.theory.recursion.sources.apart_behind import ApartBehind
from sigprop.theory.recursion.units.behind import Reverser
from sigprop.theory.recursion.units.beside import Draws, Lanes, Tracer
from sigprop.theory.recursion.units.isometric import straightened
from sigprop.theory.recursion.units.pulled import Cotangents


def beside(unit: Draws, bands: Any, start: Lanes) -> Tracer:
    """Return a unit as a tracer of the forward scan. start: its lanes at the first step."""
    kind, same = Apart if unit.t is None else Tracer, unit.same or {}
    normals = unit.normals | {
        name: straightened(unit.t, unit.normals[name], of) for name, of in same.items()
    }
    return kind(unit.t, bands, start, normals, unit.given, tuple(same))


def behind(
    unit: Draws, bands: Any, readout: Float[Array, "T T"], lanes: int
) -> Reverser | ApartBehind:
    """Return a unit as a tracer of the reversed scan, which has v's lane beside these. readout:
    its Gram."""
    root, normals = field.cholesky(readout), {k: g[::-1] for k, g in unit.transposed.items()}
    own = jnp.stack([root @ each for each in unit.readout])
    start = jnp.zeros((lanes + 1, *own.shape), dtype=jnp.float64).at[lanes].set(own)
    if unit.t is None:
        return ApartBehind(bands, start, normals, unit.later)
    members = unit.members.write.shape[1]
    rest = jnp.zeros((1 + members, *start.shape), dtype=jnp.float64)
    return Reverser(unit.t, bands, Cotangents(start, rest), normals, unit.later, members)

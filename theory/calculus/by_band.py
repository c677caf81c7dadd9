"""Inner products over the coordinates of one band at a time: <x, y> = sum_k w_k <x, y>_k.

Coordinates that come out of a matrix are alike, so a band's inner product of them is that of all.
What a branch reads has a Gram of its own in every band, and a truncation leaves whole bands.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.language.expression import Attend, Bias, Linear, Read, Vector
from sigprop.language.nodes import Truncate
from sigprop.language.traversal import children
from sigprop.theory.calculus.rules import inner
from sigprop.theory.calculus.transpose import AttendTransposed, Cotangent, Transposed

Places = dict[tuple[str, str], Any]


class Bands(NamedTuple):
    """Bands of coordinates: widths [K]; Grams of the bands by pairs of places, where there are
    several: reads [R, R, K, B, T, T], cotangents [K, B, T, T]."""

    widths: Any
    reads: Places = {}
    cotangents: Places = {}

    @property
    def count(self) -> int:
        """K."""
        return len(self.widths)

    @property
    def ends(self) -> Float[Array, " K"]:
        """Return the share of the coordinates up to the end of each band."""
        return jnp.cumsum(self.widths)

    def units(self, x: Float[Array, "*n KC T"]) -> Float[Array, "*n K C T"]:
        """Take the units of the bands apart, whose coordinates stand one band after the other."""
        return x.reshape(*x.shape[:-2], self.count, -1, x.shape[-1])


def over_bands(widths: Float[Array, " K"], each: Any, axis: int) -> Any:
    """Return sum_k w_k x_k, k at an axis: of one band, as it is."""
    if len(widths) == 1:
        return jnp.squeeze(each, axis)
    return jnp.tensordot(each, widths, (axis, 0))


class Alike(dict):
    """What one band's environment remembers; of what is alike in all, what the network's does."""

    def __init__(self, whole: Any):
        super().__init__()
        self.whole = whole

    def __contains__(self, key: Any) -> bool:
        return super().__contains__(key) or _between_alike(key)

    def __missing__(self, key: Any) -> Any:
        u, i, v, j = key
        return inner(u, i, v, j, self.whole)


def by_band(u: Vector, j: str, env: Any, bands: Bands) -> Float[Array, "B K T T"]:
    """Return <u_a, u_j> over the coordinates of every band."""

    def of_one(reads: Places, cotangents: Places, end: Any) -> Any:
        own = env.in_band(reads, cotangents, end, Alike(env))
        return own.block(inner(u, "a", u, j, own), "a", j)

    axes = jax.tree.map(lambda _: 2, bands.reads), jax.tree.map(lambda _: 0, bands.cotangents), 0
    return jax.vmap(of_one, axes, out_axes=1)(bands.reads, bands.cotangents, bands.ends)


def _between_alike(key: Any) -> bool:
    return len(key) == 4 and isinstance(key[0], Vector) and alike(key[0]) and alike(key[2])


def alike(u: Vector) -> bool:
    """Tell if all coordinates are, whatever band they are in."""
    match u:
        case Linear() | Bias() | Transposed():
            return True
        case Read() | Cotangent() | Truncate():
            return False
        case AttendTransposed(of=of) | Attend(value=of):
            return alike(of)
    return all(map(alike, children(u)))

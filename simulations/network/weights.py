"""Random matrices of a finite network: their shapes and slots, and how one is drawn, from (key,
slot) alone."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Int, Integer, Key

from sigprop.description.architecture import Architecture
from sigprop.description.sub_block import Drawn
from sigprop.errors import InputError
from sigprop.language.expression import Attend, Linear, PositionBias
from sigprop.language.nodes import Experts, Gate, Modulate
from sigprop.language.scalar import evaluate
from sigprop.language.traversal import rows_of, walk
from sigprop.simulations.network import random
from sigprop.simulations.network.attention import check_heads
from sigprop.simulations.network.directions import extend
from sigprop.simulations.network.precision import SINGLE

Slot = Integer[Array, ""] | int | np.integer
Slots = Integer[Array, "*E"] | int | np.integer
"""One slot, or those of all experts."""
Entries = Float[Array, "*shape"]
Source = Float[Array, " slots *shape"] | Key[Array, ""]
"""All slots' entries, or the key that they are drawn from."""
WHOLE = 1e-6  # a number of coordinates may be off a whole one by rounding


@dataclass(frozen=True)
class Shape:
    """One weight of a network of width n: entries of variance 1, of shape [slots, *shape]; copies:
    of experts' weights, how many of these slots one application uses, one after another."""

    name: str
    slots: int
    shape: tuple[int, ...]
    copies: int = 1

    @property
    def together(self) -> tuple[int, ...]:
        """The axis of experts, where there is one: (copies,) or ()."""
        return (self.copies,) if self.copies > 1 else ()

    @property
    def used(self) -> int:
        """Entries that one application uses."""
        return self.copies * int(np.prod(self.shape))

    @property
    def size(self) -> int:
        """Entries over all slots."""
        return self.slots * int(np.prod(self.shape))


def shapes(arch: Architecture, width: int) -> tuple[Shape, ...]:
    """The weights of ``arch`` at width n, with as many slots as it uses (renumbered 0..); raises
    ``InputError``."""
    arch.without_sampled("a finite network")
    check_truncations(arch, width)
    for block in arch.sub_blocks:
        for node in walk(block.branch):
            if isinstance(node, Attend):
                check_heads(node, width)
    found = []
    for name, node in arch.drawn.items():
        out = _entries(node, width)
        inside = (
            width * rows_of(node.of)
            if isinstance(node, Linear)
            else Fraction(width)
            if isinstance(node, (Modulate, Experts))
            else None
        )
        for length in (out, inside):
            if length is not None and length.denominator != 1:
                raise InputError(
                    f"width={width}: weight {name!r} would have {length} rows or columns; "
                    f"accepted: a multiple of {length.denominator}"
                )
        copies = arch.copies.get(name, 1)
        found.append(
            Shape(
                name,
                len(arch.applications_of(name)) * copies,
                (int(out),) if inside is None else (int(out), int(inside)),
                copies,
            )
        )
    return tuple(found)


def _entries(node: Drawn, width: int) -> Fraction:
    """How many outputs a weight has: of gates and biases of heads, numbers."""
    if isinstance(node, (Modulate, Experts)):
        return Fraction(node.directions)
    if isinstance(node, PositionBias):
        return width * node.rows / Fraction(node.size) * node.count
    return width * node.rows / (Fraction(node.size) if isinstance(node, Gate) else 1)


def check_truncations(arch: Architecture, width: int) -> None:
    """Raise ``InputError`` where this width does not give every truncation, and every band,
    whole coordinates."""
    needed: list[tuple[np.ndarray, float]] = [(np.cumsum(arch.bands), width)]
    for node in arch.truncations:
        fractions = np.unique(
            np.asarray(evaluate(node.fraction, arch.number_tables), dtype=np.float64)
        )
        needed.append((fractions, float(width * rows_of(node) / node.parts)))
    for fractions, size in needed:
        coordinates = fractions * size
        if np.any(np.abs(coordinates - np.round(coordinates)) > WHOLE):
            raise InputError(
                f"width={width}: widths or heads that are not whole numbers of coordinates; "
                f"accepted: a multiple of what all of them divide"
            )


def least_width(arch: Architecture, most: int) -> int:
    """The smallest width that all heads and layers divide (every allowed width is a multiple of
    it); raises ``InputError`` above ``most``."""
    for width in range(1, most):
        try:
            shapes(arch, width)
        except InputError:
            continue
        return width
    shapes(arch, most)
    return most


def slot_tables(arch: Architecture) -> dict[str, Int[np.ndarray, " D"]]:
    """weight -> [D] index of the slot among the used ones (0 where the application does not hold
    the weight)."""
    tables = {}
    for name in arch.drawn:
        table = np.zeros(arch.depth, dtype=np.int32)
        for index, applications in enumerate(arch.applications_of(name).values()):
            table[applications] = index
        tables[name] = table
    return tables


def most_uses(arch: Architecture, weight: str) -> int:
    """How many applications the weight's most used slot has."""
    return max(map(len, arch.applications_of(weight).values()))


def use_tables(arch: Architecture) -> dict[str, Int[np.ndarray, " D"]]:
    """weight -> [D] how often its slot was used before."""
    tables = {}
    for name in arch.drawn:
        table = np.zeros(arch.depth, dtype=np.int32)
        for applications in arch.applications_of(name).values():
            table[applications] = np.arange(len(applications))
        tables[name] = table
    return tables


def _gaussian(key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike) -> Entries:
    return random.normal(key, shape, dtype)


def _uniform(key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike) -> Entries:
    most = 3**0.5
    return jax.random.uniform(key, shape, dtype=jnp.float32, minval=-most, maxval=most).astype(
        dtype
    )


def _orthogonal(key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike) -> Entries:
    """Gram-Schmidt of Gaussian rows is Haar; no LAPACK, whose batched factorisations can block
    each other within one program."""
    most = max(shape)
    return most**0.5 * extend([], _gaussian(key, (most, most), dtype))[1][: shape[0], : shape[-1]]


DRAW = {"gaussian": _gaussian, "orthogonal": _orthogonal, "uniform": _uniform}


def draw(
    key: Key[Array, ""],
    shape: Shape,
    slot: Slot,
    ensemble: str = "gaussian",
    dtype: DTypeLike = SINGLE,
) -> Entries:
    """One slot's entries, of variance 1; a function of (key, slot) alone. Biases are Gaussian in
    every ensemble."""
    entries = DRAW[ensemble if len(shape.shape) > 1 else "gaussian"]
    return entries(jax.random.fold_in(key, slot), shape.shape, dtype)


def stored(
    key: Key[Array, ""], shape: Shape, ensemble: str = "gaussian", dtype: DTypeLike = SINGLE
) -> Float[Array, " slots *shape"]:
    """All slots' entries, [slots, *shape]."""
    return jax.vmap(lambda slot: draw(key, shape, slot, ensemble, dtype))(
        jnp.arange(shape.slots, dtype=jnp.uint32)
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def matvec(
    shape: Shape, ensemble: str, source: Source, slot: Slot, x: Float[Array, "T n_in"]
) -> Float[Array, "T n_out"]:
    """W x for every token: [T, n_in] -> [T, n_out]; source: stored entries, or the key they are
    drawn from.

    The reverse pass looks the matrix up (or draws it) again, so no copy of it is kept per
    application.
    """
    return jnp.einsum(
        "oi,ti->to",
        _matrix(shape, ensemble, source, slot, x.dtype),
        x,
        precision=jax.lax.Precision.HIGHEST,
    )


def _matrix(
    shape: Shape, ensemble: str, source: Source, slot: Slot, dtype: DTypeLike
) -> Float[Array, "n_out n_in"]:
    if jnp.issubdtype(source.dtype, jax.dtypes.prng_key):
        return draw(source, shape, slot, ensemble, dtype)
    return source[0] if shape.slots == 1 else source[slot]


def _forward(
    shape: Shape, ensemble: str, source: Source, slot: Slot, x: Float[Array, "T n_in"]
) -> tuple[Float[Array, "T n_out"], tuple[Source, Slot]]:
    return matvec(shape, ensemble, source, slot, x), (source, slot)


def _reverse(
    shape: Shape, ensemble: str, kept: tuple[Source, Slot], g: Float[Array, "T n_out"]
) -> Any:
    source, slot = kept
    back = jnp.einsum(
        "oi,to->ti",
        _matrix(shape, ensemble, source, slot, g.dtype),
        g,
        precision=jax.lax.Precision.HIGHEST,
    )
    return _no_gradient(source), np.zeros((), dtype=jax.dtypes.float0), back


def _no_gradient(source: Source) -> np.ndarray | None:
    """The weights' own gradient is not needed here (observables takes it from x and d); none is
    formed."""
    return (
        np.zeros(source.shape, dtype=jax.dtypes.float0)
        if jnp.issubdtype(source.dtype, jax.dtypes.prng_key)
        else None
    )


matvec.defvjp(_forward, _reverse)

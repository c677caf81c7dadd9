"""Queries against the orthonormal directions that are known: what of a query they span, and which
new directions are left.

Long lists of directions leave the cache. They are therefore gone through in blocks of rows, each
block used twice while it is near (once to measure a query along it, once to take that away), and
only as far as rows are in use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Integer

from sigprop.simulations.network.inner import products

# of a query's length: below it, what is left of the query is rounding, not a direction
DEPENDENT = {"float32": 1e-5, "float64": 1e-13}
UNROLLED = 4  # queries at a time
# of a new direction's length, on the second orthogonalisation: below it, it was made of rounding
LEFT = 0.5
NEAR = 2**18  # numbers of a block: one MiB
LEAST = 8  # rows of a block

Number = Float[Array, ""]
Row = Float[Array, " n"]
Rows = Float[Array, "T n"]
Used = Integer[Array, ""] | int | np.integer | None
"""How many rows at most are in use; None: all."""
Known = Sequence[tuple[Float[Array, "_ n"], Used]]
Along = list[Float[Array, "T _"]]


def rows_of_block(rows: int, side: int) -> int:
    """How many of so many rows of length ``side`` are gone through at a time: all, where they
    are few, else as many as divide them."""
    most = max(LEAST, NEAR // side)
    return rows if rows <= most else max(block for block in range(1, most + 1) if rows % block == 0)


def whole_blocks(rows: int, side: int) -> int:
    """``rows``, and as many more as fill the last block."""
    most = max(LEAST, NEAR // side)
    return rows if rows <= most else -(-rows // most) * most


def through(
    body: Callable[[Any, Callable[[Any], Any], Any], Any],
    start: Any,
    rows: int,
    side: int,
    used: Used,
) -> Any:
    """``body(value, read, first)`` for every block of the first ``used`` rows (None: of all);
    read(array) is the array's block, first its first row."""
    block = rows_of_block(rows, side)
    if block == rows:
        return body(start, lambda array: array, 0)

    def one(i: Any, value: Any) -> Any:
        return body(
            value, lambda array: jax.lax.dynamic_slice_in_dim(array, i * block, block), i * block
        )

    count = rows // block if used is None else (used + block - 1) // block
    return jax.lax.fori_loop(0, count, one, start)


def times(x: Float[Array, "*T K"], y: Float[Array, " K *n"]) -> Float[Array, " ..."]:
    """x [T, K] times y [K, n]: [T, n]; each may be one vector."""
    return jnp.matmul(x, y, precision=jax.lax.Precision.HIGHEST)


def freed(
    x: Rows, known: Float[Array, "K n"], used: Used = None
) -> tuple[Float[Array, "T K"], Rows]:
    """(a [T, K], x - a known [T, n]): along the orthonormal or zero rows of ``known`` [K, n],
    and outside them."""
    rows, side = known.shape

    def body(value: Any, read: Any, first: Any) -> Any:
        a, left = value
        near = read(known)
        along = products(left, near)
        return (
            along
            if along.shape == a.shape
            else jax.lax.dynamic_update_slice_in_dim(a, along, first, 1)
        ), left - times(along, near)

    return through(body, (jnp.zeros((len(x), rows), dtype=x.dtype), x), rows, side, used)


def combined(a: Float[Array, "T K"], rows: Float[Array, "K n"], used: Used = None) -> Rows:
    """a rows [T, n], of a [T, K] that is zero beyond the first ``used`` rows [K, n]."""
    count, side = rows.shape
    block = rows_of_block(count, side)

    def body(value: Any, read: Any, first: Any) -> Any:
        weights = a if block == count else jax.lax.dynamic_slice_in_dim(a, first, block, 1)
        return value + times(weights, read(rows))

    return through(body, jnp.zeros((len(a), side), dtype=a.dtype), count, side, used)


def exchanged(
    b: Float[Array, "T m"],
    images: Float[Array, "K m"],
    x: Rows,
    directions: Float[Array, "K n"],
) -> Rows:
    """x + (b images^T - x directions^T) directions: x with its part along orthonormal
    ``directions`` [K, n] replaced by what b says of their images [K, m]."""

    def body(value: Any, read: Any, first: Any) -> Any:
        near = read(directions)
        return value + times(products(b, read(images)) - products(x, near), near)

    rows, side = directions.shape
    return through(body, x, rows, max(side, images.shape[1]), None)


def extend(known: Known, x: Rows) -> tuple[Along, Rows, Float[Array, "T T"]]:
    """(a, b [T, n], r [T, T]): x = sum of a known + r b, rows of b orthonormal to all known ones
    and each other, or zero where x is dependent.

    known: lists of orthonormal or zero rows [K, n], each with how many at most are in use (None:
    all), and a [T, K] for each; x [T, n]. Twice is enough: the second round removes the first one's
    rounding.
    """
    least = _length(x) * DEPENDENT[x.dtype.name]
    if not known:
        return [], *_among(x, least)
    a, left = _freed_of_all(x, known)
    b, r = _among(left, least)
    a_more, left = _freed_of_all(b, known)
    b, r_more = _among(left, _length(b) * LEFT)
    return [one + times(r, more) for one, more in zip(a, a_more, strict=True)], b, times(r, r_more)


def _freed_of_all(x: Rows, known: Known) -> tuple[Along, Rows]:
    a: Along = []
    for rows, used in known:
        along, x = freed(x, rows, used)
        a.append(along)
    return a, x


def _among(x: Rows, least: Float[Array, " T"]) -> tuple[Rows, Float[Array, "T T"]]:
    """(b, r): x = r b, rows of b orthonormal, or zero where what is left of a row is not longer
    than ``least`` [T].

    Each row is freed twice of the rows before it, so rounding is not taken for a direction."""
    if len(x) <= UNROLLED:
        return _one_by_one(x, least)

    def token(t: Any, found: tuple[Any, Any]) -> tuple[Any, Any]:
        b, r = found
        along = times(b, x[t])
        left = x[t] - times(along, b)
        more = times(b, left)
        direction, length = _unit(left - times(more, b), least[t])
        return b.at[t].set(direction), r.at[t].set((along + more).at[t].set(length))

    return jax.lax.fori_loop(
        0, len(x), token, (jnp.zeros_like(x), jnp.zeros((len(x), len(x)), dtype=x.dtype))
    )


def _one_by_one(x: Rows, least: Float[Array, " T"]) -> tuple[Rows, Float[Array, "T T"]]:
    """A few rows: no loop, so their passes over the coordinates are fused."""
    rows: list[Array] = []
    coefficients = []
    for row, bound in zip(x, least, strict=True):
        along = [(b * row).sum() for b in rows]
        left = _without(row, along, rows)
        more = [(b * left).sum() for b in rows]
        direction, length = _unit(_without(left, more, rows), bound)
        sums = [first + second for first, second in zip(along, more, strict=True)]
        coefficients.append(
            jnp.stack([*sums, length, *[jnp.zeros_like(length)] * (len(x) - len(rows) - 1)])
        )
        rows.append(direction)
    return jnp.stack(rows), jnp.stack(coefficients)


def _without(x: Row, along: list[Number], rows: list[Row]) -> Row:
    for c, row in zip(along, rows, strict=True):
        x = x - c * row
    return x


def _length(x: Float[Array, "*many n"]) -> Float[Array, "*many"]:
    return jnp.sqrt((x * x).sum(axis=-1))


def _unit(x: Row, least: Number) -> tuple[Row, Number]:
    """x over its length, and the length; zeros where it is not above ``least``."""
    length = jnp.sqrt((x * x).sum())
    length = jnp.where(length > least, length, jnp.zeros_like(length))
    return x * jnp.where(length > 0, 1 / length, jnp.zeros_like(length)), length

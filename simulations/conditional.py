"""A random matrix that is never formed: what it does to a vector, given what it has already been seen to do.

Let W Q = Z and W^T P = Y be known, Q and P orthonormal (as rows of arrays). Of a further query x only the part outside the
span of Q is new, x = Q a + B r with new orthonormal directions B, and the image of a new direction b is drawn from its
conditional law:

    gaussian     W b = P^T-part  (Y b) P + (1 - P^T P) w,  w standard normal               (entries of variance 1)
    orthogonal   W b = sqrt(N) v, v uniform on the unit sphere outside all known images    (N the larger side)

A transposed query is the same with the sides exchanged. Exact in joint law at every width, queries in any order; dependent
ones draw nothing, so the same vector has the same image, and once the queries span the space nothing is new. A rectangular
orthogonal matrix is the corner of a square one. Source: for orthogonal matrices Lu, 2101.07464; both derived in
docs/matrix-free.md, and compared with matrices that are formed in tests/simulations/test_conditional.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sigprop.simulations.inner import products

DEPENDENT = 1e-5  # of a query's length: below it, what is left of the query is rounding (float32), not a direction
UNROLLED = 4  # queries at a time
LEFT = 0.5  # of a new direction's length, on the second orthogonalisation: below it, it was made of rounding


class Seen(NamedTuple):
    """Orthonormal directions [K, n] (rows not yet used are zero) and their images [K, m]."""

    directions: Any
    images: Any


def _times(x: Any, y: Any) -> Any:
    return jnp.matmul(x, y, precision=jax.lax.Precision.HIGHEST)


def extend(known: Any, x: Any) -> tuple[Any, Any, Any]:
    """(a [T, K], b [T, n], r [T, T]): x = a known + r b, rows of b orthonormal to ``known`` and each other, or zero where x is dependent.

    known: [K, n] orthonormal or zero rows, or None; x [T, n]. Twice is enough: the second round removes the first one's rounding.
    """
    if known is None:
        return None, *_among(x, _length(x) * DEPENDENT)
    a = products(x, known)
    b, r = _among(x - _times(a, known), _length(x) * DEPENDENT)
    a_more = products(b, known)
    b, r_more = _among(b - _times(a_more, known), _length(b) * LEFT)
    return a + _times(r, a_more), b, _times(r, r_more)


def _among(x: Any, least: Any) -> tuple[Any, Any]:
    """(b, r): x = r b, rows of b orthonormal, or zero where what is left of a row is not longer than ``least`` [T].

    Each row is freed twice of the rows before it, so rounding is not taken for a direction."""
    if len(x) <= UNROLLED:
        return _one_by_one(x, least)

    def token(t: Any, found: tuple[Any, Any]) -> tuple[Any, Any]:
        b, r = found
        along = _times(b, x[t])
        left = x[t] - _times(along, b)
        more = _times(b, left)
        direction, length = _unit(left - _times(more, b), least[t])
        return b.at[t].set(direction), r.at[t].set((along + more).at[t].set(length))

    return jax.lax.fori_loop(0, len(x), token, (jnp.zeros_like(x), jnp.zeros((len(x), len(x)), dtype=x.dtype)))


def _one_by_one(x: Any, least: Any) -> tuple[Any, Any]:
    """A few rows: no loop, so their passes over the coordinates are fused."""
    rows: list[Any] = []
    coefficients = []
    for row, bound in zip(x, least, strict=True):
        along = [(b * row).sum() for b in rows]
        left = _without(row, along, rows)
        more = [(b * left).sum() for b in rows]
        direction, length = _unit(_without(left, more, rows), bound)
        sums = [first + second for first, second in zip(along, more, strict=True)]
        coefficients.append(jnp.stack([*sums, length, *[jnp.zeros_like(length)] * (len(x) - len(rows) - 1)]))
        rows.append(direction)
    return jnp.stack(rows), jnp.stack(coefficients)


def _without(x: Any, along: list[Any], rows: list[Any]) -> Any:
    for c, row in zip(along, rows, strict=True):
        x = x - c * row
    return x


def _length(x: Any) -> Any:
    return jnp.sqrt((x * x).sum(axis=-1))


def _unit(x: Any, least: Any) -> tuple[Any, Any]:
    """x over its length, and the length; zeros where it is not above ``least``."""
    length = jnp.sqrt((x * x).sum())
    length = jnp.where(length > least, length, jnp.zeros_like(length))
    return x * jnp.where(length > 0, 1 / length, jnp.zeros_like(length)), length


class Gaussian:
    """Independent standard normal entries."""

    @staticmethod
    def sides(rows: int, columns: int) -> tuple[int, int]:
        """Dimensions in which images and directions are kept."""
        return rows, columns

    @staticmethod
    def ask(own: Seen | None, other: Seen | None, x: Any, fresh: Any) -> tuple[Any, Seen]:
        """(W x [T, m], the new directions and images). own: queries of this side so far, other: of the other side (its directions live among
        our images); None where there are none; fresh: standard normals [T, m]."""
        a, b, r = extend(None if own is None else own.directions, x)
        images = fresh
        if other is not None:
            images = fresh + _times(products(b, other.images) - products(fresh, other.directions), other.directions)
        images = images * _alive(b)
        result = _times(r, images)
        return (result if own is None else result + _times(a, own.images)), Seen(b, images)


class Orthogonal:
    """Haar: uniform among the orthogonal matrices of the larger side N, cut to rows x columns, times sqrt(N) (entries of variance 1)."""

    @staticmethod
    def sides(rows: int, columns: int) -> tuple[int, int]:
        """Both sides are the larger one's; what is beyond is padding."""
        return max(rows, columns), max(rows, columns)

    @staticmethod
    def ask(own: Seen | None, other: Seen | None, x: Any, fresh: Any) -> tuple[Any, Seen]:
        """As of ``Gaussian``, x and fresh padded. Every pair (u, O u) that is known, from either side, is one of the same kind."""
        pairs = [Seen(*own)] if own is not None else []
        pairs += [Seen(other.images, other.directions)] if other is not None else []
        known = Seen(*(jnp.concatenate(side) for side in zip(*pairs, strict=True))) if pairs else None
        a, b, r = extend(None if known is None else known.directions, x)
        _, images, _ = extend(None if known is None else known.images, fresh * _alive(b))
        result = _times(r, images)
        return jnp.float32(x.shape[-1] ** 0.5) * (result if known is None else result + _times(a, known.images)), Seen(b, images)


def _alive(b: Any) -> Any:
    """[T, 1]: 1 where the direction is new, 0 where there was none."""
    return ((b * b).sum(axis=-1, keepdims=True) > 0).astype(b.dtype)


LAWS = {"gaussian": Gaussian, "orthogonal": Orthogonal}

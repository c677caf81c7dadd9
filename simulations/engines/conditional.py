"""A random matrix that is never formed: what it does to a vector, given what it has already been
seen to do.

Let W Q = Z and W^T P = Y be known, Q and P orthonormal (as rows of arrays). Of a further query x
only the part outside the span of Q is new, x = Q a + B r with new orthonormal directions B, and the
image of a new direction b is drawn from its conditional law:

    gaussian     W b = P^T-part  (Y b) P + (1 - P^T P) w,  w standard normal               (entries
                 of variance 1)
    orthogonal   W b = sqrt(N) v, v uniform on the unit sphere outside all known images    (N the
                 larger side)

A transposed query is the same with the sides exchanged. Exact in joint law at every width, queries
in any order; dependent ones draw nothing, so the same vector has the same image, and once the
queries span the space nothing is new. A rectangular orthogonal matrix is the corner of a square
one. Source: for orthogonal matrices Lu, 2101.07464; both derived in docs/matrix-free.md, and
compared with matrices that are formed in tests/simulations/engines/test_conditional.py.
"""

from __future__ import annotations

from typing import NamedTuple

from jax import Array
from jaxtyping import Float

from sigprop.simulations.network.directions import Used, combined, exchanged, extend, times


class Seen(NamedTuple):
    """Orthonormal directions [K, n] (rows not yet used are zero) and their images [K, m]."""

    directions: Float[Array, "K n"]
    images: Float[Array, "K m"]

    @property
    def reversed(self) -> Seen:
        """Of the transposed matrix."""
        return Seen(self.images, self.directions)


class Gaussian:
    """Independent standard normal entries."""

    @staticmethod
    def sides(rows: int, columns: int) -> tuple[int, int]:
        """Dimensions in which images and directions are kept."""
        return rows, columns

    @staticmethod
    def ask(
        own: Seen | None,
        other: Seen | None,
        x: Float[Array, "T n"],
        fresh: Float[Array, "T m"],
        used: Used = None,
    ) -> tuple[Float[Array, "T m"], Seen]:
        """(W x [T, m], the new directions and images). own: queries of this side so far, of
        which ``used`` rows at most are not zero; other: of the other side (its directions live
        among our images); None where there are none; fresh: standard normals [T, m]."""
        a, b, r = extend([] if own is None else [(own.directions, used)], x)
        images = fresh if other is None else exchanged(b, other.images, fresh, other.directions)
        images = images * _alive(b)
        result = times(r, images)
        return (result if own is None else result + combined(a[0], own.images, used)), Seen(
            b, images
        )


class Orthogonal:
    """Haar: uniform among the orthogonal matrices of the larger side N, cut to rows x columns,
    times sqrt(N) (entries of variance 1)."""

    @staticmethod
    def sides(rows: int, columns: int) -> tuple[int, int]:
        """Both sides are the larger one's; what is beyond is padding."""
        return max(rows, columns), max(rows, columns)

    @staticmethod
    def ask(
        own: Seen | None,
        other: Seen | None,
        x: Float[Array, "T n"],
        fresh: Float[Array, "T n"],
        used: Used = None,
    ) -> tuple[Float[Array, "T n"], Seen]:
        """As of ``Gaussian``, x and fresh padded. Every pair (u, O u) that is known, from either
        side, is one of the same kind."""
        pairs = [(own, used)] if own is not None else []
        pairs += [(other.reversed, None)] if other is not None else []
        a, b, r = extend([(pair.directions, count) for pair, count in pairs], x)
        _, images, _ = extend([(pair.images, count) for pair, count in pairs], fresh * _alive(b))
        result = times(r, images)
        for along, (pair, count) in zip(a, pairs, strict=True):
            result = result + combined(along, pair.images, count)
        return x.shape[-1] ** 0.5 * result, Seen(b, images)


def _alive(b: Float[Array, "T n"]) -> Float[Array, "T 1"]:
    """[T, 1]: 1 where the direction is new, 0 where there was none."""
    return ((b * b).sum(axis=-1, keepdims=True) > 0).astype(b.dtype)


LAWS = {"gaussian": Gaussian, "orthogonal": Orthogonal}

"""Polar factors of matrices that are sums of few outer products: what Muon makes of a gradient.

    G = sum_k d_k x_k^T = Q_d^T core Q_x        rows of Q_d, Q_x orthonormal, core [K, K]
    polar(G) = U V^T = Q_d^T polar(core) Q_x    over the singular values that are not zero

Nothing of size n_out n_in is formed. The factorisation is one-sided Jacobi (Hestenes 1958; Demmel
& Veselic 1992: small singular values keep their digits), not LAPACK's, whose batched calls can
block each other within one program. Checked by tests/simulations/training/test_polar.py against
numpy's singular values and against optax.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from sigprop.simulations.network.directions import extend, times

CUT = {"float32": 1e-5, "float64": 1e-6}
"""Of the largest singular value: below it, one counts as zero. In float32 the vectors that G is
made of have rounding errors of some 1e-7, and directions of less than 1e-5 are none
(``directions.DEPENDENT``). What is between the two counts whole in one precision and not in the
other: outputs hardly, mean squares of a looped network (32 or 64 uses and tokens of a slot, n =
256, 16 networks) by up to 0.5 % of a mean."""
SWEEPS = {"float32": 8, "float64": 10}
"""Over all pairs of rows; Jacobi's convergence is quadratic in the end."""
QUINTIC, STEPS, EPSILON = (3.4445, -4.7750, 2.0315), 5, 1e-8
"""Of the Newton-Schulz iteration; source: optax.contrib.muon (Keller Jordan's Muon)."""

Rows = Float[Array, "K n"]
Square = Float[Array, "K K"]
Vectors = Float[Array, "slots K n"]
Pair = tuple[Vectors, Vectors]


def orthogonalised(pairs: Sequence[Pair], newton_schulz: bool) -> list[Pair]:
    """Return pairs (l, r) with sum_k l_k r_k^T = polar(sum_k left_k right_k^T) of every slot.

    pairs: of matrices, (left [slots, K, n_out], right [slots, K, n_in]); newton_schulz: what five
    steps of the quintic iteration make of the sums instead. Those of one K are one batch, their
    vectors filled up with zeros: most of what they cost is loops over small arrays.
    """
    new: dict[int, Pair] = {}
    for size in dict.fromkeys(left.shape[1] for left, _ in pairs):
        here = [i for i, (left, _) in enumerate(pairs) if left.shape[1] == size]
        longest = max(x.shape[2] for i in here for x in pairs[i])
        left, right = (
            jnp.concatenate([_filled(pairs[i][side], longest) for i in here]) for side in (0, 1)
        )
        _, bases, triangles = jax.vmap(functools.partial(extend, []))(
            jnp.concatenate([left, right])
        )
        factors = zip(jnp.split(bases, 2), jnp.split(triangles, 2), strict=True)
        (by_left, from_left), (by_right, from_right) = factors
        turn = jax.vmap(functools.partial(_turned, newton_schulz))
        by_left = turn(by_left, from_left, from_right)
        ends = np.cumsum([len(pairs[i][0]) for i in here])[:-1].tolist()
        parts = zip(here, jnp.split(by_left, ends), jnp.split(by_right, ends), strict=True)
        new |= {
            i: (a[:, :, : pairs[i][0].shape[2]], b[:, :, : pairs[i][1].shape[2]])
            for i, a, b in parts
        }
    return [new[i] for i in range(len(pairs))]


def _turned(newton_schulz: bool, basis: Rows, from_left: Square, from_right: Square) -> Rows:
    """Return the left vectors of one slot, of orthonormal bases and what they make of them."""
    core = times(from_left.T, from_right)
    return times((iterated(core) if newton_schulz else polar(core)).T, basis)


def _filled(x: Vectors, length: int) -> Vectors:
    """Fill vectors up with zeros."""
    return jnp.pad(x, ((0, 0), (0, 0), (0, length - x.shape[2])))


def iterated(core: Square) -> Square:
    """Return what Newton-Schulz makes of a matrix: an odd polynomial of its singular values, so
    that orthonormal factors on both sides pass through."""
    a, b, c = QUINTIC
    x = core / (jnp.sqrt((core * core).sum()) + EPSILON)
    for _ in range(STEPS):
        gram = times(x, x.T)
        x = a * x + times(b * gram + c * times(gram, gram), x)
    return x


def polar(core: Square) -> Square:
    """Return U V^T over the singular values of a square matrix above ``CUT`` of the largest; zero
    of zero."""
    size = len(core)
    even = size + size % 2
    norm = jnp.sqrt((core * core).sum())
    scaled = core / jnp.where(norm > 0, norm, jnp.ones_like(norm))
    rows = jnp.zeros((even, size), dtype=core.dtype).at[:size].set(scaled)
    # rotations of rows Q: Q core = S V^T, and what they are, Q = U^T
    both = jnp.concatenate([rows, jnp.eye(even, dtype=core.dtype)], axis=1)
    turn = np.array([0, even - 1, *range(1, even - 1)])

    def one_round(_: int, both: Array) -> Array:
        return _rotated(both, size)[turn]

    both = jax.lax.fori_loop(0, SWEEPS[core.dtype.name] * (even - 1), one_round, both)
    rows, rotations = both[:, :size], both[:, size:]
    singular = jnp.sqrt((rows * rows).sum(axis=1))
    counts = singular > CUT[core.dtype.name] * singular.max()
    over = jnp.where(counts, singular, jnp.ones_like(singular))
    directions = jnp.where(counts[:, None], rows / over[:, None], jnp.zeros_like(rows))
    return times(rotations.T, directions)[:size]


def _rotated(both: Rows, size: int) -> Rows:
    """Make the pairs of rows (i, last - i) orthogonal in their first ``size`` entries."""
    half = len(both) // 2
    a, b = both[:half], both[half:][::-1]
    squares = [(x[:, :size] * y[:, :size]).sum(axis=1) for x, y in ((a, a), (b, b), (a, b))]
    aa, bb, ab = squares
    some = ab != 0
    zeta = (bb - aa) / (2 * jnp.where(some, ab, jnp.ones_like(ab)))
    side = jnp.where(zeta >= 0, jnp.ones_like(zeta), -jnp.ones_like(zeta))
    tangent = jnp.where(some, side / (jnp.abs(zeta) + jnp.sqrt(1 + zeta * zeta)), 0 * ab)
    cosine = (1 / jnp.sqrt(1 + tangent * tangent))[:, None]
    sine = cosine * tangent[:, None]
    return jnp.concatenate([cosine * a - sine * b, (sine * a + cosine * b)[::-1]])

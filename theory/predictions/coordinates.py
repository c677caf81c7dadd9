"""One coordinate of a branch's vectors over the uses of a slot: elementwise expressions evaluated
on jointly Gaussian leaves.

In the limit the coordinates of W x are independent draws of a Gaussian vector over uses, whose
covariance is the calculus' <W x_a, W x_b>; leaves of different matrices are independent. So E
f(coordinates) is an expectation over few Gaussians, taken on scrambled Sobol points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from typing import Any

import numpy as np
from scipy.special import ndtri

from sigprop.description.architecture import Architecture
from sigprop.errors import no_rule
from sigprop.language.expression import Activate, Attend, Linear, Product, Read, Scale, Sum, Vector
from sigprop.language.scalar import evaluate
from sigprop.theory.calculus.transpose import AttendTransposed, Cotangent, Transposed

PAIRS = 1024  # at a time: few shapes, so few compilations
FLOOR = 1e-12  # relative to the largest eigenvalue


def coordinates(
    arch: Architecture,
    branch: Vector,
    u: Vector,
    *,
    used: Sequence[int],
    reads: np.ndarray,
    cotangents: np.ndarray,
    points: int,
    seed: tuple[int, ...],
) -> np.ndarray:
    """[points, uses] draws of one coordinate of u at the uses of a slot.

    reads, cotangents [uses, uses]: <r_a, r_b>, <delta_a, delta_b>; used: the applications, for
    numbers; seed: of the points. Raises ``NoRule`` for expressions that are not elementwise
    functions of matrix products.
    """
    leaves = list(dict.fromkeys(_leaves(u)))
    normals = _normals(len(leaves) * len(used), points, seed)
    values: dict[Vector, Any] = {}
    for k, leaf in enumerate(leaves):
        root = _root(_covariance(arch, leaf, used, reads, cotangents))
        values[leaf] = normals[:, k * len(used) : (k + 1) * len(used)] @ root.T
    numbers = {name: table[list(used)] for name, table in arch.number_tables.items()}
    return np.asarray(_value(u, values, numbers))


def _leaves(u: Vector) -> list[Vector]:
    """Return the Gaussian vectors that u is an elementwise function of."""
    match u:
        case Read() | Linear() | Transposed() | Cotangent():
            return [u]
        case Activate(of=of) | Scale(of=of):
            return _leaves(of)
        case Product(left, right):
            return _leaves(left) + _leaves(right)
        case Sum(terms):
            return [leaf for term in terms for leaf in _leaves(term)]
        case Attend(value=value):
            return _leaves(value)
        case AttendTransposed(of=of, leg=leg):
            return _leaves(of) if leg == "value" else []
    raise no_rule(
        u, "no rule for one coordinate of it", "elementwise functions of matrices' outputs"
    )


def _value(u: Vector, leaves: dict[Vector, Any], numbers: dict[str, np.ndarray]) -> Any:
    """Evaluate u on draws [points, uses]; attention of one token is its value, and its scores
    have no gradient."""
    if u in leaves:
        return leaves[u]
    match u:
        case Activate(activation, of, order):
            x = np.asarray(_value(of, leaves, numbers), dtype=np.float32)
            return np.asarray(
                activation.function(x) if order == 0 else activation.derivative(x), dtype=np.float64
            )
        case Scale(factor, of):
            return evaluate(factor, numbers) * _value(of, leaves, numbers)
        case Product(left, right):
            return _value(left, leaves, numbers) * _value(right, leaves, numbers)
        case Sum(terms):
            return sum(_value(term, leaves, numbers) for term in terms)
        case Attend(value=value):
            return _value(value, leaves, numbers)
        case AttendTransposed(of=of, leg=leg):
            return (
                _value(of, leaves, numbers)
                if leg == "value"
                else np.zeros((1, len(next(iter(numbers.values())))))
            )
    raise no_rule(
        u, "no rule for one coordinate of it", "elementwise functions of matrices' outputs"
    )


def _covariance(
    arch: Architecture, leaf: Vector, used: Sequence[int], reads: np.ndarray, cotangents: np.ndarray
) -> np.ndarray:
    """<leaf_a, leaf_b> over uses, by the calculus."""
    count = len(used)
    a, b = (index.ravel() for index in np.indices((count, count)))
    at = np.asarray(used)
    numbers = {
        place: {n: t[at[index]] for n, t in arch.number_tables.items()}
        for place, index in (("a", a), ("b", b))
    }
    blocks = [
        np.stack([gram[i, j] for i, j in ((a, a), (a, b), (b, b))]) for gram in (reads, cotangents)
    ]
    return np.asarray(_inner(leaf)(*blocks, numbers)).reshape(count, count)


@cache
def _inner(u: Vector) -> Callable[..., np.ndarray]:
    """(reads, cotangents [3, pairs], numbers) -> <u_a, u_b> [pairs]."""
    import jax

    compiled = jax.jit(partial(_expanded, u))

    def call(reads: np.ndarray, cotangents: np.ndarray, numbers: Any) -> np.ndarray:
        pairs = reads.shape[1]
        more = -pairs % PAIRS
        filled = jax.tree.map(
            lambda x: np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, more)], mode="edge"),
            (reads, cotangents, numbers),
        )
        with jax.enable_x64(True):
            return np.asarray(compiled(*filled))[:pairs]

    return call


def _expanded(u: Vector, reads: Any, cotangents: Any, numbers: Any) -> Any:
    """Expand <u_a, u_b> [pairs] by the calculus on arrays."""
    import jax.numpy as jnp

    from sigprop.theory.calculus.environment import Resolution
    from sigprop.theory.calculus.rules import inner
    from sigprop.theory.recursion.arrays import ArrayEnvironment
    from sigprop.theory.recursion.kernels import DEGREE

    pairs = reads.shape[1]
    places = (("a", "a"), ("a", "b"), ("b", "b"))
    env = ArrayEnvironment(
        {place: ((x[:, None, None],),) for place, x in zip(places, reads, strict=True)},
        dict(zip(places, cotangents[:, :, None, None], strict=True)),
        numbers,
        lambda weight: jnp.ones(pairs, dtype=jnp.float64),
        {
            (leaf, place): jnp.zeros((pairs, 1), dtype=jnp.float64)
            for leaf in (Read(), Cotangent())
            for place in "ab"
        },
        Resolution(jnp.asarray(DEGREE, dtype=jnp.int64)),
    )
    return jnp.broadcast_to(env.block(inner(u, "a", u, "b", env), "a", "b")[:, 0, 0], (pairs,))


def _root(covariance: np.ndarray) -> np.ndarray:
    """Return A with A A^T the covariance, but for what rounding makes negative."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return vectors * np.sqrt(np.clip(values, FLOOR * max(values.max(), 0.0), None))


@lru_cache(maxsize=64)
def _normals(dimensions: int, points: int, seed: tuple[int, ...]) -> np.ndarray:
    """Draw standard normals [points, dimensions] on scrambled Sobol points."""
    from scipy.stats import qmc  # half a second: only where coordinates are sampled

    sobol = qmc.Sobol(dimensions, rng=np.random.default_rng(seed))
    return ndtri(np.clip(sobol.random(points), 1e-12, 1 - 1e-12))

"""A branch as a map of one cosine: K(c) = <f, f'> of two reads of unit variance and cosine c, and
its derivative K'(c).

Both by the calculus' own rules on arrays, so that they are the branch's whatever it is made of.
Where a network has several kinds of sub-blocks their writes add, each with the square of what the
rule multiplies it by. Normalised to K(1) = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from sigprop.description.architecture import Architecture
from sigprop.errors import InputError, NoRule
from sigprop.language.expression import Read, Vector
from sigprop.language.scalar import Scalar, names
from sigprop.language.traversal import walk

NODES = 801  # cosines cos(theta) that the map is tabulated at, theta even on [0, pi/2]


@dataclass(frozen=True)
class BranchMap:
    """theta [NODES] on [0, pi/2]; kernel, slope [NODES]: K and K' at c = cos theta, over
    ``gain`` = K(1)."""

    theta: np.ndarray
    kernel: np.ndarray
    slope: np.ndarray
    gain: float

    @property
    def chi(self) -> float:
        """K'(1)/K(1): by how much an application's writes turn a gradient's variance, relative
        to what they add to the state's."""
        return float(self.slope[0])

    def smooth(self) -> tuple[CubicSpline, CubicSpline, CubicSpline]:
        """K, K' and V(theta) = int_c^1 K as functions of theta = arccos c: smooth there, also
        for relu's (1 - c)^(3/2)."""
        kernel = CubicSpline(self.theta, self.kernel)
        return (
            kernel,
            CubicSpline(self.theta, self.slope),
            CubicSpline(self.theta, self.kernel * np.sin(self.theta)).antiderivative(),
        )


def branch_map(arch: Architecture, weights: Sequence[float]) -> BranchMap:
    """The map of the sub-blocks' branches, each write with this weight (the square of what the rule
    multiplies it by).

    Raises ``NoRule`` for a branch whose kernel is no function of one token's cosine: attention
    among several tokens, several reads.
    """
    if any(len(block.reads) > 1 for block in arch.sub_blocks):
        raise NoRule("several reads: the branch's kernel is no function of one cosine")
    if arch.tokens > 1 and any(block.attention for block in arch.sub_blocks):
        raise NoRule(
            "attention among several tokens: the branch's kernel is no function of one cosine"
        )
    theta = np.linspace(0.0, np.pi / 2, NODES)
    kernel, slope = np.zeros(NODES), np.zeros(NODES)
    for kind, (block, weight) in enumerate(zip(arch.sub_blocks, weights, strict=True)):
        own, turned = _curves(arch, kind, block.branch, np.cos(theta))
        kernel, slope = kernel + weight * own, slope + weight * turned
    gain = float(kernel[0])
    if not (np.isfinite(gain) and gain > 0):
        zero = [name for name in _numbers_of(arch) if not np.any(arch.number_tables[name])]
        named = "".join(f", {name}=0" for name in zero)
        raise InputError(
            f"{arch.name}{named}: its branches write a variance of {gain:g}; accepted: numbers at "
            f"which it is finite and above 0"
        )
    return BranchMap(theta, kernel / gain, slope / gain, gain)


def _numbers_of(arch: Architecture) -> list[str]:
    """The named numbers that occur in branches."""
    fields = [
        value
        for block in arch.sub_blocks
        for node in walk(block.branch)
        for value in vars(node).values()
    ]
    return sorted(
        {number.name for value in fields if isinstance(value, Scalar) for number in names(value)}
    )


def _curves(
    arch: Architecture, kind: int, branch: Vector, cosines: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """<f, f'> and d<f, f'>/dc at these cosines of two uses of one slot."""
    import jax
    import jax.numpy as jnp

    from sigprop.theory.attention.draws import draws
    from sigprop.theory.calculus.environment import Resolution
    from sigprop.theory.calculus.rules import inner
    from sigprop.theory.calculus.transpose import Cotangent, transpose
    from sigprop.theory.recursion.arrays import ArrayEnvironment
    from sigprop.theory.recursion.kernels import DEGREE

    first = list(arch.kind_table or ()).index(kind)
    scores = {
        node.scores: draws(node.scores, 1, 0)
        for block in arch.sub_blocks
        for node in block.attention
    }

    @jax.jit
    def compiled(
        cross: jax.Array, numbers: dict[str, jax.Array], points: list[jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        one, each = jnp.ones((1, 1, 1), dtype=jnp.float64), jnp.ones_like(cross)
        zero, zeros = (
            jnp.zeros((1, 1), dtype=jnp.float64),
            jnp.zeros(cross.shape[:2], dtype=jnp.float64),
        )
        logs = {
            (leaf, place): value
            for leaf in (Read(), Cotangent())
            for place, value in (("a", zero), ("b", zeros))
        }
        reads, cotangents = (
            {("a", "a"): ((one,),), ("a", "b"): ((cross,),), ("b", "b"): ((each,),)},
            {("a", "a"): one, ("a", "b"): each, ("b", "b"): each},
        )
        at = {
            "a": numbers,
            "b": {
                name: jnp.broadcast_to(value, (len(cosines), *value.shape[1:]))
                for name, value in numbers.items()
            },
        }
        resolution = Resolution(
            jnp.asarray(DEGREE, dtype=jnp.int64), dict(zip(scores, points, strict=True))
        )
        env = ArrayEnvironment(
            reads,
            cotangents,
            at,
            lambda weight: jnp.ones(len(cosines), dtype=jnp.float64),
            logs,
            resolution,
        )
        turned = transpose(branch).by_read()
        assert turned is not None
        return env.block(inner(branch, "a", branch, "b", env), "a", "b")[:, 0, 0], env.block(
            inner(turned, "a", turned, "b", env), "a", "b"
        )[:, 0, 0]

    tables = arch.number_tables | arch.tables_by_application
    with jax.enable_x64(True):
        numbers = {
            name: jnp.asarray(table[first][None], dtype=jnp.float64)
            for name, table in tables.items()
        }
        own, turned = compiled(
            jnp.asarray(cosines[:, None, None], dtype=jnp.float64),
            numbers,
            [jnp.asarray(p) for p in scores.values()],
        )
    return np.asarray(own), np.asarray(turned)

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
    # jax is loaded where a map is asked for
    from sigprop.theory.exponents.branch_curves import curves

    theta = np.linspace(0.0, np.pi / 2, NODES)
    kernel, slope = np.zeros(NODES), np.zeros(NODES)
    for kind, weight in zip(range(len(arch.sub_blocks)), weights, strict=True):
        branch = curves(arch, kind, np.cos(theta))
        kernel, slope = kernel + weight * branch.kernel, slope + weight * branch.slope
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
    """Return the named numbers that occur in branches."""
    fields = [
        value
        for block in arch.sub_blocks
        for node in walk(block.branch)
        for value in vars(node).values()
    ]
    return sorted(
        {number.name for value in fields if isinstance(value, Scalar) for number in names(value)}
    )

"""Groups of parameters: how many entries each has, how large the output's derivative by one of them
is, how many slots.

With z = n^(-(1+s)/2) v . h_D and an additive residual rule, a cotangent at the stream has entries
n^(-(1+s)/2), inside a branch its squared length is eps^2 n^-s whatever the sizes, and the uses of
one slot add up:

    matrix         n_in n_out entries    eps uses n^(-s/2) n_out^(-1/2) each
    bias           n_out                 the same            norm gain      n, the same with n_out =
                   n
    lookup         n (of a row)          n^(-(1+s)/2)        dense stem     d n, the same
    read-out       n V                   V^(-1/2)            its bias       V, the same

Derived; these are the |g| column of 2304.02034, (1.99)-(1.116), at eps = uses = 1
(tests/scaling/test_rates.py), with M and grouped queries in n_in and n_out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import sympy as sp

from sigprop.description.architecture import Architecture
from sigprop.description.checks import EMBEDDING
from sigprop.description.structure import READOUT
from sigprop.description.sub_block import STEM
from sigprop.language.expression import (
    Activate,
    Attend,
    Bias,
    Linear,
    PositionBias,
    Product,
    Vector,
)
from sigprop.language.nodes import Gate
from sigprop.language.traversal import children, walk
from sigprop.scaling.sizes import C, M, V, d, exact, g, n, query_group, ratio_of_units
from sigprop.scaling.slots import Pattern, pattern

ONE = sp.Integer(1)
ALONE = Pattern(ONE, ONE)
BIAS, NORM, OUTPUT_BIAS, FINAL_NORM, READOUT_BIAS = (
    "bias",
    "norm",
    "output_bias",
    "final_norm",
    "readout_bias",
)
"""Vectors that real models have beside the weights described: inside residual branches, on a
branch's output, before the read-out, on it."""


class Shape(NamedTuple):
    """n_out and n_in of a matrix; wider: whether n_out >= n_in at the architecture's own ratios."""

    rows: sp.Expr
    inputs: sp.Expr
    wider: bool


@dataclass(frozen=True)
class Group:
    """count: entries of one slot; entry: rms of dz/dtheta at eps = uses = 1; size: of an entry
    at initialisation (None: not drawn); what: in words; pattern: slots and uses; branch: inside a
    residual branch; output: the last of its branch; logits: what their factor C^(-(1+s)/2) instead
    of 1/sqrt(C) takes from the derivatives by queries and keys; shape: of a matrix in a branch."""

    count: sp.Expr
    entry: sp.Expr
    size: sp.Expr | None
    what: str
    pattern: Pattern = ALONE
    branch: bool = False
    output: bool = False
    logits: sp.Expr = ONE
    shape: Shape | None = None


def groups(arch: Architecture, s: sp.Expr, deep: bool) -> dict[str, Group]:
    """Return every group of the architecture, then the vectors that real models have. deep:
    whether slots and uses are needed (else one of each)."""
    described = {**dict(_in_branches(arch, s, deep)), **dict(_around_branches(arch, s))}
    patterns = {group.pattern for group in described.values() if group.branch}
    return described | _undescribed(s, patterns)


def _in_branches(arch: Architecture, s: sp.Expr, deep: bool) -> Iterator[tuple[str, Group]]:
    """Yield the weights of residual branches."""
    lengths = _Lengths(arch)
    for block in arch.sub_blocks:
        last = set(_outermost(block.branch))
        for name, node in block.weights.items():
            shared = pattern(arch, name) if deep else ALONE
            group = (
                _matrix(lengths, node, s) if isinstance(node, Linear) else _vector(lengths, node, s)
            )
            yield name, replace(group, pattern=shared, branch=True, output=name in last)


def _matrix(lengths: _Lengths, node: Linear, s: sp.Expr) -> Group:
    """Return a matrix's group."""
    rows, inputs = lengths.of(node), lengths.of(node.of)
    logits = C ** (-s / 2) if node.weight in lengths.scored else ONE
    entry, size = n ** (-s / 2) / sp.sqrt(rows), 1 / sp.sqrt(inputs)
    shape = Shape(rows, inputs, lengths.value(rows / inputs) >= 1)
    return Group(rows * inputs, entry, size, "matrix", logits=logits, shape=shape)


def _vector(lengths: _Lengths, node: Bias | Gate | PositionBias, s: sp.Expr) -> Group:
    """Return the group of a bias, or of a gate or of heads' biases, which may have fewer entries
    than they have rows."""
    entries = lengths.of(node)
    if isinstance(node, (Gate, PositionBias)) and not math.isinf(node.size):
        entries = entries / exact(node.size)
    if isinstance(node, PositionBias):
        entries = entries * node.count
    size = None if isinstance(node, Gate) else ONE
    return Group(entries, n ** (-s / 2) / sp.sqrt(entries), size, "vector")


def _around_branches(arch: Architecture, s: sp.Expr) -> Iterator[tuple[str, Group]]:
    """Yield the read-out and the parts of the stem."""
    yield READOUT, Group(n * V, 1 / sp.sqrt(V), n ** (-(1 + s) / 2), "read-out")
    stream = n ** (-s / 2) / sp.sqrt(n)
    for name in arch.stem_parts:
        dense = name == STEM or (name == EMBEDDING and arch.parameters.get("words") is None)
        yield (
            name,
            Group(d * n, stream, 1 / sp.sqrt(d), "stem")
            if dense
            else Group(n, stream, ONE, "lookup"),
        )


def _undescribed(s: sp.Expr, patterns: set[Pattern]) -> dict[str, Group]:
    """Return the vectors that real models have; patterns: those of the weights in branches."""
    stream = n ** (-s / 2) / sp.sqrt(n)
    vectors: dict[str, Group] = {}
    # else a vector's sharing is that of the weights beside it, which the description does not say
    if len(patterns) == 1:
        (shared,) = patterns
        bias = Group(n, stream, ONE, "vector", shared, branch=True)
        vectors[BIAS] = bias
        vectors[NORM] = replace(bias, size=None)
        vectors[OUTPUT_BIAS] = replace(bias, output=True)
    return vectors | {
        FINAL_NORM: Group(n, stream, None, "vector"),
        READOUT_BIAS: Group(V, 1 / sp.sqrt(V), ONE, "read-out bias"),
    }


class _Lengths:
    """Give lengths of vectors in n, M and g, where M and g are parameters of the architecture."""

    def __init__(self, arch: Architecture):
        self.units = {name for block in arch.sub_blocks for name in _elementwise(block.branch)}
        self.shared = {
            leg.weight
            for block in arch.sub_blocks
            for node in block.attention
            for leg in (node.key, node.value)
            if isinstance(leg, Linear)
        }
        legs = (
            leg
            for block in arch.sub_blocks
            for node in block.attention
            for leg in (node.query, node.key)
        )
        self.scored = {leg.weight for leg in legs if isinstance(leg, Linear)}
        self.ratio, self.group = ratio_of_units(arch), query_group(arch)

    def value(self, ratio: sp.Expr) -> float:
        """Return a ratio of lengths at the architecture's own M and g."""
        at = {M: exact(self.ratio or 1), g: exact(self.group or 1)}
        return float(ratio.subs(at))  # pyright: ignore[reportArgumentType]

    def of(self, vector: Vector) -> sp.Expr:
        if isinstance(vector, (Linear, Bias, PositionBias)):
            if vector.weight in self.units and vector.rows == self.ratio:
                return M * n
            if (
                vector.weight in self.shared
                and self.group is not None
                and vector.rows == 1 / self.group
            ):
                return n / g
            return exact(vector.rows) * n
        if isinstance(vector, Attend):
            return self.of(vector.query)
        return next((self.of(child) for child in children(vector)), n)


def _elementwise(branch: Vector) -> Iterator[str]:
    """Yield the weights on whose output something acts coordinate by coordinate: an MLP's hidden
    units."""
    for node in walk(branch):
        if isinstance(node, (Activate, Product)):
            yield from _outermost(node)


def _outermost(vector: Vector) -> Iterator[str]:
    """Yield the weights that are applied last."""
    if isinstance(vector, (Linear, Bias, Gate)):
        yield vector.weight
    else:
        for child in children(vector):
            yield from _outermost(child)

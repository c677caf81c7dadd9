"""Spaces of coordinates: which vectors of a sub-block have their coordinates in common.

A matrix leads from one space to another; all other nodes stay in one. The stream is the space of
what a branch reads and writes; a space in which attention stands has heads of ``size`` coordinates
for particles, every other one has single coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from functools import cached_property

from sigprop.description.sub_block import SubBlock
from sigprop.errors import no_rule
from sigprop.language.expression import Attend, Bias, Linear, Read, Sum, Vector
from sigprop.language.nodes import Gate
from sigprop.language.traversal import children, group_of, rows_of, walk
from sigprop.theory.calculus.transpose import (
    AttendTransposed,
    Cotangent,
    Divide,
    Gradient,
    Transposed,
    arguments,
)
from sigprop.theory.first_step.coordinates.vanishing import vanishes

STREAM = "stream"
Key = Hashable


class Spaces:
    """The spaces of one kind of sub-block.

    Raises ``NoRule`` for attention on the stream, and for heads of sizes without a rule.
    """

    def __init__(self, block: SubBlock):
        self.block = block
        self._joined: dict[Key, Key] = {}
        self._join(self._key(block.branch), STREAM)
        self._inputs: dict[str, Key] = {
            node.weight: self._key(node.of)
            for node in walk(block.branch)
            if isinstance(node, Linear)
        }
        self.sizes: dict[Key, int] = {}
        self._heads: dict[Key, int] = {}
        for node in block.attention:
            key = self._root(self._key(node))
            self.sizes[key] = _head(node)
            self._heads[key] = (node.scores.heads or 1) if vanishes(node) else 1
        if self._root(STREAM) in self.sizes:
            raise no_rule(block.branch, "attention without a matrix after it", "one")

    @cached_property
    def gradient(self) -> Gradient:
        """The branch's transposed Jacobian and its weights' inputs and cotangents."""
        return gathered(self.block.branch)

    def of(self, u: Vector) -> Key:
        """The space of a vector, the stream's being ``STREAM``."""
        root = self._root(self._key(u))
        return STREAM if root == self._root(STREAM) else root

    def size(self, u: Vector) -> int:
        """Coordinates of a head that belong together: of one particle, 1 where there are no heads
        or they grow with the width."""
        return self.sizes.get(self._root(self._key(u)), 1)

    def columns(self, u: Vector) -> int:
        """Coordinates of a particle: a head's, or one of every head that grows with the width."""
        return self.size(u) * self._heads.get(self._root(self._key(u)), 1)

    def _root(self, key: Key) -> Key:
        while key in self._joined:
            key = self._joined[key]
        return key

    def _join(self, one: Key, other: Key) -> Key:
        one, other = self._root(one), self._root(other)
        if one != other:
            self._joined[one] = other
        return other

    def _key(self, u: Vector) -> Key:
        """Return the space of a vector, joining those that meet in it."""
        if isinstance(u, (Read, Cotangent)):
            return STREAM
        if isinstance(u, (Linear, Bias)):
            return ("out", u.weight)
        if isinstance(u, Transposed):
            return self._inputs[u.weight]
        if isinstance(u, Divide):
            return self._key(u.of)
        if isinstance(u, AttendTransposed):
            return self._key(u.of)
        keys = [self._key(child) for child in children(u)]
        if not keys:
            raise no_rule(u, "no rule for a step's change of it", "matrices and what acts on them")
        found = keys[0]
        for key in keys[1:]:
            found = self._join(found, key)
        return self._root(found)


def gathered(branch: Vector) -> Gradient:
    """The gradient of <delta, branch>, every vector's cotangent the sum over where it stands: so a
    matrix that is applied once, and used twice, has one input and one cotangent."""
    arriving: dict[Vector, list[Vector]] = {branch: [Cotangent()]}
    found = Gradient()
    for u in _parents_first(branch):
        terms = arriving[u]
        d = terms[0] if len(terms) == 1 else Sum(tuple(terms))
        if isinstance(u, Read):
            found.reads[u.index] = [d]
        elif isinstance(u, (Linear, Gate, Bias)):
            x = None if isinstance(u, Bias) else u.of
            found.uses.setdefault(u.weight, []).append((x, d))
        for argument, cotangent in arguments(u, d):
            arriving.setdefault(argument, []).append(cotangent)
    return found


def _parents_first(branch: Vector) -> list[Vector]:
    """Every vector of a branch once, after all that it stands in."""
    order: dict[Vector, None] = {}

    def visit(u: Vector) -> None:
        if u not in order:
            for child in children(u):
                visit(child)
            order[u] = None

    visit(branch)
    return list(order)[::-1]


def _head(node: Attend) -> int:
    """Return the coordinates of a head (1, where they grow with the width and all are alike);
    raise ``NoRule`` for what has no rule."""
    vanishing = vanishes(node)
    refusals = (
        (
            not vanishing and math.isinf(node.scores.head_dim),
            "heads of infinitely many coordinates",
        ),
        (group_of(node) != 1, "grouped queries"),
        (rows_of(node.query) != rows_of(node.value), "values of another length"),
        (node.kinds > 1 or node.drawn_bias is not None, "a bias of each head"),
        (node.rate is not None, "dropout"),
        (bool(node.kept_by), "keys that a modulator skips"),
    )
    for refused, what in refusals:
        if refused:
            raise no_rule(
                node, f"no first step through {what}", "heads of one kind and a finite head_dim"
            )
    return 1 if vanishing else int(node.scores.head_dim)

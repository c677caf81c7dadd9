"""Means over coordinates: where networks take them away (LayerNorm), and which activations act on
what had one. In the wide limit all are 0; of one network they are of order n^-1/2."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sigprop.description.sub_block import SubBlock
from sigprop.language.expression import Activate, Linear, Normalise, Read, Vector
from sigprop.language.nodes import Centre
from sigprop.language.traversal import children, walk


def takes_means(expressions: Iterable[Vector]) -> bool:
    """Tell whether LayerNorm, or what takes means away as it does, stands in any."""
    return any(
        isinstance(node, Centre) or isinstance(node, Normalise) and node.kind == "layer"
        for top in expressions
        for node in walk(top)
    )


def expressions(block: SubBlock) -> tuple[Vector, ...]:
    """Return everything that a sub-block evaluates."""
    return block.branch, *block.reads, *block.rule


def has_mean(u: Vector) -> bool:
    """Tell whether a vector's own coordinates are, outside of matrices, reads or norms."""
    if isinstance(u, Linear):
        return False
    return isinstance(u, (Read, Normalise)) or any(map(has_mean, children(u)))


def acting(branch: Vector) -> Iterator[Activate]:
    """Return the activations of a branch that act on what may have a mean, if means are taken."""
    for node in walk(branch):
        if isinstance(node, Activate) and has_mean(node.of):
            yield node

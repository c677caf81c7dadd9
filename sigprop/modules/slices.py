"""Operations that take some entries along an axis, or put terms one after another."""

from __future__ import annotations

from typing import Any

from sigprop.modules.lookup import Terms, filled
from sigprop.modules.patterns import fused
from sigprop.modules.rules.experts import sent
from sigprop.modules.terms import Joined, Term


def sliced(terms: Terms, node: Any) -> Term:
    of, *rest = node.args
    axis, start, stop, step = filled(rest, 0, None, None, 1)
    shape = of.meta["val"].shape
    axis %= len(shape)
    if step != 1:
        return terms.unknown(node)
    ends = range(shape[axis])[slice(start, stop)]
    return terms.part(node, of, axis, ends.start, ends.stop)


def selected(terms: Terms, node: Any) -> Term:
    of, axis, index = node.args
    length = of.meta["val"].shape[axis]
    return terms.part(
        node, of, axis % len(of.meta["val"].shape), index % length, index % length + 1
    )


def indexed(terms: Terms, node: Any) -> Term:
    """A run of fixed indices along one axis is a slice."""
    of, given = node.args[:2]
    axes = [axis for axis, index in enumerate(given) if index is not None]
    if axes == [0] and not terms.graph.constant(given[0]):
        return sent(terms, node)
    if len(axes) != 1 or not terms.graph.constant(given[axes[0]]):
        return terms.unknown(node)
    length = of.meta["val"].shape[axes[0]]
    chosen = [int(i) % length for i in terms.graph.value(given[axes[0]]).flatten()]
    if chosen != list(range(chosen[0], chosen[0] + len(chosen))):
        return terms.unknown(node)
    return terms.part(node, of, axes[0], chosen[0], chosen[-1] + 1)


def joined(terms: Terms, node: Any) -> Term:
    tensors = node.args[0]
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    parts = tuple(map(terms.term, tensors))
    return fused(Joined(node, parts, axis % len(node.meta["val"].shape)), terms.graph)

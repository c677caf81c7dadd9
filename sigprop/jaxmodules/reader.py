"""A jaxpr's operations as terms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jax

from sigprop.jaxmodules.axes import FEATURES, TOKENS, Labels, Side, laid_out, of_input, of_parameter
from sigprop.jaxmodules.nodes import INPUT, LAYOUT, PARAMETER, Graph, Node, below, number_of
from sigprop.jaxmodules.operations import TERMS
from sigprop.modules.terms import Fixed, Part, Source, Term, Unknown, Weight


class Reader:
    """Turns a graph's nodes into terms. axes: what every axis of a live node is; held: terms that
    are one where what they are made of is one."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.axes: dict[Node, Labels] = {}
        self.held: dict[Any, Term] = {}
        self._terms: dict[Node, Term] = {}
        self._views: dict[Any, Node] = {}
        self._numbers: dict[Node, float | None] = {}
        wanted = below(graph.named_outputs.values())
        for node in graph.nodes:  # in order, so that nothing recurses
            if node in wanted:
                self.term(node)
        for node, term in self._terms.items():
            term.uses += sum(
                self._terms[user] is not term for user in node.users if user in self._terms
            )

    @property
    def terms(self) -> Iterable[Term]:
        """Every node's term."""
        return self._terms.values()

    def term(self, node: Node) -> Term:
        """Return the term of a node."""
        if node not in self._terms:
            self._terms[node] = self._make(node)
            self.axes.setdefault(node, (None,) * len(node.shape))
        return self._terms[node]

    def _make(self, node: Node) -> Term:
        if not node.live:
            return Fixed(node)
        if node.operation == PARAMETER:
            self.axes[node] = of_parameter(node.shape)
            return Weight(node, self.graph.parameters[node])
        if node.operation == INPUT:
            self.axes[node] = of_input(node.shape)
            return Source(node)
        if node.operation in LAYOUT:
            inner = self.term(node.given[0])
            self.axes[node] = laid_out(node, self.axes[node.given[0]])
            return inner
        make = TERMS.get(node.operation)
        return make(self, node) if make is not None else self.unknown(node)

    def unknown(self, node: Node) -> Unknown:
        """Return the term of an operation without a rule, or of one that it is computed from."""
        name = node.operation
        if name == "output":
            name = node.given[0].operation
        given = [self.term(one) for one in node.given]
        first = next((term for term in given if isinstance(term, Unknown)), None)
        return first or Unknown(node, name, tuple(given))

    def number(self, node: Node) -> float | None:
        """Return a constant's value where all its entries are equal."""
        if node.live:
            return None
        if node not in self._numbers:
            self._numbers[node] = None
            if not jax.numpy.issubdtype(node.dtype, jax.dtypes.extended):
                self._numbers[node] = number_of(self.graph.value(node))
        return self._numbers[node]

    def view(self, node: Node, order: Sequence[int]) -> Node:
        """Return a node with its axes in another order."""
        if tuple(order) == tuple(range(len(node.shape))):
            return node
        if (node, tuple(order)) not in self._views:
            shape = tuple(node.shape[axis] for axis in order)
            turned = Node("transpose", (node,), shape, node.dtype, node.live)
            turned.run = lambda value: jax.numpy.transpose(value, order)
            turned.path, turned.owner, turned.source = node.path, node.owner, node.source
            self._views[node, tuple(order)] = turned
        return self._views[node, tuple(order)]

    def order(self, node: Node) -> tuple[int, ...]:
        """Return the order of axes in which features come last."""
        labels = self.axes[node]
        axes = range(len(node.shape))
        if any(isinstance(label, Side) for label in labels):  # scores stay as they are
            return (*axes,)
        return (
            *(axis for axis in axes if labels[axis] != FEATURES),
            *(axis for axis in axes if labels[axis] == FEATURES),
        )

    def heads(self, node: Node, labels: Labels) -> tuple[int, ...]:
        """Return the order of axes of heads: heads, then tokens, then a head's features."""
        axes = range(len(node.shape))
        last = max((axis for axis in axes if labels[axis] == FEATURES), default=None)
        tokens = [k for k in axes if labels[k] == TOKENS and node.shape[k] > 1]
        rest = [axis for axis in axes if axis not in tokens and axis != last]
        return (*rest, *tokens, *(() if last is None else (last,)))

    def at(self, node: Node) -> Node:
        """Return a node whose axes are known, features last."""
        return self.view(node, self.order(node))

    def rows(self, node: Node, *, flat: bool = False) -> Node:
        """Return a node with features last and axes of one entry left out; flat: a row a token."""
        of = self.at(node)
        shape = (*(size for size in of.shape[:-1] if size > 1), of.shape[-1])
        shape = (of.size // of.shape[-1], of.shape[-1]) if flat else shape
        if shape == of.shape:
            return of
        made = Node("reshape", (of,), shape, of.dtype, of.live)
        made.run = lambda value: value.reshape(shape)
        made.path, made.owner, made.source = of.path, of.owner, of.source
        return made

    def part(self, node: Node, of: Node, axis: int, *, start: int, stop: int) -> Term:
        """Return some entries along an axis; all of them are the term itself."""
        self.axes[node] = self.axes[of]
        inner = self.term(of)
        length = of.shape[axis]
        if stop - start == length:
            return inner
        order = self.order(of)
        whole = tuple(of.shape[k] for k in order)
        return Part(self.at(node), inner, order.index(axis), start, stop, length, whole)

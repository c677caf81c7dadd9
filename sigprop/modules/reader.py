"""A graph's nodes as terms."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from numpy.typing import NDArray

from sigprop.modules.exporting import Graph
from sigprop.modules.operations import TERMS, UNARY
from sigprop.modules.pointwise import Expression, X
from sigprop.modules.rules.common import LAYOUT, applied, drops, named
from sigprop.modules.rules.reductions import of_both
from sigprop.modules.terms import Fixed, Part, Source, Term, Unknown, Weight

DEFAULTS: dict[str, list[float]] = {
    "elu": [1.0, 1.0, 1.0],
    "celu": [1.0],
    "softshrink": [0.5],
    "hardshrink": [0.5],
    "threshold": [math.nan, math.nan],
    "leaky_relu": [0.01],
    "hardtanh": [-1.0, 1.0],
    "clamp": [-math.inf, math.inf],
    "clamp_min": [-math.inf],
    "clamp_max": [math.inf],
    "softplus": [1.0, 20.0],
}
"""Numbers that operations have where none is given."""


class Reader:
    """Turns a graph's nodes into terms."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._terms: dict[Any, Term] = {}
        for node in graph.nodes:  # in order, so that nothing recurses deeply
            if isinstance(node.meta.get("val"), torch.Tensor):
                self.term(node)
        for node, term in self._terms.items():
            term.uses += sum(
                self._terms[user] is not term for user in node.users if user in self._terms
            )

    @property
    def terms(self) -> Iterable[Term]:
        """Every node's term."""
        return self._terms.values()

    def term(self, node: Any) -> Term:
        """Return the term of a node."""
        if node not in self._terms:
            self._terms[node] = self._make(node)
        return self._terms[node]

    def _make(self, node: Any) -> Term:
        if self.graph.constant(node):
            return Fixed(node)
        if node in self.graph.parameters:
            return Weight(node, self.graph.parameters[node])
        if node.op == "placeholder":
            return Source(node)
        name = named(node)
        if name == "getitem":
            return self._chosen(node)
        if name in LAYOUT and not drops(node):
            return self._laid_out(node, self.term(node.args[0]))
        if name in UNARY:
            return self._unary(name, node)
        make = TERMS.get(name)
        return make(self, node) if make is not None else self.unknown(node)

    def _laid_out(self, node: Any, of: Term) -> Term:
        """The same numbers; of an input whose rows are others now (an image that is flattened), the
        input as it is laid out here."""
        if not isinstance(of, Source) or np.array_equal(self._rows(node), self._rows(of.node)):
            return of
        return Source(node)

    def _rows(self, node: Any) -> NDArray[np.float64]:
        value = self.graph.array(node)
        return value.reshape(-1, value.shape[-1] if value.ndim else 1)

    def unknown(self, node: Any) -> Unknown:
        """Return the term of an operation without a rule."""
        return Unknown(node, named(node), tuple(self.term(n) for n in node.all_input_nodes))

    def number(self, given: Any) -> float | None:
        """Return a plain number, or a fixed tensor's value where all its entries are equal."""
        if isinstance(given, (int, float)):
            return float(given)
        if isinstance(given, torch.fx.Node) and self.graph.constant(given):
            value = self.graph.value(given)
            if isinstance(value, (int, float)):
                return float(value)
            if value.numel() and bool((value == value.flatten()[0]).all()):
                return float(value.flatten()[0])
        return None

    def _unary(self, name: str, node: Any) -> Term:
        numbers: list[float] = []
        if name == "gelu":
            numbers = [float(node.kwargs.get("approximate") == "tanh" or "tanh" in node.args[1:])]
        elif name in DEFAULTS:
            given = [self.number(argument) for argument in node.args[1:]]
            given += [None] * (len(DEFAULTS[name]) - len(given))
            numbers = [
                default if value is None else value
                for value, default in zip(given, DEFAULTS[name], strict=True)
            ]
        return applied(node, Expression(name, (X, *numbers)), self.term(node.args[0]))

    def _chosen(self, node: Any) -> Term:
        """One of the outputs of split, chunk, unbind."""
        source, index = node.args
        name = named(source)
        if name in ("var_mean", "std_mean"):
            return of_both(self, node)
        if name not in ("split", "split_with_sizes", "chunk", "unbind"):
            return self.unknown(node)
        of = source.args[0]
        shape = tuple(of.meta["val"].shape)
        axis = source.args[2] if len(source.args) > 2 else source.kwargs.get("dim", 0)
        if name == "unbind":
            axis = source.args[1] if len(source.args) > 1 else source.kwargs.get("dim", 0)
            return self.part(node, of, axis % len(shape), index, index + 1)
        axis %= len(shape)
        sizes = [v.shape[axis] for v in source.meta["val"]]
        start = sum(sizes[:index])
        return self.part(node, of, axis, start, start + sizes[index])

    def part(self, node: Any, of: Any, axis: int, start: int, stop: int) -> Term:
        """Return some entries along an axis; all of them are the term itself."""
        whole = tuple(of.meta["val"].shape)
        inner = self.term(of)
        if stop - start == whole[axis]:
            return inner
        return Part(node, inner, axis, start, stop, whole[axis], whole)

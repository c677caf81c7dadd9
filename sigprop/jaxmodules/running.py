"""A graph run on weights, fresh ones or those a module holds, and differentiated at its states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sigprop.jaxmodules.building import Made
from sigprop.jaxmodules.drawing import DRAW
from sigprop.jaxmodules.nodes import Graph, Node, below, evaluate
from sigprop.runtime.compiling import jit


class Ran(NamedTuple):
    """Values of the kept nodes; the gradients of z by state and by parameter."""

    kept: list[Any]
    states: list[Any]
    weights: dict[str, Any]


def fresh(made: Made) -> Any:
    """Return a function of a seed to the constructor's arrays, drawn with every key folded with the
    seed: keys that were equal stay so."""
    graph = made.graph
    draws = [node for node in below(graph.leaves) if node.operation == DRAW]
    fixed = [node for node in below(graph.leaves) if not node.live]
    evaluate(fixed, graph.values)
    held = {node: graph.values[node] for node in fixed}

    def draw(seed: Any) -> list[Any]:
        values = dict(held)
        for node in draws:
            if not node.given[0].live:
                values[node] = _bits(node, held[node.given[0]], seed)
        evaluate(graph.leaves, values)
        return [values[node] for node in graph.leaves]

    return draw


def _bits(node: Node, keys: Any, seed: Any) -> Any:
    assert node.run is not None
    flat = jax.vmap(lambda key: jax.random.fold_in(key, seed))(keys.reshape(-1))
    return node.run(flat.reshape(keys.shape))


def held(made: Made) -> list[Any]:
    """Return the arrays that a module holds."""
    evaluate(made.graph.leaves, made.graph.values)
    return [made.graph.values[node] for node in made.graph.leaves]


def named(made: Made, graph: Graph, arrays: Sequence[Any]) -> dict[str, Any]:
    """Return the parameters that the outputs need by name, rows of stacked ones by their own."""
    by_name = dict(zip(made.opened.names, arrays, strict=True))
    needed = below(graph.named_outputs.values())
    found: dict[str, Any] = {}
    for node, name in graph.parameters.items():
        if node in needed:
            whole, index = graph.rows.get(name, (name, None))
            found[name] = by_name[whole] if index is None else by_name[whole][index]
    return found


@dataclass(frozen=True)
class Runner:
    """Runs a graph. states: where gradients are taken; kept: whose values are returned; top: what
    the read-out sees."""

    graph: Graph
    states: Sequence[Node]
    kept: Sequence[Node]
    top: Node

    def compiled(self) -> Any:
        """Return a function of parameters by name and read-out vectors v to ``Ran``, of
        z = sum of v times what is read out."""
        graph = self.graph
        constants = [node for node in below([*self.kept, self.top]) if not node.live]
        evaluate(constants, graph.values)
        roots = [self._root(node) for node in self.states]

        def z(weights: Mapping[str, Any], shifts: Sequence[Any], v: Any) -> tuple[Any, Any]:
            values = {node: graph.values[node] for node in constants}
            values |= {node: graph.values[node] for node in graph.nodes if _is_input(graph, node)}
            values |= {n: weights[name] for n, name in graph.parameters.items() if name in weights}
            for root, shift in zip(roots, shifts, strict=True):  # in order: each needs those before
                if root not in values:
                    evaluate([root], values)
                values[root] = values[root] + shift
            evaluate([*self.kept, self.top], values)
            return (v * values[self.top].reshape(v.shape)).sum(), [values[n] for n in self.kept]

        def run(weights: Mapping[str, Any], v: Any) -> Ran:
            zeros = [jnp.zeros(root.shape, root.dtype) for root in roots]
            gradient = jax.grad(z, argnums=(0, 1), has_aux=True)
            (of_weights, of_states), kept = gradient(weights, zeros, v)
            turned = [
                self._turned(node, root, array)
                for node, root, array in zip(self.states, roots, of_states, strict=True)
            ]
            return Ran(kept, turned, of_weights)

        return jit(())(run)

    def _root(self, node: Node) -> Node:
        """The node of the graph that a view shows."""
        inside = set(self.graph.nodes)
        while node not in inside:
            (node,) = node.given
        return node

    def _turned(self, node: Node, root: Node, array: Any) -> Any:
        """What a view shows of an array in place of its root."""
        if node is root:
            return array
        values = {root: array}
        evaluate([node], values)
        return values[node]


def _is_input(graph: Graph, node: Node) -> bool:
    return not node.given and node.live and node in graph.values

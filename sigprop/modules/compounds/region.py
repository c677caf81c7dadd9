"""A part of a graph as a function of what flows into it: run, not understood."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from numpy.typing import NDArray
from torch.fx.node import map_arg  # pyright: ignore[reportMissingImports]

from sigprop.errors import InputError
from sigprop.modules.exporting import Graph, call
from sigprop.modules.terms import place

Tokens = NDArray[np.float64]


class Region:
    """The operations between some nodes and one that is computed from them, as a function of
    arrays [T, features]. Two are equal where the operations and their numbers are."""

    def __init__(self, graph: Graph, inputs: Sequence[Any], output: Any, tokens: int) -> None:
        """Raises ``InputError`` where the output depends on parameters, or where tokens lie in a
        node is not plain."""
        self.graph, self.inputs, self.output, self.tokens = graph, (*inputs,), output, tokens
        self._axes = [_axis(node, tokens) for node in (*inputs, output)]
        self.nodes = self._between()
        self.text = self._described()  # no ``compared``: a program that calls it is not kept

    @property
    def features(self) -> int:
        """Of the output."""
        return int(np.prod(place(self.output).shape)) // self.tokens

    def __call__(self, *given: Tokens) -> Tokens:
        """Run the operations in float32, as the module does."""
        with torch.inference_mode():
            return self._run(given)

    def _run(self, given: Sequence[Tokens]) -> Tokens:
        values = {
            node: _laid_out(torch.tensor(x).float(), place(node).shape, axis)
            for node, x, axis in zip(self.inputs, given, self._axes, strict=False)
        }
        for node in self.nodes:
            args, kwargs = map_arg(
                (node.args, node.kwargs),
                lambda inside: values[inside] if inside in values else self.graph.value(inside),
            )
            values[node] = call(node.target, args, kwargs)
        out = values[self.output].detach().movedim(self._axes[-1], 0)
        return out.reshape(self.tokens, -1).double().numpy()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Region) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def _between(self) -> tuple[Any, ...]:
        """Every node that is computed, in order."""
        found: dict[Any, None] = {}
        below = [(self.output, False)]
        while below:
            node, done = below.pop()
            if done:
                found[node] = None
            elif node not in found and node not in self.inputs and not self.graph.constant(node):
                if node.op == "placeholder":
                    name = self.graph.parameters.get(node, node.name)
                    raise InputError(
                        f"{name}: {place(self.output).path} is tried on Gaussian tokens, and "
                        f"depends on it; accepted: operations without parameters"
                    )
                below += [(node, True), *((inside, False) for inside in node.all_input_nodes)]
        return (*found,)

    def _described(self) -> str:
        """Operations, their arguments and what is constant in them, as text."""
        names = {node: f"%{k}" for k, node in enumerate((*self.inputs, *self.nodes))}

        def name(node: Any) -> str:
            return names[node] if node in names else _digest(self.graph.value(node))

        lines = [
            f"{getattr(node.target, 'code', node.target)}"
            f"{map_arg((node.args, tuple(sorted(node.kwargs.items()))), name)}"
            for node in self.nodes
        ]
        return "\n".join([*(str(place(node).shape) for node in self.inputs), *lines])


def _digest(value: Any) -> str:
    """Return what tells a constant from others."""
    if not isinstance(value, torch.Tensor):
        return repr(value)
    entries = hashlib.sha256(value.detach().contiguous().numpy().tobytes()).hexdigest()
    return f"{value.dtype}{tuple(value.shape)}{entries}"


def _axis(node: Any, tokens: int) -> int:
    """Return the axis of a node's tensor along which tokens lie; raises ``InputError`` where
    several might be."""
    shape = place(node).shape
    if len(shape) >= 2 and shape[-2] == tokens and all(size == 1 for size in shape[:-2]):
        return len(shape) - 2
    found = [axis for axis, size in enumerate(shape) if size == tokens]
    if len(found) != 1:
        raise InputError(
            f"{place(node).path}: {list(shape)}, of which {len(found)} axes have the {tokens} "
            f"tokens; accepted to be tried on Gaussian tokens: one (another number of tokens)"
        )
    return found[0]


def _laid_out(x: Any, shape: tuple[int, ...], axis: int) -> Any:
    """Lay tokens [T, features] out as a node has them."""
    rest = shape[:axis] + shape[axis + 1 :]
    return x.reshape(x.shape[0], *rest).movedim(0, axis)

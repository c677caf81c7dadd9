"""A module of flax or equinox to read: its constructor and its call as graphs, nothing run that a
parameter depends on, and the law of every parameter."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from sigprop.errors import InputError, short
from sigprop.jaxmodules.drawing import DRAW, Drawn, Draws
from sigprop.jaxmodules.flattening import Flattener
from sigprop.jaxmodules.libraries import Library, Opened, library_of
from sigprop.jaxmodules.nodes import INPUT, PARAMETER, Graph, Node
from sigprop.modules.laws import Built, Parameter, measured

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and named arguments."""


ROUNDING = 1e-6  # of its deviation: a mean that float32 leaves


@dataclass(frozen=True)
class Made:
    """A module that was opened: the constructor's graph, whose outputs are the leaves of
    ``opened``; make: what constructs it, None where it came as it is."""

    opened: Opened
    graph: Graph
    make: Callable[[], Any] | None

    def parameters(self) -> dict[str, Node]:
        """Return every parameter's node in the constructor's graph."""
        nodes = zip(self.opened.names, self.opened.kept, self.graph.leaves, strict=True)
        return {name: node for name, kept, node in nodes if self.is_parameter(kept, node)}

    def is_parameter(self, kept: bool | None, node: Node) -> bool:
        """Tell whether a leaf is a parameter; where the library does not say, what is drawn or has
        equal entries is one."""
        if kept is not None:
            return kept
        if not jax.numpy.issubdtype(node.dtype, jax.numpy.floating):
            return False
        return node.live or self.opened.given or _uniform(self.graph.value(node))


def _uniform(value: Any) -> bool:
    flat = np.asarray(value).ravel()
    return bool((flat == flat[:1]).all())


def example_of(example: Any) -> Call:
    """Read what stands for a call: an array, a tuple of arguments, or a dict of named ones."""
    if isinstance(example, (jax.Array, np.ndarray)):
        return (example,), {}
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, (tuple, list)):
        return tuple(example), {}
    raise InputError(
        f"example={short(example)}; accepted: an array, a tuple of arguments, or a dict of them"
    )


def read_module(model: Any, example: Any) -> tuple[Built, Graph]:
    """Trace a module's constructor and its call on the example.

    model: a function that returns a module, or a module. Raises ``InputError`` where either
    raises, or what came is no module.
    """
    call = example_of(example)
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        made = _made(model, call)
        graph = _called(made, call)
    return _built(made, graph), graph


def _made(model: Any, call: Call) -> Made:
    """Trace the constructor, nothing drawn."""
    held: list[Opened] = []
    given = library_of(model) is not None

    def construct() -> list[Any]:
        module = model if given else model()
        library: Library | None = library_of(module)
        if library is None:
            if any(base.__module__.startswith("torch.") for base in type(module).__mro__):
                raise InputError(
                    f"example={short(call)}; accepted: of a module of torch, a tensor, a tuple of "
                    f"arguments, or a dict of them"
                )
            raise InputError(
                f"model={short(type(module))}; accepted: a module of flax.nnx, flax.linen or "
                f"equinox, or a function of one"
            )
        opened, leaves = library.open(module, call, given)
        held.append(opened)
        return leaves

    try:
        jaxpr = jax.make_jaxpr(construct)()
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"build: {type(error).__name__}: {short(_first(error))}; accepted: a function without "
            f"arguments that returns a module of flax or equinox"
        ) from error
    graph = Graph()
    graph.leaves = Flattener(graph, frozenset({DRAW})).closed(jaxpr, [])
    make = None if held[0].given else model if not given else lambda: model
    return Made(held[0], graph, make)


def half(graph: Graph) -> tuple[str, ...]:
    """Say what half precision parameters are of, if any."""
    kinds = {str(node.dtype) for node in graph.parameters} & {"float16", "bfloat16"}
    return tuple(f"{kind} parameters: read without rounding, run with it" for kind in sorted(kinds))


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def _called(made: Made, call: Call) -> Graph:
    """Trace the call: parameters and the example's floating-point arrays are what it depends on."""
    arrays, rebuild = _split(call)
    leaves = made.graph.leaves
    avals = [jax.ShapeDtypeStruct(node.shape, node.dtype) for node in leaves]
    try:
        jaxpr, returned = jax.make_jaxpr(
            lambda held, given: made.opened.call(held, rebuild(given)), return_shape=True
        )(avals, arrays)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"model: {type(error).__name__}: {short(_first(error), 200)}; accepted: a module that "
            f"jax traces on the example (no branch that depends on values)"
        ) from error
    graph = Graph()
    flat = Flattener(graph)
    parameters = made.parameters()
    nodes: list[Node] = []
    for name, node in zip(made.opened.names, leaves, strict=True):
        if name in parameters:
            nodes.append(flat.leaf(PARAMETER, node, name))
        else:
            nodes.append(flat.constant(made.graph.value(node)))
    for array in arrays:
        if jax.numpy.issubdtype(array.dtype, jax.numpy.floating):
            nodes.append(flat.leaf(INPUT, array))
            graph.values[nodes[-1]] = array
        else:
            nodes.append(flat.constant(array))
    graph.leaves = flat.closed(jaxpr, nodes)
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(returned)]
    graph.names = [_place(path) for path in paths]
    return graph


def _place(path: Any) -> str:
    """Where an output is in what the module returns: 'logits', '0.1'; alone: 'output'."""
    return re.sub(r"\W+", ".", jax.tree_util.keystr(path)).strip(".") or "output"


def _split(call: Call) -> tuple[list[Any], Callable[[Sequence[Any]], Call]]:
    """The arrays of a call, and what puts others in their place."""
    leaves, tree = jax.tree.flatten(call)
    at = [k for k, leaf in enumerate(leaves) if isinstance(leaf, (jax.Array, np.ndarray))]

    def rebuild(arrays: Sequence[Any]) -> Call:
        filled = list(leaves)
        for k, array in zip(at, arrays, strict=True):
            filled[k] = array
        return jax.tree.unflatten(tree, filled)

    return [jax.numpy.asarray(leaves[k]) for k in at], rebuild


def _built(made: Made, graph: Graph) -> Built:
    """The laws of all parameters, rows of stacked ones too."""
    draws = Draws(made.graph)
    nodes = made.parameters()
    parameters = {name: _parameter(name, node, draws) for name, node in nodes.items()}
    firsts: dict[Any, str] = {}
    copies = {
        name: firsts.setdefault((draws.of(node).same, node.shape), name)
        if node.live or not _uniform(made.graph.value(node))
        else name
        for name, node in nodes.items()
    }
    for name, (stacked, index) in graph.rows.items():
        node, drawn = nodes[stacked], draws.of(nodes[stacked])
        parameters[name] = _row(name, node, index, draws)
        copies[name] = f"{copies[stacked]}[{_first_row(node, drawn, index, draws)}]"
    same = {name: name for name in parameters}
    return Built(made, made.opened.kind, parameters, same, copies)


def _first_row(node: Node, drawn: Drawn, index: int, draws: Draws) -> int:
    """The first row of a stacked parameter that starts as this one does."""
    if node.operation == "stack":
        same = [draws.of(given).same for given in node.given]
        return same.index(same[index])
    return drawn.rows[index] if drawn.rows else index


def _parameter(name: str, node: Node, draws: Draws) -> Parameter:
    drawn = draws.of(node)
    law = drawn.law if drawn.law.known and drawn.law.kind not in ("bits", "sign") else None
    if law is not None and abs(law.mean) < ROUNDING * math.sqrt(law.variance):
        law = replace(law, mean=0.0)
    if law is None and not drawn.pieces:
        law = measured(
            name, _entries(draws.graph.value(node)), "" if not node.live else drawn.law.source
        )
    return Parameter(name, node.shape, law or drawn.law, drawn.pieces)


def _row(name: str, node: Node, index: int, draws: Draws) -> Parameter:
    """A row of a stacked parameter as a parameter of its own."""
    if node.operation == "stack":
        whole = _parameter(name, node.given[index], draws)
        return Parameter(name, whole.shape, whole.law, whole.pieces)
    whole = _parameter(name, node, draws)
    law = whole.law_of(index, index + 1, 0)
    if law.kind == "measured":
        value = np.asarray(draws.graph.value(node))[index]
        law = measured(name, _entries(value), law.source.partition(": ")[2])
    return Parameter(name, node.shape[1:], law)


def _entries(value: Any) -> NDArray[np.float64]:
    return np.asarray(value).astype(np.float64).ravel()

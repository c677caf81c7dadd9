"""A module's graph of ATen operations, and the values of what in it depends on no parameter.

``torch.export`` traces the module without memory; whatever follows from the example's integers,
from buffers and from constants alone (masks, positions, angles) is evaluated when it is asked for.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch.overrides import TorchFunctionMode  # pyright: ignore[reportMissingImports]

from sigprop.errors import InputError, short
from sigprop.modules.building import Built


@dataclass(frozen=True)
class Example:
    """The arguments that a module is called with."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def to(self, device: str) -> Example:
        """The same arguments on another device."""
        move = torch.utils._pytree.tree_map
        tensors = lambda x: x.to(device) if isinstance(x, torch.Tensor) else x  # noqa: E731
        return Example(move(tensors, self.args), move(tensors, self.kwargs))


def example_of(example: Any) -> Example:
    """Read what stands for a call: a tensor, a tuple of arguments, or a dict of named ones."""
    if isinstance(example, torch.Tensor):
        return Example((example,), {})
    if isinstance(example, Mapping):
        return Example((), dict(example))
    if isinstance(example, (tuple, list)):
        return Example(tuple(example), {})
    raise InputError(
        f"example={short(example)}; accepted: a tensor, a tuple of arguments, or a dict of them"
    )


@dataclass
class Graph:
    """nodes: of torch.fx, in order; parameters: placeholder to name; tensors: placeholder to value,
    of inputs, buffers and constants; inputs: placeholders of the example's floating-point
    tensors."""

    module: Any
    parameters: dict[Any, str]
    tensors: dict[Any, Any]
    inputs: set[Any]
    outputs: list[Any]
    _values: dict[Any, Any] = field(default_factory=dict)
    _live: dict[Any, bool] = field(default_factory=dict)

    @property
    def nodes(self) -> Any:
        """Every node, in order."""
        return self.module.graph.nodes

    def constant(self, node: Any) -> bool:
        """Tell whether a node depends on no parameter and on no floating-point input."""
        if node not in self._live:
            self._live[node] = (
                node in self.parameters
                or node in self.inputs
                or any(not self.constant(given) for given in node.all_input_nodes)
            )
        return not self._live[node]

    def value(self, node: Any) -> Any:
        """Evaluate a constant node."""
        if node not in self._values:
            self._values[node] = self._evaluate(node)
        return self._values[node]

    def _evaluate(self, node: Any) -> Any:
        if node in self.tensors:
            value = self.tensors[node]
            if isinstance(value, torch.Tensor) and value.is_meta:
                raise InputError(
                    f"{node.name}: a constant without a value; accepted: buffers, and tensors that "
                    f"forward makes of numbers"
                )
            return value
        if node.op == "get_attr":
            return _attribute(self.module, node.target)
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), self.value)
        return call(node.target, args, kwargs)


def _attribute(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module


class _OnProcessor(torch.fx.Interpreter):
    """Runs a graph that was traced without memory on the processor."""

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        return call(target, args, kwargs)


def call(target: Any, args: Any, kwargs: Any) -> Any:
    """Call an operation of a graph with values; regions (without gradients, of a precision) run
    their own graph."""
    inner = [arg for arg in args if isinstance(arg, torch.fx.GraphModule)]
    if inner:
        tensors = args[args.index(inner[0]) + 1 :]
        return _OnProcessor(inner[0]).run(*tensors)
    return target(*map(_here, args), **{name: _here(value) for name, value in kwargs.items()})


def _here(value: Any) -> Any:
    return torch.device("cpu") if isinstance(value, torch.device) else value


@contextlib.contextmanager
def _moved_to_meta(module: Any) -> Iterator[dict[str, Any]]:
    """Take the memory of everything a module holds, and give it back; yields values by name."""
    values: dict[str, Any] = {}
    undo: list[tuple[dict[str, Any], str, Any]] = []
    for path, part in module.named_modules():
        for table in (part._parameters, part._buffers, part.__dict__):
            for name, tensor in list(table.items()):
                if isinstance(tensor, torch.Tensor) and not tensor.is_meta:
                    values[f"{path}.{name}" if path else name] = tensor
                    undo.append((table, name, tensor))
                    table[name] = _meta(tensor)
    try:
        yield values
    finally:
        for table, name, tensor in undo:
            table[name] = tensor


class _Constants(TorchFunctionMode):
    """Keeps the numbers of tensors that ``forward`` makes of them."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[int, Any] = {}
        self.made: list[Any] = []  # kept: an address stands for one tensor only

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.Tensor.__getitem__:
            args = (args[0], self._indices(args[1]))
        out = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.as_tensor) and args:
            self._keep(out, args[0])
        return out

    def _keep(self, made: Any, numbers: Any) -> Any:
        """Note the numbers of a tensor."""
        if not isinstance(numbers, torch.Tensor):
            with contextlib.suppress(TypeError, ValueError):
                self.values[id(made)] = torch.from_numpy(np.array(numbers)).to(made.dtype)
                self.made.append(made)
        return made

    def _indices(self, index: Any) -> Any:
        """Lists of integers as tensors, which torch would make of them unseen."""
        if isinstance(index, tuple):
            return tuple(map(self._indices, index))
        if isinstance(index, list) and index and all(isinstance(i, int) for i in index):
            return self._keep(torch.tensor(index), index)
        return index


def _meta(tensor: Any) -> Any:
    empty = tensor.detach().to("meta")
    return (
        torch.nn.Parameter(empty, tensor.requires_grad)
        if isinstance(tensor, torch.nn.Parameter)
        else empty
    )


def export(built: Built, example: Example) -> Graph:
    """Trace the module on the example, without memory.

    Raises ``InputError`` where torch cannot trace it, with torch's own first line.
    """
    module = built.module
    config = getattr(module, "config", None)
    cached = getattr(config, "use_cache", None)
    with contextlib.ExitStack() as stack:
        if config is not None and cached:
            config.use_cache = False
            stack.callback(setattr, config, "use_cache", cached)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        values = stack.enter_context(_moved_to_meta(module))
        stack.enter_context(torch.device("meta"))
        constants = stack.enter_context(_Constants())
        moved = example.to("meta")
        try:
            program = torch.export.export(module, moved.args, moved.kwargs, strict=False)
        except Exception as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else ""
            raise InputError(
                f"model: torch.export: {type(error).__name__}: {short(first, 200)}; accepted: a "
                f"module that it traces on the example (no branch that depends on values)"
            ) from error
    for name, constant in program.constants.items():
        values.setdefault(name, constants.values.get(id(constant), constant))
    return _graph(program, values, example)


def _graph(program: Any, values: dict[str, Any], example: Example) -> Graph:
    signature = program.graph_signature
    parameters = signature.inputs_to_parameters
    held = signature.inputs_to_buffers | signature.inputs_to_lifted_tensor_constants
    leaves = torch.utils._pytree.tree_leaves((example.args, example.kwargs))
    module = program.graph_module
    nodes = [node for node in module.graph.nodes if node.op == "placeholder"]
    users = [n for n in nodes if n.name not in parameters and n.name not in held]
    named = {node: parameters[node.name] for node in nodes if node.name in parameters}
    tensors: dict[Any, Any] = {}
    for node in nodes:
        if node.name in held:
            tensors[node] = values.get(held[node.name])
    tensors |= dict(zip(users, leaves, strict=True))
    inputs = {
        node
        for node in users
        if isinstance(tensors[node], torch.Tensor) and tensors[node].is_floating_point()
    }
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    outputs = [node for node in output.args[0] if isinstance(node, torch.fx.Node)]
    return Graph(module, named, tensors, inputs, outputs)

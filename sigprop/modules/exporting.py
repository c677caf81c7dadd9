"""A module's graph of ATen operations, and the values of what in it depends on no parameter.

``torch.export`` traces the module without memory; whatever follows from the example's integers,
from buffers and from constants alone (masks, positions, angles) is evaluated when it is asked for.
"""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from numpy.typing import NDArray
from torch._subclasses.fake_tensor import (  # pyright: ignore[reportMissingImports]
    FakeTensorMode,
)
from torch.fx.experimental.symbolic_shapes import (  # pyright: ignore[reportMissingImports]
    ShapeEnv,
)
from torch.fx.node import map_arg  # pyright: ignore[reportMissingImports]
from torch.utils import _pytree  # pyright: ignore[reportMissingImports]

from sigprop.errors import InputError, short
from sigprop.modules.laws import Built
from sigprop.modules.terms import Place, place


@dataclass(frozen=True)
class Example:
    """The arguments that a module is called with."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def mapped(self, function: Callable[[Any], Any]) -> Example:
        """Return the same arguments with every tensor put through a function."""

        def change(value: Any) -> Any:
            return function(value) if isinstance(value, torch.Tensor) else value

        mapped = _pytree.tree_map
        return Example(mapped(change, self.args), mapped(change, self.kwargs))


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


def _array(tensor: Any) -> NDArray[Any]:
    """Booleans, or numbers in float64."""
    value = tensor.detach()
    return np.asarray((value if value.dtype == torch.bool else value.double()).numpy())


@place.register
def _(node: torch.fx.Node) -> Place:
    paths = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values() if path]
    return Place(tuple(node.meta["val"].shape), paths[-1] if paths else str(node))


@dataclass
class Graph:
    """nodes: of torch.fx, in order; parameters: placeholder to name; tensors: placeholder to value,
    of inputs, buffers and constants; inputs: placeholders of the example's floating-point
    tensors."""

    library: ClassVar[str] = "torch"
    module: Any
    parameters: dict[Any, str]
    tensors: dict[Any, Any]
    inputs: set[Any]
    named_outputs: dict[str, Any]
    _values: dict[Any, Any] = field(default_factory=dict)
    _live: dict[Any, bool] = field(default_factory=dict)

    @property
    def nodes(self) -> Any:
        """Every node, in order."""
        return self.module.graph.nodes

    @property
    def outputs(self) -> list[Any]:
        """Every output."""
        return list(self.named_outputs.values())

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

    def array(self, node: Any) -> NDArray[Any]:
        """Return a constant's or an input's value: booleans, or numbers in float64."""
        return _array(self.value(node))

    def given(self, node: Any, values: Mapping[Any, NDArray[Any]]) -> NDArray[Any]:
        """Evaluate a node that depends on parameters from values of these, or of what is computed
        from them; raises ``LookupError`` where it depends on others, too."""
        tensors = {place: torch.tensor(value).float() for place, value in values.items()}
        return _array(self._given(node, tensors))

    def _given(self, node: Any, values: Mapping[Any, Any]) -> Any:
        if node in values:
            return values[node]
        if self.constant(node):
            return self.value(node)
        if node.op == "placeholder":
            raise LookupError(node.name)
        args, kwargs = map_arg((node.args, node.kwargs), lambda inside: self._given(inside, values))
        return call(node.target, args, kwargs)

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
        args, kwargs = map_arg((node.args, node.kwargs), self.value)
        return call(node.target, args, kwargs)


def _attribute(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module


def call(target: Any, args: Any, kwargs: Any) -> Any:
    """Call an operation of a graph with values; regions (without gradients, of a precision) run
    their own graph."""
    inner = [arg for arg in args if isinstance(arg, torch.fx.GraphModule)]
    if inner:
        return torch.fx.Interpreter(inner[0]).run(*args[args.index(inner[0]) + 1 :])
    return target(*args, **kwargs)


@contextlib.contextmanager
def _without_memory(module: Any, mode: FakeTensorMode) -> Iterator[None]:
    """Let the module's parameters go without memory, and give them back."""
    undo: list[tuple[dict[str, Any], str, Any]] = []
    fakes: dict[int, Any] = {}
    for part in module.modules():
        for name, tensor in part._parameters.items():
            if tensor is not None:
                undo.append((part._parameters, name, tensor))
                fakes.setdefault(id(tensor), _fake(tensor, mode))
    for table, name, tensor in undo:
        table[name] = fakes[id(tensor)]
    try:
        yield
    finally:
        for table, name, tensor in undo:
            table[name] = tensor


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Let torch log nothing of what is refused in one line, and let its encoder take a mask as it
    is given (whether it is causal would depend on its values)."""
    encoder: Any = torch.nn.modules.transformer
    before = logging.root.manager.disable
    detect = encoder._detect_is_causal_mask
    encoder._detect_is_causal_mask = _said_to_be_causal
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
        encoder._detect_is_causal_mask = detect


def _said_to_be_causal(mask: Any, is_causal: bool | None = None, size: Any = None) -> bool:
    return bool(is_causal)


def _fake(tensor: Any, mode: FakeTensorMode) -> Any:
    with mode:
        empty = torch.empty(tensor.shape, dtype=tensor.dtype)
    return torch.nn.Parameter(empty, tensor.requires_grad)


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
        stack.enter_context(_quietly())
        mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
        stack.enter_context(_without_memory(module, mode))
        given = example.mapped(mode.from_tensor)
        try:
            program = torch.export.export(module, given.args, given.kwargs, strict=False)
        except Exception as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else ""
            raise InputError(
                f"model: torch.export: {type(error).__name__}: {short(first, 200)}; accepted: a "
                f"module that it traces on the example (no branch that depends on values)"
            ) from error
    return _graph(program, example, _fixed(built))


def _fixed(built: Built) -> dict[str, Any]:
    """Parameters that are numbers: not trained, and drawn by nothing that is known."""
    return {
        name: tensor.detach()
        for name, tensor in built.module.named_parameters(remove_duplicate=False)
        if not (tensor.requires_grad or tensor.is_meta or built.parameters[name].known)
    }


def _graph(program: Any, example: Example, fixed: Mapping[str, Any]) -> Graph:
    signature = program.graph_signature
    parameters = signature.inputs_to_parameters
    held = signature.inputs_to_buffers | signature.inputs_to_lifted_tensor_constants
    leaves = _pytree.tree_leaves((example.args, example.kwargs))
    module = program.graph_module
    nodes = [node for node in module.graph.nodes if node.op == "placeholder"]
    users = [n for n in nodes if n.name not in parameters and n.name not in held]
    named = {node: parameters[node.name] for node in nodes if node.name in parameters}
    tensors = {node: fixed[name] for node, name in named.items() if name in fixed}
    named = {node: name for node, name in named.items() if name not in fixed}
    for node in nodes:
        if node.name in held:
            name = held[node.name]
            known = program.state_dict if name in program.state_dict else program.constants
            tensors[node] = known[name]
    tensors |= dict(zip(users, leaves, strict=True))
    inputs = {
        node
        for node in users
        if isinstance(tensors[node], torch.Tensor) and tensors[node].is_floating_point()
    }
    graph = Graph(module, named, tensors, inputs, _outputs(program))
    graph.named_outputs = {
        name: node for name, node in graph.named_outputs.items() if not graph.constant(node)
    }
    if not graph.named_outputs:
        raise InputError(
            "model: returns no tensor that it computes; accepted: a module that returns its state"
        )
    _without_mutation(graph)
    return graph


def _outputs(program: Any) -> dict[str, Any]:
    """Every output by where it is in what the module returns: 'logits', 'states.0'; one that comes
    alone is 'output'."""
    spec = program.call_spec.out_spec
    leaves = _pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    paths, _ = _pytree.tree_flatten_with_path(leaves)
    (output,) = (node for node in program.graph.nodes if node.op == "output")
    own = output.args[0][-len(paths) :]  # after buffers that are written
    names = [re.sub(r"[^\w]+", ".", _pytree.keystr(path)).strip(".") for path, _ in paths]
    return {
        name or "output": node
        for name, node in zip(names, own, strict=True)
        if isinstance(node, torch.fx.Node)
    }


def _without_mutation(graph: Graph) -> None:
    """Let operations in place return what they write instead (a state that ``x += f(x)`` overwrote
    could not be measured). Raises ``InputError`` for a part of a tensor that is overwritten and
    used again as a whole."""
    order = {node: place for place, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        target = None if graph.constant(node) else _functional(node.target)
        if target is None:
            continue
        whole = _whole(node.args[0])
        if whole is not node.args[0] and any(order[user] > order[node] for user in whole.users):
            raise InputError(
                f"{whole.name}: {node.name} overwrites a part of it, and it is used again; "
                f"accepted: operations in place on whole tensors"
            )
        node.target = target


def _whole(node: Any) -> Any:
    """What a node is a view of."""
    schema = getattr(node.target, "_schema", None)
    returned = schema.returns[0].alias_info if schema is not None and schema.returns else None
    if returned is None or returned.is_write:
        return node
    return _whole(node.args[0])


def _functional(target: Any) -> Any:
    """Return the operation that returns what this one writes into its first argument; None where
    it writes nothing, or there is none."""
    schema = getattr(target, "_schema", None)
    if schema is None or not schema.name.endswith("_") or schema.name.endswith("__"):
        return None
    packet = getattr(torch.ops.aten, schema.name.split("::")[1].removesuffix("_"), None)
    return getattr(packet, schema.overload_name or "default", None)

"""What a module itself computes at every application of its description: its own graph, run on its
own weights, the states read off and differentiated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from sigprop.errors import InputError
from sigprop.inspection.network import (
    READOUT_SEED,
    Floats,
    Network,
    Places,
    about,
    geometry,
    places,
)
from sigprop.modules.exporting import Graph, call
from sigprop.reading.read import Reading

PIECE = 2**16  # entries that stay in a processor's cache


class _Run(torch.fx.Interpreter):
    """Runs an exported graph on given tensors and keeps some nodes' values."""

    def __init__(self, module: Any, kept: set[Any]) -> None:
        super().__init__(module, garbage_collect_values=True)
        self.kept = kept
        self.values: dict[Any, Any] = {}

    def run_node(self, n: Any) -> Any:
        value = super().run_node(n)
        if n in self.kept:
            self.values[n] = value
        return value

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        return call(target, args, kwargs)


def networks(reading: Reading, seeds: Sequence[int], progress: Callable[[], None]) -> list[Network]:
    """Measure the module, once with the weights it holds, or with fresh ones for every seed.

    progress: called after each. Raises ``InputError`` for a module without weights, ``Diverged``
    where a state is not finite.
    """
    found: list[Network] = []
    for seed in seeds:
        module = reading.built.module
        if reading.make is not None:
            torch.manual_seed(seed)
            module = reading.make().eval()
        found.append(measured(reading, module, seed))
        progress()
    return found


def measured(reading: Reading, module: Any, seed: int) -> Network:
    """Return one module's numbers; seed: of the read-out's vectors v."""
    tensors = dict(module.named_parameters(remove_duplicate=False))
    lacking = next((name for name, tensor in tensors.items() if tensor.is_meta), None)
    if lacking is not None:
        raise InputError(f"{lacking}: holds no memory; accepted: a module with weights, to inspect")
    _check_shapes(reading.graph.parameters, tensors)
    at = places(reading)
    written = {node for group in at.writes for _, node in group}
    run = _Run(reading.graph.module, {*at.states, at.top, *written})
    run.run(*_arguments(reading.graph, tensors))
    used = {name: tensors[name] for name in sorted(set(reading.graph.parameters.values()))}
    width, tokens = reading.width, reading.architecture.tokens
    arrays = about(reading, [_array(run.values[node], tokens, width) for node in at.states])
    variance, cosine = geometry(arrays)
    of_states, of_weights = _gradients(reading, run, at, used, seed)
    return Network(
        variance,
        cosine,
        of_states,
        np.stack([_written(run, group, tokens, width) for group in at.writes]),
        {name: _mean_square(tensor) for name, tensor in used.items()},
        of_weights,
    )


def _gradients(
    reading: Reading, run: _Run, at: Places, used: dict[str, Any], seed: int
) -> tuple[Floats, dict[str, float]]:
    """n |dz/dh|^2 / n by state and token, and width times the mean square of dz/dw by parameter, of
    z = n^-1/2 sum_t v_t . h_t."""
    width, tokens = reading.width, reading.architecture.tokens
    generator = torch.Generator().manual_seed(seed + READOUT_SEED)
    final = run.values[at.top].reshape(tokens, width)
    v = torch.randn(tokens, width, generator=generator, dtype=torch.float64).to(final.dtype)
    trained = {name: tensor for name, tensor in used.items() if tensor.requires_grad}
    found = torch.autograd.grad(
        (v * final).sum() / width**0.5,
        [*(run.values[node] for node in at.states), *trained.values()],
        allow_unused=True,
    )
    states, weights = found[: len(at.states)], found[len(at.states) :]
    return np.stack([(_array(g, tokens, width) ** 2).sum(axis=1) for g in states]), {
        name: 0.0 if gradient is None else width * _mean_square(gradient)
        for name, gradient in zip(trained, weights, strict=True)
    }


def _check_shapes(parameters: dict[Any, str], tensors: dict[str, Any]) -> None:
    """Raise ``InputError`` where a module is not the one that was read."""
    for node, name in parameters.items():
        shape, found = tuple(node.meta["val"].shape), tensors.get(name)
        if found is None or tuple(found.shape) != shape:
            came = "missing" if found is None else f"of shape {tuple(found.shape)}"
            raise InputError(f"{name}: {came}; accepted: of shape {shape}, as it was read")


def _arguments(graph: Graph, tensors: dict[str, Any]) -> list[Any]:
    """What the graph is run on; floating-point inputs are leaves that gradients reach."""
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    values = [
        tensors[graph.parameters[node]] if node in graph.parameters else graph.tensors[node]
        for node in placeholders
    ]
    return [
        value.detach().clone().requires_grad_() if node in graph.inputs else value
        for node, value in zip(placeholders, values, strict=True)
    ]


def _array(tensor: Any, tokens: int, width: int) -> Floats:
    return tensor.detach().to(torch.float64).numpy().reshape(tokens, width)


def _mean_square(tensor: Any) -> float:
    """The mean of squared entries, summed in double precision piece by piece: a copy of a large
    parameter would take longer than running the network."""
    pieces = tensor.detach().reshape(-1).split(PIECE)
    total = torch.stack([piece.to(torch.float64).square().sum() for piece in pieces]).sum()
    return float(total / tensor.numel())


def _written(run: _Run, group: Sequence[tuple[float, Any]], tokens: int, width: int) -> Floats:
    arrays = [factor * _array(run.values[node], tokens, width) for factor, node in group]
    total = np.sum(arrays, axis=0)
    return np.asarray((total**2).mean(axis=1))

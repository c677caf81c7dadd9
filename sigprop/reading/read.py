"""A module of torch, flax or equinox as a description: its graph, its stream, every application as
a sub-block."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.structure import Structure
from sigprop.errors import InputError, short
from sigprop.reading.requirements import require
from sigprop.reading.sources import called
from sigprop.tables.table import Table

ARCHITECTURE = {f.name for f in fields(Architecture)} | {
    name for name in vars(Structure) if not name.startswith("_")
}
"""What one asks of an architecture."""


class NotAnArchitecture(InputError, AttributeError):
    """A reading is no architecture, though it holds one."""


@dataclass(frozen=True, repr=False)
class Reading:
    """What was read of a module.

    architecture: its description; applications: what each was read as; width: n; paths: of every
    application, the module that writes; make: the user's function, None where a module was given;
    findings: what stands out, a line each; built: the module with its parameters' laws; graph,
    stream: where every number comes from; means: of every state over features by token [D + 1],
    [T], which the description's states have not; None where they are 0.
    """

    architecture: Architecture
    applications: tuple[Any, ...]
    width: int
    paths: tuple[str, ...]
    make: Callable[[], Any] | None
    findings: tuple[str, ...]
    built: Any
    graph: Any
    stream: Any
    means: Any = None

    @property
    def laws(self) -> Table:
        """Every matrix and bias by kind: its rows of the parameter, its law, its fan-in, how many
        of them differ, how many applications use them."""
        from sigprop.reading.summary import laws

        return laws(self.architecture, self.applications, self.built.copies)

    def __getattr__(self, name: str) -> Any:
        """Say what is meant where a reading is given for its architecture."""
        if name in ARCHITECTURE:
            raise NotAnArchitecture(
                f"architecture: a Reading of {self.architecture.name}; accepted: "
                f"reading.architecture"
            )
        raise AttributeError(f"Reading has no attribute {name!r}")

    def __repr__(self) -> str:
        from sigprop.reading.summary import text

        return text(self.architecture, self.width, self.paths, self.findings)


def read(
    model: Any, example: Any, *, output: str | int | None = None, sampled: bool = False
) -> Reading:
    """Read a module's architecture, initial laws and stem, as a description that everything else in
    sigprop takes.

    model: a function that returns a ``torch.nn.Module``, or a module of flax.nnx, flax.linen or
    equinox (its initialisers are recorded or traced, no memory is taken for parameters), or a
    module (the mean and variance of what each parameter holds); example: what it is called with,
    a tensor of torch or an array, a tuple of arguments or a dict of named ones, of one input, or a
    function that returns one of these; output: of several, the name (``'logits'``, ``'0'``) or the
    place of the one whose stream is read, by default the one that all others are part of; sampled:
    an operation without a rule is tried on Gaussian tokens of what flows into it (``Sampled``), as
    the findings and the status of every row behind it say. Half
    precision is read as float32, and said. Returns a ``Reading``. Raises ``InputError`` for an
    operation without a rule, a law that is not known, a module without a stream of states, or of
    outputs that have streams of their own. Source: derived (tests/reading, tests/jaxmodules).
    """
    example = called(example)
    if _of_jax(model, example):
        return _through_jax(model, example, output, sampled)
    require("torch")
    from sigprop.modules.building import build, given, half
    from sigprop.modules.exporting import example_of, export
    from sigprop.modules.reader import Reader

    make = model if _is_function(model) else None
    built, arguments = build(make) if make is not None else given(model), example_of(example)
    kind = half(built.module)
    if kind is None:
        return _read(make, built, Reader(export(built, arguments)), (), (output, sampled))
    # a description has no rounding: what is traced and run has as little as can be
    built = replace(built, module=copy.deepcopy(built.module).float())
    arguments = arguments.mapped(
        lambda given: given.float() if given.is_floating_point() else given
    )
    single = None if make is None else lambda: make().float()
    remark = f"{kind} parameters: read, and run, as float32"
    return _read(single, built, Reader(export(built, arguments)), (remark,), (output, sampled))


def _of_jax(model: Any, example: Any) -> bool:
    """Tell whether a module is one of flax or equinox: by its class, where a function builds it by
    what it is called with."""
    libraries = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    if libraries & {"flax", "equinox", "torch"}:
        return "torch" not in libraries
    values = list(example.values()) if isinstance(example, Mapping) else example
    kinds = {type(value) for value in (values if isinstance(values, (list, tuple)) else [values])}
    return any(kind.__module__.partition(".")[0] in ("jax", "jaxlib", "numpy") for kind in kinds)


def _through_jax(model: Any, example: Any, output: str | int | None, sampled: bool) -> Reading:
    from sigprop.jaxmodules.building import half, read_module
    from sigprop.jaxmodules.reader import Reader

    built, graph = read_module(model, example)
    return _read(built.module.make, built, Reader(graph), half(graph), (output, sampled))


def _read(
    make: Callable[[], Any] | None,
    built: Any,
    reader: Any,
    remarks: tuple[str, ...],
    asked: tuple[str | int | None, bool],
) -> Reading:
    """Read a module that is built and traced. asked: which output, and whether what has no rule is
    tried."""
    output, sampled = asked
    from sigprop.reading.converter import Converter
    from sigprop.reading.describe import architecture, readout_of
    from sigprop.reading.findings import findings
    from sigprop.reading.rules.branches import RULES
    from sigprop.reading.rules.sampled import TRIAL
    from sigprop.reading.stem import Stem
    from sigprop.reading.stems.carried import seen
    from sigprop.reading.streams.outputs import chosen

    graph = reader.graph
    outputs = {name: reader.term(node) for name, node in graph.named_outputs.items()}
    of = chosen(outputs, output)
    found = of.stream
    width, tokens = _sizes(found.stem)
    stem = Stem(graph, built.parameters, tokens)
    gram, means = _gram(stem, found, reader.terms)
    converters = [
        Converter(RULES, stem, step, width, trial=TRIAL if sampled else None, means=mean)
        for step, mean in zip(found.steps, seen(found, means), strict=True)
    ]
    applications = [converter.application() for converter in converters]
    tried = [path for converter in converters for path in converter.tried]
    ending = Converter(RULES, stem, found.steps[-1], width, named=False)
    described = architecture(
        built.name,
        applications,
        gram=gram,
        readout=readout_of(found.readout, ending.wrapped),
        same=built.copies.__getitem__,
    )
    paths = tuple(application.path for application in applications)
    said = (*remarks, *of.remarks, *_tried(tried), *_centred(means))
    said += findings(built, applications)
    return Reading(
        described, (*applications,), width, paths, make, said, built, graph, found, means
    )


def _tried(paths: Sequence[str]) -> tuple[str, ...]:
    """Say what has no rule."""
    if not paths:
        return ()
    return (
        f"{short(', '.join(dict.fromkeys(paths)), 100)}: without a rule, tried on Gaussian tokens; "
        f"rows behind it are 'sampled'",
    )


def _centred(means: Any) -> tuple[str, ...]:
    """Say what variances and cosines are about, where it is not 0."""
    if means is None:
        return ()
    least, most = min(means[0]), max(means[0])
    return (
        f"the stem has a mean over features, {least:.3g} to {most:.3g} by token, which LayerNorm "
        f"takes away: states' variances and cosines are about it",
    )


def _is_function(model: Any) -> bool:
    import torch  # pyright: ignore[reportMissingImports]

    return isinstance(model, Callable) and not isinstance(model, torch.nn.Module)


def _sizes(stem: Any) -> tuple[int, int]:
    """Width and tokens of the state before the first application."""
    shape = stem.shape
    if len(shape) == 3 and 1 not in shape[:2]:  # tokens may come first
        raise InputError(f"example: {shape[0]} inputs in one batch; accepted: one")
    return shape[-1], int(np.prod(shape[:-1]))


def _gram(stem: Any, found: Any, terms: Any) -> tuple[Any, Any]:
    """The stem's Gram, about its means over features where a LayerNorm takes these away; every
    state's means, None where there are none."""
    from sigprop.reading.stems.carried import carried

    gram = np.broadcast_to(stem.gram(found.stem), (stem.tokens, stem.tokens)).copy()
    means = carried(stem, found, terms)
    return (gram, None) if means is None else (gram - np.outer(means[0], means[0]), means)

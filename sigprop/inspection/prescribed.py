"""Which factor on what a model's branches write keeps its states and gradients, as standard
deviations of the model's own parameters."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.inspection.inspect import table
from sigprop.language.expression import Bias, Linear, Normalise, Vector
from sigprop.language.nodes import Experts
from sigprop.language.scalar import Number
from sigprop.language.traversal import children
from sigprop.reading.converter import Drawn
from sigprop.reading.findings import pattern
from sigprop.reading.read import Reading, read
from sigprop.tables.table import Table

FACTOR = "prescribed_factor"
LEAST, CLOSE = 1e-4, 5e-3  # of the factor; of its logarithm
MOST = 12  # predictions
SETS = 2  # of sampled heads: what is solved for needs no more digits


def prescribe_model(model: Any, example: Any = None, *, growth: float = 2.0) -> Table:
    """Find the largest factor, at most 1, on everything that the branches write, at which neither
    the state's variance nor the gradient's changes by more than ``growth`` from the first state to
    the last, and say it as standard deviations of the parameters that write.

    model, example: as of ``read`` (a ``Reading`` is taken as it is). Returns a ``Table``: a row a
    kind of parameter that writes (setting 'std'; 'multiplier' of what a norm behind the last matrix
    writes), with what it is now, what is prescribed, and the factor; its remarks hold what the
    network does now and then, and the lines that set it. Raises ``InputError`` for a growth of 1 or
    less, and where no factor keeps it. Source: derived (tests/inspection/test_prescribed.py reads
    the model again as it is prescribed).
    """
    if not 1 < growth < math.inf:
        raise InputError(f"growth={growth!r}; accepted: a number above 1")
    reading = model if isinstance(model, Reading) else read(model, example)
    now = _changes(reading.architecture, 1.0)
    factor = 1.0 if now.worst <= growth else _solved(reading.architecture, growth)
    then = now if factor == 1 else _changes(reading.architecture, factor)
    rows = list(_rows(reading, factor))
    remarks = [f"{now.said}; at factor {factor:.4g}: {then.said}" if factor < 1 else now.said]
    if factor == 1:
        remarks.append(f"nothing to change: both are within a factor of {growth:g}")
    elif reading.graph.library == "torch":
        remarks += _patch(rows)
    return table(reading, rows, None, {"growth": growth, "remarks": remarks})


class _Changes(NamedTuple):
    """The last state's variance over the first's; the gradient's at the first state over that at
    the last (None: theory has none)."""

    variance: float
    gradient: float | None

    @property
    def worst(self) -> float:
        """The larger of the two, or of what they shrink by."""
        both = [value for value in self if value is not None]
        return max(max(value, 1 / value) for value in both)

    @property
    def said(self) -> str:
        gradient = "not predicted" if self.gradient is None else f"{self.gradient:.4g} times"
        return (
            f"from the first state to the last the variance becomes {self.variance:.4g} times, "
            f"from the last to the first the gradient's {gradient}"
        )


@functools.lru_cache(maxsize=2 * MOST)
def _changes(arch: Architecture, factor: float) -> _Changes:
    """Predict both, of the network with this factor on every write (heads are the same ones at
    every factor)."""
    from sigprop.description.rows import select
    from sigprop.theory.predictions.evaluate import evaluate

    scaled = replace(
        arch,
        sub_blocks=tuple(
            replace(block, branch=Number(FACTOR) * block.branch) for block in arch.sub_blocks
        ),
        numbers={**arch.numbers, FACTOR: factor},
    )
    names = ["residual_variance", *(["gradient_variance"] if arch.gradients_known else [])]
    rows = select(scaled, names, (0, arch.depth))
    values = evaluate(scaled, rows, sets=SETS).required().values
    sums = {
        (name, a): math.fsum(
            value * math.exp(log)
            for row, (value, log) in zip(rows, values, strict=True)
            if (row.quantity, row.application) == (name, a)
        )
        for name in names
        for a in (0, arch.depth)
    }
    ends = [sums[name, arch.depth] / sums[name, 0] for name in names]
    return _Changes(ends[0], 1 / ends[1] if arch.gradients_known else None)


def _solved(arch: Architecture, growth: float) -> float:
    """The factor at which the worst of both is ``growth``; raises ``InputError`` where there is
    none. What both change by, less 1, is about the square of the factor: secants meet it in few
    predictions."""
    from scipy.optimize import root_scalar

    def beyond(log: float) -> float:
        change = _changes(arch, math.exp(max(log, math.log(LEAST)))).worst - 1
        return math.log(max(change, LEAST**2) / (growth - 1))

    guess = -beyond(0.0) / 2
    found = root_scalar(beyond, x0=0.0, x1=guess, xtol=CLOSE, maxiter=MOST)
    factor = float(f"{math.exp(found.root - CLOSE):.4g}")
    if not found.converged or not LEAST < factor < 1 or _changes(arch, factor).worst > growth:
        raise InputError(
            f"growth={growth:g}: not kept by any factor on what branches write, the rule itself "
            f"changes more; accepted: a larger one"
        )
    return factor


def _rows(reading: Reading, factor: float) -> Iterator[dict[str, Any]]:
    """Every kind of parameter, or of norm, that writes to the stream."""
    met: dict[tuple[str, str, float], set[str]] = {}
    for application in reading.applications:
        for node in _writing(application.block.branch):
            if isinstance(node, Normalise):
                key = "multiplier", pattern(f"{application.path}.")[:-1], 1.0
                met.setdefault(key, set()).add(application.path)
                continue
            drawn: Drawn = application.weights[node.weight]
            if drawn.law.variance:
                std = float(f"{math.sqrt(drawn.law.variance):.6g}")
                met.setdefault(("std", pattern(drawn.parameter), std), set()).add(drawn.parameter)
    for (setting, name, value), members in met.items():
        yield {
            "parameter": name,
            "count": len(members),
            "setting": setting,
            "now": value,
            "prescribed": value * factor,
            "factor": factor,
        }


def _writing(branch: Vector) -> Iterator[Linear | Bias | Normalise]:
    """The matrices and biases whose outputs a branch adds to the stream, or the norms behind
    them."""
    if isinstance(branch, (Linear, Bias, Normalise)):
        yield branch
        return
    for child in children(branch) if not isinstance(branch, Experts) else (branch.of,):
        yield from _writing(child)


def _patch(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The lines that set it in torch, after the model is built."""
    names = sorted({row["parameter"] for row in rows if row["setting"] == "std"})
    lines = []
    if names:
        lines.append(
            f"from fnmatch import fnmatch; [p.data.mul_({rows[0]['factor']:.4g}) for name, p in "
            f"model.named_parameters() if any(fnmatch(name, kind) for kind in {names})]"
        )
    others = sorted({row["parameter"] for row in rows if row["setting"] == "multiplier"})
    lines += [f"{name}: times {rows[0]['factor']:.4g} what it returns" for name in others]
    return lines

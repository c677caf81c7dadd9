"""What is compared: the numbers of one network by module, application or parameter, and what its
description predicts for each of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sigprop.description.quantities import QUANTITIES
from sigprop.description.rows import why_no_gradient
from sigprop.errors import Diverged
from sigprop.inspection.network import Network
from sigprop.reading.read import Reading

Floats = NDArray[np.float64]


ROUNDING = 1e-5  # relative: what float32 leaves of a number that no draw changes


class Row(NamedTuple):
    """Which number: its quantity, the module or parameter, the application (0: the stem; None: of a
    parameter)."""

    quantity: str
    module: str
    application: int | None


class Value(NamedTuple):
    """A prediction and a bound of its error."""

    value: float
    error: float


@dataclass(frozen=True)
class Compared:
    """A kind of rows.

    tolerance: of their deviation, relative, or absolute where ``absolute``; measured: of one
    network, by parameter or an array by state; recorded: the parameters' laws say it, else
    ``predict`` by the same name
    """

    tolerance: float
    measured: Callable[[Network], Floats | dict[str, float]]
    absolute: bool = False
    recorded: bool = False


def log_of(value: float) -> float:
    """ln, of zero a number far below all others."""
    return float(np.log(value)) if value > 0 else -1e3


def _mean_cosine(network: Network) -> Floats:
    tokens = network.cosine.shape[-1]
    pairs = np.triu_indices(tokens, 1)
    return np.asarray(network.cosine[:, pairs[0], pairs[1]].mean(axis=1))


COMPARED: dict[str, Compared] = {
    "residual_variance": Compared(0.05, lambda network: network.variance.mean(axis=1)),
    "write_variance": Compared(0.1, lambda network: network.write.mean(axis=1)),
    "token_cosine": Compared(0.1, _mean_cosine, absolute=True),
    "gradient_variance": Compared(0.1, lambda network: network.gradient.mean(axis=1)),
    "weight_gradient": Compared(0.2, lambda network: network.weight_gradient),
    "second_moment": Compared(0.05, lambda network: network.second, recorded=True),
}
"""Quantity to what is compared of it: means over tokens, or pairs of tokens, of a state or of what
an application writes; of a parameter, over its entries."""
JUDGED = ("residual_variance", "write_variance", "token_cosine", "gradient_variance")
"""Those that are compared unasked, where theory has them."""


def possible(quantities: Sequence[str], reading: Reading) -> tuple[str, ...]:
    """Return those of several quantities that a reading has: one token has no pairs."""
    alone = reading.architecture.tokens == 1
    return tuple(name for name in quantities if not (alone and name == "token_cosine"))


def unasked(reading: Reading) -> tuple[tuple[str, ...], list[str]]:
    """Return what is compared of a module unasked; and remarks on what theory has not of it."""
    arch, found = reading.architecture, possible(JUDGED, reading)
    left = [name for name in found if QUANTITIES[name].backward and not arch.gradients_known]
    remarks = [f"{name}: {why_no_gradient(arch)}" for name in left]
    return tuple(name for name in found if name not in left), remarks


def numbers(network: Network, reading: Reading, quantities: Sequence[str]) -> dict[Row, float]:
    """Return one network's numbers by row."""
    found: dict[Row, float] = {}
    for quantity in quantities:
        measured = COMPARED[quantity].measured(network)
        if isinstance(measured, dict):
            found |= {Row(quantity, name, None): value for name, value in measured.items()}
        else:
            first = reading.architecture.depth + 1 - len(measured)
            paths = ("", *reading.paths)
            for at, value in enumerate(measured, first):
                found[Row(quantity, paths[at], at)] = float(value)
    return found


def predictions(
    reading: Reading, quantities: Sequence[str], error: float | None = None
) -> tuple[dict[Row, Value], list[str]]:
    """Predict the rows that the description has (a parameter without a group, such as a gain that
    is constant, has none), with an error as of ``predict``; and remarks where it is not met. Raises
    ``Diverged`` where a prediction is no number."""
    from sigprop.theory.predictions.predict import predict

    asked = [quantity for quantity in quantities if not COMPARED[quantity].recorded]
    every = range(reading.architecture.depth + 1)
    table = predict(reading.architecture, asked, every, error=error) if asked else None
    by_place: dict[tuple[str, Any, Any], list[Value]] = {}
    for row in table or ():
        if row.get("token_2") is not None and row["token_2"] == row["token"]:
            continue
        if row["value"] is None:
            raise Diverged(row["application"])
        place = row["quantity"], row.get("group"), row["application"]
        by_place.setdefault(place, []).append(Value(row["value"], row["error"] or 0.0))
    paths = ("", *reading.paths)
    found = {
        Row(quantity, paths[at], at): _mean(values)
        for (quantity, group, at), values in by_place.items()
        if group is None
    }
    if "weight_gradient" in quantities:
        slots = {key[1:]: _mean(values) for key, values in by_place.items() if key[1] is not None}
        found |= _of_parameters(reading, slots)
    if "second_moment" in quantities:
        found |= {
            Row("second_moment", name, None): Value(parameter.law.second, 0.0)
            for name, parameter in reading.built.parameters.items()
            if parameter.law.known and parameter.law.variance and not parameter.pieces
        }
    notes = (table.notes if table is not None else None) or {}
    return found, list(notes.get("remarks", ()))


def _copied(reading: Reading, name: str, used: Sequence[int]) -> bool:
    """Tell whether the applications that share a slot have parameters of their own in it, which
    start as copies."""
    drawn = [_drawn(reading, name, at).parameter for at in used]
    return len({reading.built.same.get(parameter, parameter) for parameter in drawn}) > 1


def _drawn(reading: Reading, name: str, at: int) -> Any:
    """What a weight of the description is at an application."""
    application = reading.applications[at]
    (own,) = (key for key, given in application.names.items() if given == name)
    return application.weights[own]


def _mean(values: Sequence[Value]) -> Value:
    """The mean of numbers, and of their errors, which may all have one sign."""
    count = len(values)
    return Value(
        math.fsum(v.value for v in values) / count, math.fsum(v.error for v in values) / count
    )


def _of_parameters(reading: Reading, slots: Mapping[tuple[Any, Any], Value]) -> dict[Row, Value]:
    """The squared gradient of parameters all of whose entries stand in groups: the mean over the
    rows of its matrices."""
    arch = reading.architecture
    pieces: dict[str, dict[tuple[int, int], Value]] = {}
    fans: dict[str, int] = {}
    for name in arch.weights:
        for used in arch.applications_of(name).values():
            if _copied(reading, name, used):
                continue  # each copy has its own gradient, theory the sum of all
            drawn = _drawn(reading, name, used[0])
            fans[drawn.parameter] = drawn.fan_in
            value = slots.get((name, used[0]))
            if value is not None:
                pieces.setdefault(drawn.parameter, {})[drawn.start, drawn.stop] = value
    found: dict[Row, Value] = {}
    for parameter, values in pieces.items():
        shape = reading.built.parameters[parameter].shape
        total = sum(stop - start for start, stop in values)
        if total * fans[parameter] == math.prod(shape):  # all of its rows
            parts = [(stop - start, value) for (start, stop), value in values.items()]
            found[Row("weight_gradient", parameter, None)] = Value(
                math.fsum(size * v.value for size, v in parts) / total,
                math.fsum(size * v.error for size, v in parts) / total,
            )
    return found

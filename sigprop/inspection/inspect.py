"""A real module held against the theory of its own graph: predicted beside measured, row by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sigprop.errors import Diverged, InputError, near_miss
from sigprop.reading.read import Reading, read
from sigprop.runtime.progress import Progress, Silent
from sigprop.tables.table import Table
from sigprop.verdict.decide import Interval
from sigprop.verdict.judgement import CONFIRMED, INCONCLUSIVE, REJECTED, overall
from sigprop.verdict.moments import Moments

Floats = NDArray[np.float64]
TOLERANCES = {"residual_variance": 0.05, "token_cosine": 0.1, "gradient_variance": 0.1}
"""Of the mean over tokens, by quantity: relative, of cosines absolute."""


def inspect(
    model: Any,
    example: Any = None,
    *,
    seeds: int = 4,
    quantities: Sequence[str] = tuple(TOLERANCES),
    tolerances: dict[str, float] | None = None,
    progress: Progress | None = None,
) -> Table:
    """Measure a torch module at every application and judge it against its own prediction.

    model, example: as of ``read`` (a ``Reading`` is taken as it is); seeds: how many networks with
    fresh weights (a module is taken as it is, once: no verdict); quantities: of
    'residual_variance', 'token_cosine', 'gradient_variance', each the mean over tokens, or pairs
    of them; tolerances: by quantity.
    Returns a ``Table``, a row an application and quantity, with a verdict (confirmed: every 90 %
    interval inside its tolerance; rejected: a simultaneous 99 % interval outside). Raises
    ``InputError`` as ``read`` does. Source: docs/verdict.md, one width (tests/inspection).
    """
    _check(quantities)
    limits = TOLERANCES | _checked(tolerances or {})
    found = model if isinstance(model, Reading) else read(model, example)
    count = 1 if found.make is None else seeds
    if count < 2 and found.make is not None:
        raise InputError(f"seeds={seeds}; accepted: 2 or more")
    ran = _ran(found, count, Silent() if progress is None else progress)
    predicted = predictions(found, quantities)
    rows: list[dict[str, Any]] = []
    for quantity in quantities:
        values = np.stack([VALUES[quantity](network) for network in ran])
        rows += _rows(found, quantity, values, *predicted[quantity], limits[quantity])
    verdict = overall([row["verdict"] for row in rows]) if count > 1 else None
    tolerated = {quantity: limits[quantity] for quantity in quantities}
    return table(found, rows, verdict, {"samples": count, "tolerances": tolerated})


def table(
    found: Reading, rows: list[dict[str, Any]], verdict: str | None, notes: dict[str, Any]
) -> Table:
    """Return rows about a module as a table, with what stands out in it as remarks."""
    remarks = [*notes.pop("remarks", ()), *found.findings]
    return Table(
        found.architecture.name,
        dict(found.architecture.parameters),
        rows,
        "inspect",
        verdict=verdict,
        notes={"width": found.width, **notes, "remarks": remarks},
    )


def _check(quantities: Sequence[str]) -> None:
    unknown = [quantity for quantity in quantities if quantity not in TOLERANCES]
    if unknown:
        raise InputError(f"quantities={unknown[0]!r}; accepted: {', '.join(TOLERANCES)}")


def _ran(found: Reading, count: int, progress: Progress) -> list[Any]:
    """Measure ``count`` networks."""
    from sigprop.inspection.networks import networks

    progress.start(count, "networks")
    return networks(found, range(count), progress.advance)


def _checked(tolerances: dict[str, float]) -> dict[str, float]:
    """Return tolerances; raises ``InputError`` for a name that is none, or a number that is not
    positive."""
    for quantity, value in tolerances.items():
        if quantity not in TOLERANCES:
            raise InputError(f"tolerances: {quantity!r}{near_miss(quantity, TOLERANCES)}")
        if not 0 < value < math.inf:
            raise InputError(f"tolerances: {quantity}={value!r}; accepted: a number > 0")
    return tolerances


def predictions(found: Reading, quantities: Sequence[str]) -> dict[str, tuple[Floats, Floats]]:
    """Predict every quantity's mean over tokens at every application, and a bound of its error."""
    from sigprop.theory.predictions.predict import predict

    table = predict(found.architecture, list(quantities))
    depth = found.architecture.depth
    sums: dict[str, list[list[tuple[float, float]]]] = {
        quantity: [[] for _ in range(depth + 1)] for quantity in quantities
    }
    for row in table:
        apart = row.get("token_2") is None or row["token_2"] != row["token"]
        if apart and row["value"] is None:
            raise Diverged(row["application"])
        if apart:
            sums[row["quantity"]][row["application"]].append((row["value"], row["error"] or 0.0))
    return {
        quantity: (
            np.array([math.fsum(v for v, _ in at) / len(at) for at in lists]),
            np.array([math.fsum(e for _, e in at) / len(at) for at in lists]),
        )
        for quantity, lists in sums.items()
    }


def _mean_cosine(network: Any) -> Floats:
    tokens = network.cosine.shape[-1]
    pairs = np.triu_indices(tokens, 1)
    return np.asarray(network.cosine[:, pairs[0], pairs[1]].mean(axis=1))


VALUES: dict[str, Callable[[Any], Floats]] = {
    "residual_variance": lambda network: network.variance.mean(axis=1),
    "token_cosine": _mean_cosine,
    "gradient_variance": lambda network: network.gradient.mean(axis=1),
}
"""Quantity to its mean over tokens at every application, of one network."""


def _rows(
    found: Reading,
    quantity: str,
    values: Floats,
    predicted: Floats,
    error: Floats,
    tolerance: float,
) -> list[dict[str, Any]]:
    """One quantity's rows. values: [S, D + 1]; deviations are relative, of cosines absolute."""
    scale = np.ones_like(predicted) if quantity == "token_cosine" else np.abs(predicted)
    deviations = (values - predicted) / scale
    interval = _interval(deviations, error / scale) if len(values) > 1 else None
    rows: list[dict[str, Any]] = []
    for at, path in enumerate(("", *found.paths)):
        row: dict[str, Any] = {
            "module": path,
            "quantity": quantity,
            "application": at,
            "measured": float(values[:, at].mean()),
            "se": None if interval is None else float(interval.se[at] * scale[at]),
            "theory": float(predicted[at]),
            "error": float(error[at]),
            "deviation": float(deviations[:, at].mean()),
        }
        if interval is not None:
            row |= {name: float(interval.arrays[name][at]) for name in ENDS}
            row["verdict"] = _verdict(interval, at, tolerance)
        rows.append(row)
    return rows


def _interval(deviations: Floats, error: Floats) -> Interval:
    """Of the mean deviation [R] of networks [S, R], wider by the theory's error."""
    return Interval.at_one_width(Moments.of(deviations, np.ones_like(deviations)), error)


ENDS = ("lower", "upper", "simultaneous_lower", "simultaneous_upper")


def _verdict(interval: Interval, row: int, tolerance: float) -> str:
    if interval.inside(tolerance)[row]:
        return CONFIRMED
    return REJECTED if interval.outside(tolerance)[row] else INCONCLUSIVE

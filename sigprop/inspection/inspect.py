"""A real module held against the theory of its own graph: predicted beside measured, row by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sigprop.errors import InputError, near_miss
from sigprop.reading.read import Reading, read
from sigprop.runtime.progress import Progress, Silent
from sigprop.tables.table import Table
from sigprop.verdict.judgement import CONFIRMED, INCONCLUSIVE, REJECTED, overall
from sigprop.verdict.looks import boundary, simultaneous, student
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
    Returns a ``Table``, a row an application and quantity with the networks' mean, its standard
    error and 90 % interval; its notes hold the verdict (confirmed: every interval inside its
    tolerance; rejected: a simultaneous 99 % interval outside). Raises ``InputError`` as ``read``.
    Source: derived; tests/inspection.
    """
    unknown = [q for q in quantities if q not in TOLERANCES]
    if unknown:
        raise InputError(f"quantities={unknown[0]!r}; accepted: {', '.join(TOLERANCES)}")
    limits = TOLERANCES | _checked(tolerances or {})
    found = model if isinstance(model, Reading) else read(model, example)
    if seeds < 2 and found.make is not None:
        raise InputError(f"seeds={seeds}; accepted: 2 or more")
    from sigprop.inspection.measuring import networks

    count = seeds if found.make is not None else 1
    reported = Silent() if progress is None else progress
    reported.start(count, "networks")
    ran = networks(found, range(count), reported.advance)
    predicted = predictions(found, quantities)
    rows: list[dict[str, Any]] = []
    for quantity in quantities:
        values = np.stack([VALUES[quantity](network) for network in ran])
        rows += _rows(found, quantity, values, *predicted[quantity], limits[quantity])
    verdict = overall([row["verdict"] for row in rows]) if count > 1 else None
    tolerances = {quantity: limits[quantity] for quantity in quantities}
    notes = {"samples": count, "width": found.width, "tolerances": tolerances}
    return Table(
        found.architecture.name,
        dict(found.architecture.parameters),
        rows,
        "inspect",
        verdict=verdict,
        notes=notes,
    )


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
    """One quantity's rows, judged over several networks. values: [S, D + 1]."""
    scale = np.ones_like(predicted) if quantity == "token_cosine" else np.abs(predicted)
    deviations = (values - predicted) / scale
    mean = deviations.mean(axis=0)
    rows: list[dict[str, Any]] = [
        {
            "module": path,
            "quantity": quantity,
            "application": application,
            "value": float(values[:, application].mean()),
            "predicted": float(predicted[application]),
            "error": float(error[application]),
            "deviation": float(mean[application]),
            "verdict": "",
        }
        for application, path in enumerate(("", *found.paths))
    ]
    if len(values) < 2:
        return rows
    moments = Moments.of(deviations, np.ones_like(deviations))
    se = np.sqrt(moments.variance / moments.count)
    freedom = np.full(len(se), float(moments.count - 1))
    half = student(boundary(1), freedom) * se + error / scale
    far = student(simultaneous(moments.covariance, 1), freedom) * se + error / scale
    for row, at, middle, near, wide, s in zip(rows, scale, mean, half, far, se, strict=True):
        row |= {"se": float(s * at), "lower": float(middle - near), "upper": float(middle + near)}
        row["verdict"] = (
            CONFIRMED
            if abs(middle) + near <= tolerance
            else REJECTED
            if abs(middle) - wide > tolerance
            else INCONCLUSIVE
        )
    return rows

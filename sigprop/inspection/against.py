"""A torch module held against another that it was meant to be: one network beside the scatter of
fresh ones, row by row, parameters included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sigprop.errors import InputError
from sigprop.inspection.compared import (
    COMPARED,
    ROUNDING,
    Row,
    Value,
    log_of,
    numbers,
    possible,
    predictions,
    unasked,
)
from sigprop.inspection.inspect import table
from sigprop.inspection.network import Network
from sigprop.reading.read import Reading, read
from sigprop.reading.sources import called
from sigprop.runtime.progress import Progress, Silent
from sigprop.tables.table import Table
from sigprop.verdict.judgement import INCONCLUSIVE, REJECTED
from sigprop.verdict.looks import simultaneous, student
from sigprop.verdict.moments import Moments

Floats = NDArray[np.float64]
POWER = 1.645  # standard errors by which what is to be seen lies beyond the band: 95 %
ORDER = {
    "write_variance": (0, 0),
    "residual_variance": (0, 1),
    "token_cosine": (0, 2),
    "second_moment": (1, 0),
    "gradient_variance": (2, 0),
    "weight_gradient": (3, 0),
}
"""Which of four passes over the network has a quantity, and its place at one application."""


def compare(
    model: Any,
    example: Any = None,
    *,
    against: Any,
    networks: int = 1,
    seeds: int = 20,
    first_seed: int = 0,
    output: str | int | None = None,
    sampled: bool = False,
    progress: Progress | None = None,
) -> Table:
    """Judge a module against another builder: is it one of its fresh networks?

    model, example: as of ``read``; against: a builder of what was meant, for the same example;
    networks: how many of the model's; seeds: fresh networks of the other, whose scatter is the
    band; first_seed: of these (the model's come after); output, sampled: of both, as of ``read``.
    Returns a ``Table`` of residual and write variance and token cosine by application, of
    parameters' second moments, then of gradients:
    rejected where a row lies outside a band that covers all rows of a fresh network at once with
    99 %, else inconclusive, with how many networks of each would show what the two theories differ
    by (``needed`` of its notes). Raises ``InputError`` where the two have other parameters or
    sub-blocks. Source: derived (tests/inspection/test_against.py).
    """
    example = called(example)  # once: it may be drawn
    how: dict[str, Any] = {"output": output, "sampled": sampled}
    meant = against if isinstance(against, Reading) else read(against, example, **how)
    found = model if isinstance(model, Reading) else read(model, example, **how)
    _check_alike(found, meant, seeds)
    reported = Silent() if progress is None else progress
    reported.start(seeds + networks, "networks")
    first = first_seed + seeds
    band = _ran(meant, range(first_seed, first), reported)
    given = _ran(found, range(first, first + (1 if found.make is None else networks)), reported)
    rows = _judged(given, band)
    verdict = REJECTED if any(row["verdict"] == REJECTED for row in rows) else INCONCLUSIVE
    notes: dict[str, Any] = {
        "samples": len(given),
        "reference_samples": seeds,
        "remarks": _explained(rows),
    }
    if verdict == INCONCLUSIVE and found is not meant:
        needed = _needed(found, meant, rows)
        notes |= needed | {"remarks": notes["remarks"] + needed["remarks"]}
    return table(found, rows, verdict, notes)


def _explained(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the columns are, and where a change shows first."""
    said = [
        "deviation: of the logarithm from its mean over fresh networks (of cosines: itself); sd: "
        "one network's; tolerance: what all rows of a fresh one lie within at once, 99 %"
    ]
    first = next((row for row in rows if row["verdict"] == REJECTED), None)
    if first is not None:
        place = first["module"] or "the stem"
        said.append(f"first outside, from the stem on: {first['quantity']} at {place}")
    return said


def _ran(reading: Reading, seeds: range, progress: Progress) -> list[dict[Row, float]]:
    """The rows of some networks."""
    from sigprop.inspection.networks import networks

    ran = networks(reading, seeds, progress.advance)
    return [_rows(network, reading) for network in ran]


def _needed(found: Reading, meant: Reading, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How many networks of each would show what the theories of the two differ by, and a remark."""
    asked = [name for name in unasked(found)[0] if name in unasked(meant)[0]]
    theories = [_by_place(predictions(reading, asked)[0]) for reading in (found, meant)]
    needed: float = math.inf
    for row in rows:
        if row["quantity"] not in asked or row["sd"] == 0:
            continue
        place = row["quantity"], row["application"]
        (x, far), (y, near) = (theory[place] for theory in theories)
        absolute = COMPARED[row["quantity"]].absolute
        size = 1.0 if absolute else min(abs(x), abs(y))
        gap = abs(x - y) if absolute else abs(math.log(x / y))
        if abs(x - y) > 2 * (far + near) and size > 0:
            reach = (row["limit"] + POWER) * row["sd"]
            needed = min(needed, 2 * (reach / gap) ** 2)
    if math.isinf(needed):
        return {"needed": None, "remarks": ["the theories of the two do not differ"]}
    count = math.ceil(needed)
    return {
        "needed": count,
        "remarks": [f"{count} networks of each would show what the theories of the two differ by"],
    }


def _by_place(predicted: dict[Row, Value]) -> dict[tuple[str, int | None], Value]:
    """By quantity and application: the two's modules may have other names."""
    return {(row.quantity, row.application): value for row, value in predicted.items()}


def _check_alike(found: Reading, meant: Reading, seeds: int) -> None:
    if meant.make is None or seeds < 8:
        raise InputError(f"seeds={seeds}; accepted: 8 or more fresh networks of a builder")
    if found.width != meant.width or len(found.paths) != len(meant.paths):
        raise InputError(
            f"against: {len(meant.paths)} applications of width {meant.width}, the model has "
            f"{len(found.paths)} of {found.width}; accepted: the same"
        )
    other = set(found.graph.parameters.values()) ^ set(meant.graph.parameters.values())
    if other:
        raise InputError(
            f"against: {sorted(other)[0]} is a parameter of one of the two; accepted: the same "
            f"parameters"
        )


def _rows(network: Network, reading: Reading) -> dict[Row, float]:
    """One network's numbers, logarithms but of cosines: forward from the stem, parameters, backward
    from the read-out, so that a change shows first where it is made."""
    every = numbers(network, reading, possible(tuple(COMPARED), reading))

    def place(row: Row) -> tuple[int, int, int]:
        part, within = ORDER[row.quantity]
        at = row.application or 0
        return part, -at if row.quantity == "gradient_variance" else at, within

    return {
        row: every[row] if COMPARED[row.quantity].absolute else log_of(every[row])
        for row in sorted(every, key=place)
    }


def _judged(given: list[dict[Row, float]], band: list[dict[Row, float]]) -> list[dict[str, Any]]:
    """A row each, the deviation from the band's mean with the scatter of both."""
    keys = list(band[0])  # both have the same parameters and sub-blocks
    x, reference = (
        np.array([[one[key] for key in keys] for one in many]) for many in (given, band)
    )
    middle = reference.mean(axis=0)
    moments = Moments.of(reference - middle, np.ones_like(reference))
    sd = np.sqrt(moments.variance)
    drawn = sd > ROUNDING
    limit = np.full(len(keys), 1.0)
    covariance = moments.covariance[np.ix_(drawn, drawn)]
    freedom = np.full(int(drawn.sum()), float(len(band) - 1))
    limit[drawn] = student(simultaneous(covariance, 1), freedom)
    # of the mean of some networks about the mean of the others
    se = np.where(drawn, sd * np.sqrt(1 / len(given) + 1 / len(band)), 10 * ROUNDING)
    deviation = x.mean(axis=0) - middle
    return [
        {
            "module": path,
            "quantity": quantity,
            "application": at,
            "deviation": float(d),
            "sd": float(s),
            "tolerance": float(far * one),
            "limit": float(far),
            "verdict": REJECTED if abs(d) > far * one else INCONCLUSIVE,
        }
        for (quantity, path, at), d, s, far, one in zip(keys, deviation, sd, limit, se, strict=True)
    ]

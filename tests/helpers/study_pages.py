"""Small studies for the tests of the page to look at."""

from __future__ import annotations

import math
from typing import Any

from sigprop.tables.document import Row
from sigprop.tables.table import Table

HARD = "</script><script>alert(\"1\")</script> & 'quoted' \u00e9 \u4e2d \U0001f600 \\ \n\t\u2028"
"""A text that must come through as itself."""
DEPTHS = (2, 4, 8, 16)
ACTIVATIONS = ("relu", "tanh")
TOKENS = 3


def about(**more: Any) -> dict[str, Any]:
    """What a small study is."""
    return {
        "name": "Looped MLP over depth",
        "command": "verify",
        "architecture": "looped-mlp",
        "parameters": {"loops": 2, "words": None, "residual": "1/sqrt(L)"},
        "varied": ["depth", "activation", "share"],
        "units": {"done": 7, "failed": 1, "waiting": 2},
        "failures": [{"cell": {"depth": 16, "activation": HARD}, "reason": f"no memory {HARD}"}],
        "versions": {"sigprop": "1.0", "jax": "0.10"},
        "sources": "study.toml",
        "created": "2026-01-01 00:00 UTC",
        "remarks": ["Seeds are independent."],
    } | more


def verified() -> Table:
    """Rows as verify has them: states of every application, cosines of pairs, a group's gradient.

    A cell has as many applications as it is deep, so that the last one differs."""
    rows: list[Row] = []
    for depth in DEPTHS:
        for activation in ACTIVATIONS:
            cell = {"depth": depth, "activation": activation, "share": "1/2"}
            rows += [cell | row for row in _cell(depth, 1.0 + 0.5 * (activation == "tanh"))]
    return Table("looped-mlp", {}, [row | {"engine": "dense"} for row in rows], "verify")


def _cell(depth: int, factor: float) -> list[Row]:
    """One cell's rows."""
    states = [
        {"quantity": "residual_variance", "application": step, "token": token}
        | _judged(factor * (1 + 0.1 * step) * (1 + 0.05 * token), step + token)
        for step in range(1, depth + 1)
        for token in range(TOKENS)
    ]
    pairs = [
        {"quantity": "state_cosine", "application": 0, "application_2": step, "token": 0}
        | _judged(1 / math.sqrt(1 + step / depth), step)
        for step in range(1, depth + 1)
    ]
    gradients = [
        {"quantity": "weight_gradient", "group": group} | _judged(factor * depth**2 * share, depth)
        for group, share in (("w", 1.0), ("x", 0.1), (None, 1.1))
    ]
    nothing: list[Row] = [{"quantity": "ntk", "measured": None, "theory": None, "note": HARD}]
    return states + pairs + gradients + nothing


def _judged(theory: float, place: int) -> Row:
    """Values that verify gives a row; every eleventh is rejected."""
    deviation = 0.01 * math.sin(place)
    half = 0.02
    rejected = place % 11 == 5
    return {
        "theory": theory,
        "scale": theory,
        "measured": theory * (1 + deviation),
        "deviation": deviation,
        "se": half / 1.645,
        "lower": deviation - half,
        "upper": deviation + half,
        "tolerance": 0.05,
        "verdict": "rejected" if rejected else "confirmed",
        "sizes": [128, 256],
    }


def predicted() -> Table:
    """Rows as predict has them, over one parameter."""
    rows: list[Row] = [
        {"depth": depth, "quantity": "ntk", "token": 0, "value": 1.0 * depth, "error": 1e-13}
        for depth in DEPTHS
    ]
    return Table("mlp", {}, rows, "predict")

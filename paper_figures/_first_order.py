"""Is a coefficient of 1/n what networks extrapolate to? Recomputed from the rows of the tables
alone.

Two verdicts on one table. The wide limit, as every figure's (``_judge``). And of n times what a
width deviates by: its extrapolation to 1/n = 0 by the same law, with the same allowance for the
next order, against the predicted coefficient with its stated error; each of the two rejects a true
theory with probability 1 % at most. A table that could not tell the coefficient from another, by
``told`` of each row away, confirms nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sigprop.paper_figures._judge import OF_A_MEASUREMENT, Judged, Rows, points

KEYS = ("panel", "curve", "quantity", "application", "token")


def both(limit: Mapping[str, Rows], coefficients: Iterable[Mapping[str, Any]]) -> Judged:
    """Return the verdict of tables about the wide limit, and of ``scaled`` rows."""
    first, second = points(limit), points({"times n": list(coefficients)})
    every = first.points + second.points
    if first.verdict != "confirmed" or second.against or not second.points:
        worse = first if first.verdict != "confirmed" else second
        return replace(worse, points=every)
    if second.detects is None or second.detects > 1:
        said = second.reason or "the coefficient of 1/n"
        return replace(first, verdict="inconclusive", points=every, reason=f"{said}: not told")
    return replace(first, points=every)


def scaled(row: Mapping[str, Any], deviation: float, se: float, theory: str) -> dict[str, Any]:
    """Return a row of n times a deviation, beside the coefficient that column ``theory`` holds."""
    n = row["width"]
    kept = {key: row[key] for key in (*KEYS, *OF_A_MEASUREMENT) if key in row}
    return kept | {
        "theory": row[theory],
        "theory_error": row[f"{theory}_error"],
        "scale": row["told"],
        "measured": n * deviation,
        "se": n * se,
    }


def limits(rows: Rows) -> Rows:
    """Return the columns that the wide limit is judged by."""
    return [{key: row[key] for key in (*KEYS, *OF_A_MEASUREMENT) if key in row} for row in rows]

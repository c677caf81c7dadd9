"""docs/first_step.csv (``python benchmarks/first_step.py``) as a table: a line a case and
optimiser."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

FILE = Path(__file__).parent / "first_step.csv"
WIDE = 0.01
SMALL = 0.1
"""Of the largest of a case, optimiser, quantity and group: what is predicted smaller (nearly)
vanishes in the limit, and is compared with that largest."""
HEAD = (
    "network", "optimiser", "rows", "vanish", "rms z", "largest z", "largest deviation",
    "largest error", "errors above 1 %",
)  # fmt: skip
Row = dict[str, str]


def scales(rows: Sequence[Row]) -> list[tuple[float, bool]]:
    """Return what each row's deviation and error are divided by, and whether it vanishes."""
    largest: dict[tuple[str, ...], float] = {}
    keys = [tuple(row[k] for k in ("case", "optimizer", "quantity", "group")) for row in rows]
    values = [abs(float(row["predicted"])) for row in rows]
    for key, value in zip(keys, values, strict=True):
        largest[key] = max(largest.get(key, 0.0), value)
    small = [value < SMALL * largest[key] for key, value in zip(keys, values, strict=True)]
    return [
        (largest[key] if less else value, less)
        for key, value, less in zip(keys, values, small, strict=True)
    ]


def table(path: Path) -> str:
    """How far predictions are from networks, in standard errors and in percent."""
    rows = list(csv.DictReader(path.read_text().splitlines()))
    every = list(zip(rows, scales(rows), strict=True))
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for key in dict.fromkeys((row["case"], row["optimizer"]) for row in rows):
        own = [one for one in every if (one[0]["case"], one[0]["optimizer"]) == key]
        z = [abs(float(row["z"])) for row, _ in own]
        off = [abs(float(row["measured"]) - float(row["predicted"])) / s for row, (s, _) in own]
        errors = [float(row["se"]) / s for row, (s, _) in own]
        counts = (str(len(own)), str(sum(less for _, (_, less) in own)))
        rms = math.sqrt(sum(one**2 for one in z) / len(z))
        ends = (f"{rms:.2f}", f"{max(z):.1f}", f"{max(off):.1%}", f"{max(errors):.1%}")
        wide = str(sum(error > WIDE for error in errors))
        lines.append(f"| {' | '.join((*key, *counts, *ends, wide))} |")
    return "\n".join(lines) + "\n"

"""docs/first_step.csv (``python benchmarks/first_step.py``) as a table: a line a case and
optimiser."""

from __future__ import annotations

import csv
import math
from pathlib import Path

FILE = Path(__file__).parent / "first_step.csv"
WIDE = 0.01
HEAD = (
    "network", "optimiser", "rows", "rms z", "largest z", "largest deviation", "largest error",
    "errors above 1 %",
)  # fmt: skip


def table(path: Path) -> str:
    """How far predictions are from networks, in standard errors and in percent."""
    rows = list(csv.DictReader(path.read_text().splitlines()))
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for key in dict.fromkeys((row["case"], row["optimizer"]) for row in rows):
        own = [row for row in rows if (row["case"], row["optimizer"]) == key]
        z = [abs(float(row["z"])) for row in own]
        some = [row for row in own if float(row["predicted"])]  # not 0, of which nothing is a share
        off = [abs(float(row["deviation"])) for row in some]
        errors = [float(row["se"]) / abs(float(row["predicted"])) for row in some]
        wide = str(sum(error > WIDE for error in errors))
        rms = math.sqrt(sum(one**2 for one in z) / len(z))
        ends = (f"{rms:.2f}", f"{max(z):.1f}", f"{max(off):.1%}", f"{max(errors):.1%}", wide)
        lines.append(f"| {' | '.join((*key, str(len(own)), *ends))} |")
    return "\n".join(lines) + "\n"

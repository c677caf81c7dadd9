"""docs/real_models.csv (``python docs/make_real_models.py``) as a table: a line a family."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

FILE = Path(__file__).parent / "real_models.csv"
VERDICTS = ("rejected", "inconclusive", "confirmed")  # the gravest first


def rms(lines: Iterable[Mapping[str, object]]) -> float:
    """Root mean square of z over all rows that these lines stand for."""
    counted = [(int(str(line["rows"])), float(str(line["rms_z"]))) for line in lines]
    return math.sqrt(sum(n * z**2 for n, z in counted) / sum(n for n, _ in counted))


def table(path: Path) -> str:
    """By family its verdict, and of every quantity the 90 % interval that reaches furthest."""
    rows = list(csv.DictReader(path.read_text().splitlines()))
    quantities = list(dict.fromkeys(row["quantity"] for row in rows))
    lines = [
        f"| family | networks | verdict | {' | '.join(quantities)} | rms z |",
        "|---" * (len(quantities) + 4) + "|",
    ]
    for family in dict.fromkeys(row["family"] for row in rows):
        own = [row for row in rows if row["family"] == family]
        worst = min((row["verdict"] for row in own), key=VERDICTS.index)
        known = {
            r["quantity"]: f"{float(r['lower']):+.1%} .. {float(r['upper']):+.1%}" for r in own
        }
        ends = [known.get(quantity, "not predicted") for quantity in quantities]
        said = [family, own[0]["seeds"], worst, *ends, f"{rms(own):.2f}"]
        lines.append(f"| {' | '.join(said)} |")
    return "\n".join(lines) + "\n"

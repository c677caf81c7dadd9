"""Judge the whole product of cases and write docs/verdicts.csv: per case and quantity, the row
nearest to the tolerance.

    python docs/make_verdicts.py [--part I/N] [--seed S]

``--part``: every N-th case from the I-th, into docs/verdicts.csv.I (for several processes; cases
already there are kept, so an interrupted run continues); without it, parts are joined.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import sigprop as sp
from sigprop.agreement.cases import every

FILE = Path(__file__).parent / "verdicts.csv"
COLUMNS = [
    "case",
    "verdict",
    "tolerance",
    "seed",
    "engine",
    "widths",
    "samples",
    "quantity",
    "row",
    "theory",
    "a",
    "se",
    "lower",
    "upper",
    "b",
    "b_se",
]


def lines(label: str, table: sp.Table) -> list[dict[str, Any]]:
    """The row of each quantity whose interval reaches furthest."""
    notes = dict(table.notes or {})
    found: dict[str, dict[str, Any]] = {}
    for row in table:

        def reach(r):
            return max(r["upper"], -r["lower"])

        if row["quantity"] not in found or reach(row) > reach(found[row["quantity"]]):
            found[row["quantity"]] = row
    about = {
        "case": label,
        "verdict": table.verdict,
        "seed": notes["seed"],
        "engine": notes["engine"],
    }
    about |= {
        "widths": " ".join(map(str, notes.get("widths", ()))),
        "samples": " ".join(map(str, notes.get("samples", ()))),
    }
    keys = ("application", "application_2", "token", "token_2", "group")
    return [
        about
        | {
            "tolerance": row["tolerance"],
            "quantity": name,
            "row": " ".join(f"{k}={row[k]}" for k in keys if k in row),
            "theory": f"{row['theory']:.8g}",
        }
        | {
            "a": f"{row['deviation']:.3g}",
            "se": f"{row['se']:.2g}",
            "lower": f"{row['lower']:.3g}",
            "upper": f"{row['upper']:.3g}",
        }
        | {"b": f"{row['slope']:.3g}", "b_se": f"{row['slope_se']:.2g}"}
        for name, row in found.items()
    ]


def main() -> None:
    """Run a part, or join the parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", default=None)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.part is None:
        parts = sorted(FILE.parent.glob("verdicts.csv.*"))
        rows = [row for part in parts for row in csv.DictReader(part.open())]
        order = {case.label: i for i, case in enumerate(every())}
        with FILE.open("w", newline="") as out:
            writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(sorted(rows, key=lambda row: order[row["case"]]))
        return
    index, count = map(int, given.part.split("/"))
    path = FILE.with_suffix(f".csv.{index}")
    done = {row["case"] for row in csv.DictReader(path.open())} if path.exists() else set()
    with path.open("a", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        if not done:
            writer.writeheader()
        for case in (case for case in every()[index::count] if case.label not in done):
            start = time.monotonic()
            table = sp.verify(
                case.architecture,
                tolerance=case.tolerance,
                seed=given.seed,
                quantities=case.quantities,
                applications=case.applications,
            )
            print(
                f"{case.label:40} {table.verdict:12} {time.monotonic() - start:6.1f} s  "
                f"{dict(table.notes or {}).get('reason')}",
                flush=True,
            )
            writer.writerows(lines(case.label, table))
            out.flush()


if __name__ == "__main__":
    main()

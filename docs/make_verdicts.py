"""Judge the whole product of cases, a study kept in docs/verdicts.db, and write docs/verdicts.csv
from it: per case and quantity, the row nearest to the tolerance.

    python docs/make_verdicts.py [--jobs K] [--shard I/N] [--seed S] [--new]

What the store has is not judged again: an interrupted run continues. --shard: the I-th of N parts,
into a store of its own beside it, for several machines; a run without it takes what those have,
judges the rest and writes the file. --new: puts an older store aside, as after a change of the
cases. ``sigprop study status docs/verdicts.db`` says how far it is.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sigprop as sp
from sigprop.agreement.cases import Case, every
from sigprop.studies.store import reading
from sigprop.studies.store.store import Store

FILE = Path(__file__).parent / "verdicts.csv"
KEYS = ("application", "application_2", "token", "token_2", "group")
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


def study(cases: Sequence[Case], seed: int, store: Path) -> sp.Study:
    """Return the study of cases: each an architecture at its own tolerance, on its own rows."""
    return sp.Study(
        "verdicts",
        command="verify",
        architecture={case.label: case.architecture for case in cases},
        options={"seed": seed},
        list=[
            {
                "architecture": case.label,
                "tolerance": case.tolerance,
                "quantities": case.quantities,
                "applications": case.applications,
            }
            for case in cases
        ],
        store=store,
    )


def lines(store: Path) -> Iterator[dict[str, Any]]:
    """Yield of every case that is judged, in their order, the row of each quantity whose interval
    reaches furthest."""
    with Store(store) as kept:
        units = reading.finished(kept, lambda varied: True, reading.newest(kept))
        furthest: dict[tuple[int, str], dict[str, Any]] = {}
        for unit, row in reading.rows(kept, units, None, None):
            key = unit, row["quantity"]
            if key not in furthest or reach(row) > reach(furthest[key]):
                furthest[key] = row
    for (unit, _), row in furthest.items():
        yield line(units[unit], row)


def reach(row: Mapping[str, Any]) -> float:
    """Return how far from zero a row's interval reaches."""
    return max(row["upper"], -row["lower"])


def line(unit: reading.Record, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of the file."""
    about = {name: unit.notes[name] for name in ("seed", "engine")}
    sizes = {name: " ".join(map(str, unit.notes.get(name, ()))) for name in ("widths", "samples")}
    return {
        "case": unit.varied["architecture"],
        "verdict": unit.verdict,
        "tolerance": row["tolerance"],
        **about,
        **sizes,
        "quantity": row["quantity"],
        "row": " ".join(f"{k}={row[k]}" for k in KEYS if k in row),
        "theory": f"{row['theory']:.8g}",
        "a": f"{row['deviation']:.3g}",
        "se": f"{row['se']:.2g}",
        "lower": f"{row['lower']:.3g}",
        "upper": f"{row['upper']:.3g}",
        "b": f"{row['slope']:.3g}",
        "b_se": f"{row['slope_se']:.2g}",
    }


def write(path: Path, store: Path) -> None:
    """Write the file from the store."""
    with path.open("w", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines(store))


def main() -> int:
    """Judge what is missing and write the file; exit code 1 where a case could not be judged."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--shard", default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--new", action="store_true")
    given = parser.parse_args()
    asked = study(every(), given.seed, FILE.with_suffix(".db"))
    try:
        if given.new:
            asked.put_aside(given.shard)
        if given.shard is None and asked.shards():
            asked.merge(*asked.shards())
        report = asked.run(jobs=given.jobs, shard=given.shard, progress=True)
    except sp.InputError as error:
        raise SystemExit(str(error)) from None
    print(f"{report.done} cases judged now, {report.counts.done} of {report.counts.total} are kept")
    if given.shard is None:
        write(FILE, asked.path)
    return int(report.counts.failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())

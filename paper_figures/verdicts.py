"""Every architecture's deviation from its theory, with its interval: docs/verdicts.csv on one
page."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import sigprop as sp
from sigprop.description.quantities import QUANTITIES
from sigprop.paper_figures._draw import COLOURS, MARKERS, split
from sigprop.paper_figures._judge import Judged
from sigprop.paper_figures._registry import Figure

FILE = Path(sp.__file__).parents[1] / "docs" / "verdicts.csv"
TICKS: dict[str, Any] = {"rotation": 90, "fontsize": 5.5, "ha": "center"}


def tables(run: Any) -> dict[str, sp.Table]:
    """One row a judged number: theory, the limit of the networks, and the 90 % interval of their
    difference over scale."""
    with FILE.open(newline="", encoding="utf-8") as file:
        rows = [_row(line) for line in csv.DictReader(file)]
    about = {
        "file": "docs/verdicts.csv",
        "seeds, widths and samples": "in that file, a line a row",
    }
    return {"deviations": run.table("verdicts", rows, about)}


def _row(line: Mapping[str, str]) -> dict[str, Any]:
    """Read one line of the file."""
    theory, a = float(line["theory"]), float(line["a"])
    scale = 1.0 if QUANTITIES[line["quantity"]].scale != "value" or theory == 0 else abs(theory)
    return {
        "case": line["case"],
        "quantity": line["quantity"],
        "label": line["row"],
        "theory": theory,
        "scale": scale,
        "measured": theory + a * scale,
        "deviation": a,
    } | {name: float(line[name]) for name in ("lower", "upper", "tolerance")}


class Tested(NamedTuple):
    """One number's test: a, the farthest that its interval reaches, and whether the interval lies
    outside the tolerance."""

    row: Mapping[str, Any]
    a: float
    reach: float
    outside: bool


def judge(tables: Mapping[str, Any]) -> Judged:
    """Each row an equivalence test at its own tolerance: rejected where an interval lies
    outside, confirmed where all lie inside (level 5 %)."""
    tests = [_tested(row) for row in tables["deviations"]]
    worst = max(tests, key=lambda test: test.reach / test.row["tolerance"])
    row, ratio = worst.row, worst.reach / worst.row["tolerance"]
    shifts: dict[str, float] = {}
    for test in tests:
        case, shift = test.row["case"], test.reach + test.row["tolerance"]
        shifts[case] = min(shifts.get(case, math.inf), shift)
    against = sum(test.outside for test in tests)
    name = f"{row['case']}: {row['quantity']} {row['label']}"
    verdict = "rejected" if against else "confirmed" if ratio <= 1 else "inconclusive"
    return Judged(
        verdict,
        len(tests),
        against,
        name,
        worst.a,
        row["tolerance"],
        max(shifts.values()),
        "" if verdict == "confirmed" else f"{name} reaches {ratio:.2f} of its tolerance",
    )


def _tested(row: Mapping[str, Any]) -> Tested:
    """Test one number by its interval."""
    a = (row["measured"] - row["theory"]) / row["scale"]
    low, high = a - (row["deviation"] - row["lower"]), a + (row["upper"] - row["deviation"])
    outside = low > row["tolerance"] or high < -row["tolerance"]
    return Tested(row, a, max(-low, high), outside)


def draw(figure: Any, tables: Any) -> None:
    """Every case's number that reaches farthest, in units of its tolerance: above the named
    architectures, below the product of components."""
    cases = split(tables["deviations"], "case")
    product = [name for name in cases if name.split()[0] in ("tied", "untied", "looped")]
    named = [name for name in cases if name not in product]
    above, below = figure.subplots(2, 1, gridspec_kw={"height_ratios": [1.2, 1]})
    _draw_cases(above, 0, {name: cases[name] for name in named}, "architectures")
    ticks = {place: _short(name) for place, name in enumerate(named)}
    above.set_xticks([*ticks], [*ticks.values()], **TICKS)
    above.grid(False, axis="x")
    what = "activation x tying x norm x matrices x tokens (first case of each named)"
    _draw_cases(below, 1, {name: cases[name] for name in product}, what)
    starts = {" ".join(name.split()[:2]): place for place, name in reversed([*enumerate(product)])}
    ticks = {place: name for name, place in starts.items()}
    below.set_xticks([*ticks], [*ticks.values()], **TICKS)
    below.grid(True, axis="x")


def _draw_cases(axes: Any, index: int, cases: Mapping[str, Any], what: str) -> None:
    """Draw the worst number of each case, with its interval."""
    worst = [max(rows, key=lambda row: max(-row["lower"], row["upper"])) for rows in cases.values()]
    ends = [
        [abs(row[end] - row["deviation"]) / row["tolerance"] for row in worst]
        for end in ("lower", "upper")
    ]
    axes.errorbar(
        range(len(worst)),
        [row["deviation"] / row["tolerance"] for row in worst],
        ends,
        fmt=MARKERS[index],
        color=COLOURS[index],
        markersize=2,
        linewidth=0.6,
        capsize=0,
    )
    axes.axhspan(-1, 1, color="0.92", zorder=0, linewidth=0)
    axes.axhline(0, color="0.3", linewidth=0.8)
    axes.set(ylim=(-1.3, 1.3), xlim=(-1, len(cases)), ylabel="deviation / tolerance")
    count = sum(map(len, cases.values()))
    axes.set_title(
        f"{what}: {len(cases)} cases, {count} numbers, tolerances {_tolerances(worst)}",
        loc="left",
    )


def _short(name: str) -> str:
    """Drop the last word of a case's name."""
    return name.rsplit(" ", 1)[0]


def _tolerances(rows: Any) -> str:
    """Write out the tolerances that occur."""
    return ", ".join(f"{100 * t:g} %" for t in sorted({row["tolerance"] for row in rows}))


FIGURE = Figure(
    name="verdicts",
    paper="ours",
    item="summary",
    shows="every architecture's deviation from its theory, with its interval, inside its tolerance",
    caption="Of every case in docs/verdicts.csv (product of activations, tying, norms and "
    "branches; attention, NAG, skipless, variable width, neighbours) the "
    "number whose 90 % interval reaches farthest. Zero: the wide limit. Points: networks "
    "extrapolated to infinite width over a ladder. Shaded: the tolerance. "
    "Nothing is sampled for this figure; seeds, widths and samples are in that file. A case "
    "judged at 5 % shows a theory wrong by 10 % or less, one at 1 % by "
    "2 %.",
    tables=tables,
    draw=draw,
    size=(7.0, 5.6),
    seconds=3,
    judge=judge,
    sources=(FILE,),
)

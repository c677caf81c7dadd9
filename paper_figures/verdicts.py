"""Every architecture's deviation from its theory, with its interval: docs/verdicts.csv on one page."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import COLOURS, MARKERS, split
from sigprop.paper_figures._judge import Judged
from sigprop.paper_figures._registry import Figure
from sigprop.quantities import QUANTITIES

FILE = Path(sp.__file__).parents[1] / "docs" / "verdicts.csv"
TOLERANCES = (0.01, 0.03, 0.05)
MOST_NAMED = 24


def tables(run: Any) -> dict[str, sp.Table]:
    """One row a judged number: theory, the limit of the networks, and the 90 % interval of their difference over scale."""
    rows = []
    with FILE.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            theory, a = float(line["theory"]), float(line["a"])
            scale = 1.0 if QUANTITIES[line["quantity"]].scale != "value" or theory == 0 else abs(theory)
            numbers = {name: float(line[name]) for name in ("lower", "upper", "tolerance")}
            rows.append(
                {"case": line["case"], "quantity": line["quantity"], "label": line["row"], "theory": theory, "scale": scale}
                | {"measured": theory + a * scale, "deviation": a} | numbers
            )  # fmt: skip
    return {"deviations": run.table("verdicts", rows, {"file": "docs/verdicts.csv", "seeds, widths and samples": "in that file, a line a row"})}


def judge(tables: Mapping[str, Any]) -> Judged:
    """Each row an equivalence test at its own tolerance: rejected where an interval lies outside, confirmed where all lie inside (level 5 %)."""
    found = []
    for row in tables["deviations"]:
        a = (row["measured"] - row["theory"]) / row["scale"]
        low, high = a - (row["deviation"] - row["lower"]), a + (row["upper"] - row["deviation"])
        found.append((max(-low, high) / row["tolerance"], a, row, low > row["tolerance"] or high < -row["tolerance"], max(-low, high)))
    ratio, a, row, _, reach = max(found, key=lambda one: one[0])
    against, name = sum(one[3] for one in found), f"{row['case']}: {row['quantity']} {row['label']}"
    verdict = "rejected" if against else "confirmed" if ratio <= 1 else "inconclusive"
    reason = "" if verdict == "confirmed" else f"{name} reaches {ratio:.2f} of its tolerance"
    return Judged(verdict, len(found), against, name, a, row["tolerance"], reach + row["tolerance"], reason)


def draw(figure: Any, tables: Any) -> None:
    """Every case's row that comes nearest to its tolerance, in units of it; cases in order, one panel a tolerance."""
    groups = {t: rows for t, rows in split(tables["deviations"], "tolerance").items() if len(split(rows, "case")) > 1}
    panels = figure.subplots(len(groups), 1, squeeze=False, gridspec_kw={"height_ratios": [1.6 if len(split(r, "case")) > 60 else 1 for r in groups.values()]})
    for index, (axes, (tolerance, rows)) in enumerate(zip(panels[:, 0], sorted(groups.items()), strict=True)):
        worst = [max(own, key=lambda row: max(-row["lower"], row["upper"])) for own in split(rows, "case").values()]
        worst.sort(key=lambda row: row["deviation"])
        xs = range(1, len(worst) + 1)
        bars = [[row["deviation"] - row["lower"] for row in worst], [row["upper"] - row["deviation"] for row in worst]]
        bars = [[100 * value for value in side] for side in bars]
        middle = [100 * row["deviation"] for row in worst]
        axes.errorbar(xs, middle, bars, fmt=MARKERS[index], color=COLOURS[index], markersize=2, linewidth=0.5, capsize=0)
        axes.axhspan(-100 * tolerance, 100 * tolerance, color="0.92", zorder=0, linewidth=0)
        axes.axhline(0, color="0.3", linewidth=0.8)
        axes.set(ylim=(-125 * tolerance, 125 * tolerance), xlim=(0, len(worst) + 1), ylabel="deviation / %")
        axes.set_title(f"{len(worst)} cases, {len(rows)} numbers, judged at {tolerance:.0%}: each case's number nearest to its tolerance", loc="left")
    panels[-1][0].set_xlabel("case, in order of its deviation (names in verdicts.deviations.csv)")


FIGURE = Figure(
    name="verdicts",
    paper="ours",
    item="summary",
    shows="every architecture's deviation from its theory, with its interval, inside its tolerance",
    caption="Of every case in docs/verdicts.csv (product of activations, tying, norms and branches; attention, NAG, skipless, variable width, neighbours) the "
    "number whose 90 % interval reaches farthest. Zero: the wide limit. Points: networks extrapolated to infinite width over a ladder. Shaded: the tolerance. "
    "Seeds, widths and samples are in that file.",
    tables=tables,
    draw=draw,
    size=(7.0, 4.6),
    seconds=3,
    judge=judge,
    sources=(FILE,),
)

"""Every architecture's deviation from its theory, with its interval: docs/verdicts.csv on one
page."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sigprop as sp
from sigprop.description.quantities import QUANTITIES
from sigprop.paper_figures._draw import COLOURS, MARKERS, split
from sigprop.paper_figures._judge import Judged
from sigprop.paper_figures._registry import Figure

FILE = Path(sp.__file__).parents[1] / "docs" / "verdicts.csv"


def tables(run: Any) -> dict[str, sp.Table]:
    """One row a judged number: theory, the limit of the networks, and the 90 % interval of their
    difference over scale."""
    rows = []
    with FILE.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            theory, a = float(line["theory"]), float(line["a"])
            scale = (
                1.0 if QUANTITIES[line["quantity"]].scale != "value" or theory == 0 else abs(theory)
            )
            numbers = {name: float(line[name]) for name in ("lower", "upper", "tolerance")}
            rows.append(
                {
                    "case": line["case"],
                    "quantity": line["quantity"],
                    "label": line["row"],
                    "theory": theory,
                    "scale": scale,
                }
                | {"measured": theory + a * scale, "deviation": a}
                | numbers
            )
    return {
        "deviations": run.table(
            "verdicts",
            rows,
            {
                "file": "docs/verdicts.csv",
                "seeds, widths and samples": "in that file, a line a row",
            },
        )
    }


def judge(tables: Mapping[str, Any]) -> Judged:
    """Each row an equivalence test at its own tolerance: rejected where an interval lies
    outside, confirmed where all lie inside (level 5 %)."""
    found = []
    for row in tables["deviations"]:
        a = (row["measured"] - row["theory"]) / row["scale"]
        low, high = a - (row["deviation"] - row["lower"]), a + (row["upper"] - row["deviation"])
        found.append(
            (
                max(-low, high) / row["tolerance"],
                a,
                row,
                low > row["tolerance"] or high < -row["tolerance"],
                max(-low, high),
            )
        )
    ratio, a, row, *_ = max(found, key=lambda one: one[0])
    sees: dict[str, float] = {}
    for *_, own, _, reach in found:
        sees[own["case"]] = min(sees.get(own["case"], math.inf), reach + own["tolerance"])
    against, name = sum(one[3] for one in found), f"{row['case']}: {row['quantity']} {row['label']}"
    verdict = "rejected" if against else "confirmed" if ratio <= 1 else "inconclusive"
    reason = "" if verdict == "confirmed" else f"{name} reaches {ratio:.2f} of its tolerance"
    return Judged(
        verdict, len(found), against, name, a, row["tolerance"], max(sees.values()), reason
    )


def draw(figure: Any, tables: Any) -> None:
    """Every case's number that reaches farthest, in units of its tolerance: above the named
    architectures, below the product of components."""
    cases = split(tables["deviations"], "case")
    product = [name for name in cases if name.split()[0] in ("tied", "untied", "looped")]
    named = [name for name in cases if name not in product]
    for index, (axes, names) in enumerate(
        zip(
            figure.subplots(2, 1, gridspec_kw={"height_ratios": [1.2, 1]}),
            (named, product),
            strict=True,
        )
    ):
        worst = [
            max(cases[name], key=lambda row: max(-row["lower"], row["upper"])) for name in names
        ]
        middle = [row["deviation"] / row["tolerance"] for row in worst]
        ends = [
            [abs(row[end] - row["deviation"]) / row["tolerance"] for row in worst]
            for end in ("lower", "upper")
        ]
        axes.errorbar(
            range(len(worst)),
            middle,
            ends,
            fmt=MARKERS[index],
            color=COLOURS[index],
            markersize=2,
            linewidth=0.6,
            capsize=0,
        )
        axes.axhspan(-1, 1, color="0.92", zorder=0, linewidth=0)
        axes.axhline(0, color="0.3", linewidth=0.8)
        starts = (
            {" ".join(name.split()[:2]): place for place, name in reversed([*enumerate(names)])}
            if names is product
            else {}
        )
        ticks = {place: name for name, place in starts.items()} or {
            place: _short(name) for place, name in enumerate(names)
        }
        axes.set_xticks([*ticks], [*ticks.values()], rotation=90, fontsize=5.5, ha="center")
        axes.grid(names is product, axis="x")
        axes.set(ylim=(-1.3, 1.3), xlim=(-1, len(names)), ylabel="deviation / tolerance")
        count = sum(len(cases[name]) for name in names)
        what = (
            "activation x tying x norm x matrices x tokens (first case of each named)"
            if names is product
            else "architectures"
        )
        axes.set_title(
            f"{what}: {len(names)} cases, {count} numbers, tolerances {_tolerances(worst)}",
            loc="left",
        )


def _short(name: str) -> str:
    return name.rsplit(" ", 1)[0]


def _tolerances(rows: Any) -> str:
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

"""Widths of the blocks in the V schedule, beside those that the paper's solver was released
with."""

from __future__ import annotations

from typing import Any

import sigprop as sp
from sigprop.blocks.widths import vee
from sigprop.paper_figures._draw import COLOURS, LINES, MARKERS, letter, split
from sigprop.paper_figures._exact import exact
from sigprop.paper_figures._registry import FOLDER, Figure
from sigprop.paper_figures._released import NAMES, RELEASED


def tables(run: Any) -> dict[str, sp.Table]:
    """theory: the solver's width, rounded to multiples of 32; fine: before rounding, over d;
    unit 1: widths are integers."""
    rows = []
    for (width, depth), text in RELEASED.items():
        fine, own = vee(1000 * width, depth, 0.3, 0.75, 1), vee(width, depth, 0.3, 0.75, 32)
        for block, (d, smooth, published) in enumerate(
            zip(own, fine, map(int, text.split()), strict=True), 1
        ):
            keys = {
                "curve": NAMES[width, depth],
                "block": block,
                "depth": depth,
                "reference_width": width,
            }
            rows.append(
                keys
                | {"theory": d, "published": published, "unit": 1, "fine": smooth / (1000 * width)}
            )
    return {
        "widths": run.table(
            "width-schedule",
            rows,
            {"architecture": "variable-width", "bottleneck": 0.3, "position": 0.75, "round_to": 32},
        )
    }


def draw(figure: Any, tables: Any) -> None:
    """Left in coordinates, right over the stem's width and the depth."""
    left, right = figure.subplots(1, 2)
    for i, (name, rows) in enumerate(split(tables["widths"], "curve").items()):
        xs, published = [row["block"] for row in rows], [row["published"] for row in rows]
        given: dict[str, Any] = {
            "linestyle": "",
            "marker": MARKERS[i],
            "color": COLOURS[i],
            "markersize": 3.2,
            "markerfacecolor": "white",
        }
        left.step(
            xs,
            [row["theory"] for row in rows],
            where="mid",
            color=COLOURS[i],
            linestyle=LINES[i],
            label=f"{name}: $d$ = {rows[0]['reference_width']}",
        )
        left.plot(xs, published, **given)
        over = [x / rows[0]["depth"] for x in xs]
        right.plot(over, [row["fine"] for row in rows], color=COLOURS[i], linestyle=LINES[i])
        right.plot(
            over,
            [p / row["reference_width"] for p, row in zip(published, rows, strict=True)],
            **given,
            label=f"{name} as released",
        )
    right.axhline(1, color="0.4", linewidth=0.8)
    right.text(0.42, 1.03, "uniform", fontsize=7, color="0.3")
    left.set(xlabel="block $l$", ylabel="width $d_l$ / coordinates")
    right.set(xlabel="block over depth $l/L$", ylabel="$d_l/d$", ylim=(0, 2))
    letter(left, "widths, multiples of 32")
    letter(right, "before rounding")
    left.legend()
    right.legend()


FIGURE = Figure(
    name="width-schedule",
    paper="2606.18246",
    item="V schedule",
    shows="widths of the blocks in the V schedule beside those of the released solver",
    caption="Lines, computed: widths that fall geometrically from d_1 to 0.3 d at block 0.75 L "
    "and rise to d_1 again, with the parameters of L blocks of width "
    "d (a root found by sigprop.blocks.widths.vee), left rounded to multiples of 32, right before "
    "that. Points: the integers of the paper's released solver, "
    "all of "
    "which must be equal.",
    tables=tables,
    draw=draw,
    size=(7.0, 2.7),
    seconds=1,
    judge=exact,
    sources=(FOLDER / "_released.py",),
)

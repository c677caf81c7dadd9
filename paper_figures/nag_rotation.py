"""Accumulated rotation of the direction by depth, for several gain schedules."""

from __future__ import annotations

from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import curve, legend_of_points, letter, sizes, split
from sigprop.paper_figures._nag import DEPTH, DEPTHS, FILE, baseline, untied
from sigprop.paper_figures._registry import Figure

POWERS = {"p=1/4": 0.25, "p=1/2": 0.5, "p=3/4": 0.75, "p=1": 1.0, "p=3/2": 1.5}
LABELS = {
    "p=1/4": r"$p$ = 1/4: $\sim l^{3/4}$",
    "p=1/2": r"$p$ = 1/2: $\sim l^{1/2}$",
    "p=3/4": r"$p$ = 3/4: $\sim l^{1/4}$",
}
LABELS |= {"p=1": r"$p$ = 1: $\sim \log\, l$", "p=3/2": "$p$ = 3/2: bounded"}


def tables(run: Any) -> dict[str, sp.Table]:
    """One stack a schedule, and the pre-norm stack that rotates as p = 1/2 does."""
    rows = []
    for name, p in POWERS.items():
        rows += untied(
            run,
            ["rotation"],
            labels={"panel": "powers" if p < 1 else "others", "curve": name},
            alpha_exponent=p,
        )
    rows += baseline(run, "rotation", {"panel": "powers", "curve": "pre-norm"})
    return {
        "rotation": run.table(
            "nag-rotation",
            rows,
            {"architectures": ["nag", "residual-mlp"], "depth": DEPTH, "alpha_exponent": POWERS},
        )
    }


def draw(figure: Any, tables: Any) -> None:
    """Left the powers, right the logarithm and what has a limit."""
    panels = figure.subplots(1, 2)
    index = 0
    for axes, (panel, own) in zip(panels, split(tables["rotation"], "panel").items(), strict=True):
        for name, rows in split(own, "curve").items():
            curve(
                axes, rows, "application", index, LABELS.get(name, r"pre-norm, $\varepsilon$ = 1")
            )
            index += 1
        sizes(axes, DEPTHS)
        axes.set(xlabel="applications $l$", ylabel="rotation so far [degrees]")
        letter(axes, "a power of depth" if panel == "powers" else "a logarithm, and a limit")
    panels[0].set_yscale("log")
    panels[1].set_ylim(0, None)
    for axes in panels:
        axes.legend(loc="upper left")
    legend_of_points(figure, tables["rotation"])


FIGURE = Figure(
    name="nag-rotation",
    paper="2606.16112",
    item="Fig. 3 (rotation)",
    shows="accumulated rotation of the direction by depth for gains l^-p, and of a pre-norm stack",
    caption="Predicted: the sum of the angles between successive directions, sum_k arctan(k^-p) "
    "in degrees: about l^(1-p)/(1-p) radians for p < 1 (2 sqrt(l) "
    "at p = 1/2, where a pre-norm stack of residual scale 1 rotates as much: its norm is "
    "sqrt(k)), log l at p = 1, bounded above. Measured: angles between "
    "the states of {samples} networks of width {widths}, {engines} engine. NAG normalises f_perp, "
    "so its angles are identities at every width: they check the "
    "code, not the limit; the pre-norm stack's do check it.",
    tables=tables,
    draw=draw,
    size=(7.0, 2.9),
    seconds=11,
    sources=(FILE,),
)

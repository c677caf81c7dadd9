"""Rms of the last state against depth or loops, under three residual scales."""

from __future__ import annotations

import math
from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import curve, legend_of_points, letter, sizes, split
from sigprop.paper_figures._registry import Figure

SIZES = (1, 2, 4, 8, 16, 32)
SCALES = {"1": "$1$", "N^-1/2": "$N^{-1/2}$", "N^-1": "$N^{-1}$"}
POWERS = dict(zip(SCALES, (0.0, -0.5, -1.0), strict=True))


def tables(run: Any) -> dict[str, sp.Table]:
    """State N of a stack of 32 is the last state of one of N blocks or loops: one stack a
    residual scale, of which that state is kept."""
    rows = []
    for panel, build, size in (
        ("untied", sp.architectures.residual_mlp, "depth"),
        ("tied", sp.architectures.looped_mlp, "loops"),
    ):
        for curve_, power in POWERS.items():
            for n in (None,) if power == 0 else SIZES:  # at scale 1 one stack has them all

                def keep(row, n=n):
                    return row["application"] in SIZES if n is None else row["application"] == n

                stack = build(
                    **{size: max(SIZES)}, residual_scale=1.0 if n is None else float(n) ** power
                )
                rows += run.points(
                    stack, "residual_variance", SIZES, keep=keep, panel=panel, curve=curve_
                )
    return {
        "rms": run.table(
            "looped-energy",
            rows,
            {
                "architectures": ["residual-mlp", "looped-mlp"],
                "sizes": list(SIZES),
                "residual_scale": list(POWERS),
            },
        )
    }


def draw(figure: Any, tables: Any) -> None:
    """Six panels: untied above, tied below."""
    panels = figure.subplots(2, 3, sharex=True)
    for i, (panel, own) in enumerate(split(tables["rms"], "panel").items()):
        for j, (name, rows) in enumerate(split(own, "curve").items()):
            axes = panels[i][j]
            curve(axes, rows, "application", 2 * i, f=math.sqrt)
            sizes(axes, SIZES)
            letter(axes, f"{panel}, $\\varepsilon$ = {SCALES[name]}")
            top = max(math.sqrt(row["theory"]) for row in rows)
            axes.set_ylim(0, 1.12 * top)
            if i == 1:
                axes.set_xlabel("blocks $L$ or loops $N$")
        panels[i][0].set_ylabel("rms of the last state")
    legend_of_points(figure, tables["rms"])


FIGURE = Figure(
    name="looped-energy",
    paper="2606.18524",
    item="Fig. 2",
    shows="rms of the last state against depth (untied) and loops (tied) at residual scales 1, "
    "N^-1/2 and N^-1",
    caption="Predicted: the rms of the residual stream after N untied blocks (above) or N loops "
    "of one block (below), pre-norm ReLU, from the Gram recursion "
    "Gamma[a+1, b+1] = 1{{same slot}} K(R_aa, R_ab, R_bb). Untied stacks stay bounded from eps = "
    "N^-1/2, tied ones only from N^-1. Measured: {samples} "
    "networks of width {widths}, {engines} engine.",
    tables=tables,
    draw=draw,
    size=(7.0, 4.0),
    seconds=40,
)

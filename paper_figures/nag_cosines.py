"""Cosines between the states of untied and of tied norm-agnostic stacks, theory beside
measurement."""

from __future__ import annotations

import math
from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import curve, floor, legend_of_points, letter, split, symmetric
from sigprop.paper_figures._nag import FILE, LOOPS, tied, untied
from sigprop.paper_figures._registry import Figure

MAPS = {"untied": r"untied, $l^{-1/2}$", "tied": r"tied, $l^{-1/2}$", "tied 1/N": "tied, $1/N$"}
TICKS = (0, 4, 8, 12, 16)


def tables(run: Any) -> dict[str, sp.Table]:
    """All pairs of states; and untied ones with the input at two gains, beside a closed form."""

    def here(row):
        return row["application_2"] <= LOOPS

    rows = untied(run, ["state_cosine"], here, labels={"panel": "untied"})
    rows += tied(run, lambda _: True, labels={"panel": "tied"}, alpha_0=1.0, alpha_exponent=0.5)
    rows += tied(run, lambda _: True, labels={"panel": "tied 1/N"}, alpha_0=1 / LOOPS)
    closed = []
    for m in (1.0, 0.5):
        pairs = rows if m == 1 else untied(run, ["state_cosine"], here, modulator=m)
        first = [
            row
            for row in pairs
            if row["application"] == 0 and row.get("panel", "untied") == "untied"
        ]
        closed += [
            row
            | {
                "panel": None,
                "curve": f"m={m:g}",
                "reference": gamma_ratio(row["application_2"], m),
            }
            for row in first
        ]
    about = {"architectures": ["nag", "looped-nag"], "applications": LOOPS}
    return {
        "closed": run.table("nag-cosines", closed, about),
        "cosines": run.table("nag-cosines", rows, about),
    }


def gamma_ratio(b: int, m: float) -> float:
    """cos(h_0, h_b) of independent applications with gains m l^-1/2: prod (1 + m^2/l)^-1/2."""
    return math.exp(
        0.5 * (math.lgamma(b + 1) + math.lgamma(1 + m * m) - math.lgamma(b + 1 + m * m))
    )


def draw(figure: Any, tables: Any) -> None:
    """Theory's maps above the networks', then the cosines with the input."""
    panels = figure.subplots(2, 4, gridspec_kw={"width_ratios": [1, 1, 1, 1.25]})
    rows = tables["cosines"]
    widest = max(row["width"] for row in rows)
    by_panel = split(rows, "panel")
    _draw_maps(figure, panels[:, :3], by_panel, widest)
    above, below = panels[:, 3]
    for index, (name, line) in enumerate(split(tables["closed"], "curve").items()):
        curve(above, line, "application_2", index, "$m$ = 1" if name == "m=1" else "$m$ = 1/2")
    for index, panel in enumerate(("tied", "tied 1/N"), 2):
        line = [row for row in by_panel[panel] if row["application"] == 0]
        curve(below, line, "application_2", index, f"${MAPS[panel].split('$')[1]}$")
    floor(below, widest, max(row["samples"] for row in rows))
    for axes, title in ((above, "untied: $\\Gamma$ ratio"), (below, "tied")):
        axes.set(ylim=(-0.05, 1.05), xticks=TICKS, ylabel=r"$\cos(h_0, h_b)$")
        letter(axes, title)
    above.legend(loc="upper right")
    below.legend(loc="lower right", bbox_to_anchor=(1.0, 0.15))
    below.set_xlabel("state $b$")
    legend_of_points(figure, rows)


def _draw_maps(figure: Any, panels: Any, by_panel: dict[str, Any], width: int) -> None:
    """Draw the cosines of all pairs of states, a column a stack: theory above networks of one
    width."""
    for j, (panel, title) in enumerate(MAPS.items()):
        pairs = [row for row in by_panel[panel] if row["width"] == width]
        for i, column in enumerate(("theory", "measured")):
            axes = panels[i][j]
            image = axes.imshow(symmetric(pairs, column, LOOPS + 1), vmin=0, vmax=1, origin="lower")
            axes.grid(False)
            axes.set(
                xticks=TICKS,
                yticks=TICKS,
                xlabel="state $a$" if i else None,
                ylabel=f"{'networks' if i else 'wide limit'}: state $b$" if j == 0 else None,
            )
        letter(panels[0][j], title)
    figure.colorbar(
        image,
        ax=panels,
        shrink=0.8,
        label=rf"$\cos(h_a, h_b)$; networks: n = {width}",
        location="bottom",
        aspect=40,
    )


FIGURE = Figure(
    name="nag-cosines",
    paper="2606.16112",
    item="residual geometry (section IV-C)",
    shows="cosines between the states of untied and tied norm-agnostic stacks, theory beside "
    "measurement",
    caption="Predicted: the cosine of states a < b: untied rho_a/rho_b = prod_(a < l <= b) (1 + "
    "alpha_l^2 m^2)^-1/2, with the input sqrt(Gamma(b+1) "
    "Gamma(1+m^2)/Gamma(b+1+m^2)) at gains m l^-1/2 (lines top right); tied, from the Gram "
    "recursion. Loops of one block with gains l^-1/2 lose "
    "the input and settle on a direction of their own, with gains 1/N they keep it. Measured: "
    "mean over {samples} networks of width {widths} "
    "(maps: the widest), {engines} engine.",
    tables=tables,
    draw=draw,
    size=(7.0, 4.2),
    seconds=14,
    sources=(FILE,),
)

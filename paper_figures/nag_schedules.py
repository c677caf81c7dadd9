"""Which gain schedules remember the input and which keep on rotating: a sweep of the exponent."""

from __future__ import annotations

import math
from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import COLOURS, curve, legend_of_points, letter, split
from sigprop.paper_figures._nag import DEPTH, FILE, at, shown, untied
from sigprop.paper_figures._registry import Figure

SHOWN, PANELS = (4, 16, 64), {"state_cosine": "memory", "rotation": "rotation"}
POWERS, STEPS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5), tuple(0.125 * k for k in range(13))


def tables(run: Any) -> dict[str, sp.Table]:
    """One stack of 64 an exponent; theory between the measured ones too."""
    rows = []
    for p in STEPS:
        own = untied(
            run,
            list(PANELS),
            lambda row: shown(row) and at(row) in SHOWN,
            p in POWERS,
            alpha_exponent=p,
        )
        rows += [
            {"panel": PANELS[row["quantity"]], "curve": f"L={at(row)}", "p": p} | row for row in own
        ]
    limit = [
        {"panel": "memory", "p": p, "theory": remembered(p)}
        for p in (0.525 + 0.025 * k for k in range(40))
    ]
    about = {"architecture": "nag", "depth": DEPTH, "alpha_exponent": list(STEPS)}
    return {
        "limit": run.table("nag-schedules", limit, about),
        "sweep": run.table("nag-schedules", rows, about),
    }


def remembered(p: float, terms: int = 10**4) -> float:
    """prod over l of (1 + l^-2p)^-1/2, of which the tail is an integral; sqrt(pi/sinh pi) at p =
    1."""
    tail = (terms + 0.5) ** (1 - 2 * p) / (2 * p - 1)
    return math.exp(-0.5 * (sum(math.log1p(k ** (-2 * p)) for k in range(1, terms + 1)) + tail))


def draw(figure: Any, tables: Any) -> None:
    """Left what is left of the input, right how far states have turned."""
    panels = figure.subplots(1, 2, sharex=True)
    for axes, panel in zip(panels, PANELS.values(), strict=True):
        axes.axvspan(0.5, 1.0, color="0.92", zorder=0, linewidth=0)
        for index, (name, rows) in enumerate(
            split(split(tables["sweep"], "panel")[panel], "curve").items()
        ):
            curve(axes, rows, "p", index, f"$L$ = {name[2:]}")
        axes.set(xlabel=r"exponent $p$ of the gains $\alpha_l = l^{-p}$")
        letter(axes, "memory of the input" if panel == "memory" else "length of the path")
    rows = [{"p": 0.5, "theory": 0.0}, *tables["limit"]]
    panels[0].plot(
        [row["p"] for row in rows],
        [row["theory"] for row in rows],
        color=COLOURS[4],
        linestyle=":",
        label=r"$L\to\infty$",
    )
    panels[0].set(ylabel=r"$\cos(h_0, h_L)$", ylim=(-0.03, 0.8))
    panels[1].set(ylabel="rotation of $L$ applications [degrees]", yscale="log")
    panels[1].text(
        0.75,
        0.88,
        r"$L\to\infty$: remembers," "\nrotates without end",
        transform=panels[1].get_xaxis_transform(),
        ha="center",
        fontsize=6.5,
    )
    panels[0].legend(loc="upper left")
    panels[1].legend(loc="upper right")
    legend_of_points(figure, tables["sweep"])


FIGURE = Figure(
    name="nag-schedules",
    paper="2606.16112",
    item="eqs 23-24, sweep of the exponent",
    shows="what is left of the input and how far the direction has turned, against the exponent "
    "of the gains",
    caption="Predicted, gains l^-p: cos(h_0, h_L) = prod_l (1 + l^-2p)^-1/2, which has a limit "
    "above 0 for p > 1/2 (dotted; sqrt(pi/sinh pi) at p = 1), and "
    "the rotation sum_l arctan(l^-p), which has none for p <= 1: between the two (shaded) a "
    "network of any depth remembers its input and later applications "
    "still turn it without bound. Measured: {samples} networks of width {widths}, {engines} "
    "engine. NAG normalises f_perp, so both are identities at every "
    "width, the rotation in each network and the cosine in the mean: they check the code, not the "
    "limit.",
    tables=tables,
    draw=draw,
    size=(7.0, 2.9),
    seconds=9,
    sources=(FILE,),
    unjudged=("limit",),
)

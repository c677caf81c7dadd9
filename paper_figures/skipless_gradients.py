"""Gradients by depth in networks without skips or norms: vanilla, U-SPA, E-SPA, Value-SkipInit."""

from __future__ import annotations

from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import curve, legend_of_points, letter, split
from sigprop.paper_figures._registry import Figure
from sigprop.paper_figures._skipless import FILE, NAMES, RHO, SPAN, networks

TOKENS, DEPTH, STATES = 8, 12, (0, 3, 6, 9, 12)
WIDTHS = {64: "dense", 1024: "matrix-free"}
SHOWN = {0: "first", 3: "fourth", TOKENS - 1: "last"}


def tables(run: Any) -> dict[str, sp.Table]:
    """Three tokens' gradient variance."""
    rows = []
    for name, stack in networks(DEPTH, TOKENS).items():
        for width, engine in WIDTHS.items():

            def keep(row):
                return row["token"] in SHOWN

            found = run.points(
                stack,
                "gradient_variance",
                STATES,
                keep=keep,
                widths=[width],
                engine=engine,
                curve=name,
            )
            rows += [row | {"panel": SHOWN[row["token"]]} for row in found]
    about = {
        "architectures": list(NAMES),
        "depth": DEPTH,
        "tokens": TOKENS,
        "rho_final": RHO,
        "gamma_final": SPAN / TOKENS,
    }
    return {"gradients": run.table("skipless-gradients", rows, about)}


def draw(figure: Any, tables: Any) -> None:
    """A panel a token."""
    panels = figure.subplots(1, len(SHOWN))
    for axes, (panel, own) in zip(panels, split(tables["gradients"], "panel").items(), strict=True):
        for index, (name, rows) in enumerate(split(own, "curve").items()):
            curve(axes, rows, "application", index, NAMES[name])
        axes.set(
            xlabel="layer $l$",
            xticks=STATES,
            **({"ylim": (0, 1.1 * TOKENS)} if panel == "first" else {"yscale": "log"}),
        )
        letter(axes, f"{panel} token of {TOKENS}")
    panels[0].set_ylabel(r"gradient variance $\langle g_l, g_l\rangle$")
    panels[-1].legend()
    legend_of_points(figure, tables["gradients"])


FIGURE = Figure(
    name="skipless-gradients",
    paper="2302.10322",
    item="backward of its kernel equation",
    shows="gradient variance by depth and token without skips or norms: vanilla, U-SPA, E-SPA, "
    "Value-SkipInit",
    caption="Predicted: Lambda_(l-1) = A_l^T Lambda_l A_l for a read-out of every token, Lambda_L "
    "= 1 (g = sqrt(n) dz/dh). Causal uniform attention moves all "
    "gradients to the first token; designed attention keeps a share of each token's own. "
    "Measured: backpropagation through {samples} networks of 12 layers "
    "with orthogonal matrices, width {widths}, {engines} engine, vanilla as Value-SkipInit's "
    "other end.",
    tables=tables,
    draw=draw,
    size=(7.0, 2.9),
    seconds=26,
    sources=(FILE,),
)

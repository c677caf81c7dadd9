"""Gradients of the direction by depth: flat for homogeneous branches, growing towards the input
for tanh."""

from __future__ import annotations

from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import curve, legend_of_points, letter, split
from sigprop.paper_figures._nag import DEPTH, FILE, WIDTHS
from sigprop.paper_figures._registry import Figure

STATES, TIMES = (0, 2, 4, 8, 16, 24, 32, 48, 64), 8
CURVES = {"relu": {"p=1/4": 0.25, "p=1/2": 0.5}, "tanh": {"p=1/4": 0.25, "p=1/2": 0.5, "p=1": 1.0}}
TITLES = {"relu": r"homogeneous: $\phi$ = ReLU", "tanh": r"$\phi$ = tanh"}


def tables(run: Any) -> dict[str, sp.Table]:
    """One program an activation."""
    rows = []
    for activation, powers in CURVES.items():
        for name, p in powers.items():
            stack = sp.architectures.nag(
                depth=DEPTH, tokens=1, activation=activation, alpha_exponent=p
            )
            # the last state's is the read-out's
            given: dict[str, Any] = {
                "measured": lambda row: row["application"] < DEPTH,
                "widths": WIDTHS,
            }
            rows += run.more(TIMES).points(
                stack, "gradient_variance", STATES, **given, panel=activation, curve=name
            )
    return {
        "gradients": run.table(
            "nag-gradients", rows, {"architecture": "nag", "depth": DEPTH, "alpha_exponent": CURVES}
        )
    }


def draw(figure: Any, tables: Any) -> None:
    """A panel an activation."""
    for axes, (panel, own) in zip(
        figure.subplots(1, 2), split(tables["gradients"], "panel").items(), strict=True
    ):
        for index, (name, rows) in enumerate(split(own, "curve").items()):
            curve(axes, rows, "application", index, f"$p$ = {name[2:]}")
        axes.set(xlabel="application $a$", xticks=range(0, DEPTH + 1, 8))
        letter(axes, TITLES[panel])
        if panel == "relu":
            axes.set_ylim(0.5, 1.75)
        else:
            axes.set_yscale("log")
            axes.set_yticks((1, 2, 4, 8), ("1", "2", "4", "8"))
            axes.minorticks_off()
        axes.legend(loc="upper right")
    figure.axes[0].set_ylabel(r"gradient variance of the direction $\langle g_a, g_a\rangle$")
    legend_of_points(figure, tables["gradients"])


FIGURE = Figure(
    name="nag-gradients",
    paper="ours",
    item="gradients of the direction lane of 2606.16112",
    shows="gradient variance of the direction by application: flat for homogeneous branches, "
    "growing towards the input for tanh",
    caption="Predicted, gains alpha_l = l^-p: <g_a, g_a> = prod_(l > a) (1 + chi alpha_l^2)/(1 + "
    "alpha_l^2), chi = V_phi'(1)/V_phi(1): 1 for homogeneous "
    "branches, whose gradients are flat under every schedule; 1.178 for tanh, whose grow with "
    "depth without bound for p <= 1/2, where the gains' "
    "squares add up to no limit. Measured: backpropagation through {samples} networks of width "
    "{widths}, {engines} engine.",
    tables=tables,
    draw=draw,
    size=(7.0, 2.9),
    seconds=22,
    sources=(FILE,),
)

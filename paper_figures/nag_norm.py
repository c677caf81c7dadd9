"""The norm lane of norm-agnostic stacks, beside the rms of a pre-norm stack that grows."""

from __future__ import annotations

import math
from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import curve, legend_of_points, letter, sizes, split
from sigprop.paper_figures._nag import DEPTH, DEPTHS, FILE, baseline, untied
from sigprop.paper_figures._registry import Figure

LANES = {"p=1/4": (0.25, 1.0), "p=1/2": (0.5, 1.0), "p=1/2, m=1/2": (0.5, 0.5), "p=1": (1.0, 1.0)}
LABELS = ("$p$ = 1/4", "$p$ = 1/2", "$p$ = 1/2, $m$ = 1/2", "$p$ = 1")


def tables(run: Any) -> dict[str, sp.Table]:
    """One stack a curve; the direction's rms at p = 1/2."""
    rms = baseline(run, "residual_variance", {"curve": "pre-norm"})
    rms += untied(run, ["residual_variance"], labels={"curve": "norm-agnostic"})
    lanes = []
    for name, (p, m) in LANES.items():
        lanes += untied(run, ["log_norm"], labels={"curve": name}, alpha_exponent=p, modulator=m)
    about = {
        "architectures": ["residual-mlp", "nag"],
        "depth": DEPTH,
        "alpha_exponent, modulator": LANES,
    }
    return {"lane": run.table("nag-norm", lanes, about), "rms": run.table("nag-norm", rms, about)}


def draw(figure: Any, tables: Any) -> None:
    """Left what branches read, right the lane apart."""
    left, right = figure.subplots(1, 2, sharex=True)
    for index, (name, rows) in zip((4, 0), split(tables["rms"], "curve").items(), strict=True):
        curve(
            left,
            rows,
            "application",
            index,
            {
                "pre-norm": r"pre-norm, $\varepsilon$ = 1: $\sqrt{1+l}$",
                "norm-agnostic": "norm-agnostic: 1",
            }[name],
            f=math.sqrt,
        )
    left.set(
        xlabel="applications $l$",
        ylabel=r"rms of the stream $\langle h_l, h_l\rangle^{1/2}$",
        ylim=(0, None),
    )
    letter(left, "what the network carries")
    for index, (label, rows) in enumerate(
        zip(LABELS, split(tables["lane"], "curve").values(), strict=True)
    ):
        curve(right, rows, "application", index, label, f=math.exp)
    right.set(xlabel="applications $l$", ylabel=r"norm lane $e^{s_l} = \rho_l$", yscale="log")
    letter(right, r"norm apart, gains $\alpha_l m = m\,l^{-p}$")
    for axes in (left, right):
        sizes(axes, DEPTHS)
        axes.legend(loc="upper left")
    legend_of_points(figure, tables["lane"])


FIGURE = Figure(
    name="nag-norm",
    paper="2606.16112",
    item="Fig. 3 (norm), eqs 15-17, 23-24",
    shows="the norm lane of norm-agnostic stacks by depth and gain schedule, beside the growing "
    "rms of a pre-norm stack",
    caption="Left: the stream of a pre-norm ReLU stack grows as sqrt(1 + l); the direction h of a "
    "norm-agnostic one has rms 1. Right, predicted: the norm "
    "that it would have, prod_k sqrt(1 + alpha_k^2 m^2) with alpha_k = k^-p: at p = 1/2 "
    "sqrt(Gamma(l+1+m^2)/(Gamma(l+1) Gamma(1+m^2))), about l^(m^2/2), the "
    "pre-norm stack's at m = 1; below p = 1/2 a stretched exponential; above, bounded. Measured: "
    "what the norms of {samples} networks of width {widths} have "
    "divided by ({engines} engine), the same in every network but for the stem's norm. NAG "
    "normalises f_perp, so the lane and the direction's rms are "
    "identities at every width: they check the code, not the limit.",
    tables=tables,
    draw=draw,
    size=(7.0, 2.9),
    seconds=16,
    sources=(FILE,),
)

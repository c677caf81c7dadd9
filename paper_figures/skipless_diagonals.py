"""Variances of tokens by depth where words repeat: U-SPA and E-SPA designed for independent
tokens, and for the share of equal pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

import sigprop as sp
from sigprop.paper_figures._draw import curve, legend_of_points, letter, split
from sigprop.paper_figures._registry import Figure
from sigprop.paper_figures._skipless import FILE, NAMES, RHO, SPAN, WIDTHS

WORDS = (6, 5, 4, 2, 2, 0, 0, 0, 1, 6, 5, 7, 4, 4, 7, 5)
TOKENS, DEPTH, STATES = len(WORDS), 12, (0, 1, 2, 4, 8, 12)
# of equal pairs
SHARE = float((np.equal.outer(WORDS, WORDS).sum() - TOKENS) / (TOKENS * (TOKENS - 1)))
DESIGNS = {"independent": 0.0, "corrected": SHARE}


def tables(run: Any) -> dict[str, sp.Table]:
    """The last token by depth under the mean kernel of sequences with that share of equal pairs;
    every token of one such sequence at the end."""
    inputs = {
        "mean": ((1 - SHARE) * np.eye(TOKENS) + SHARE, lambda row: row["token"] == TOKENS - 1),
        # the law of words=WORDS, in the program of the mean
        "words": (np.equal.outer(WORDS, WORDS) * 1.0, lambda row: row["application"] == DEPTH),
    }
    builds = {
        "u-spa": (sp.architectures.u_spa, {"rho_final": RHO}),
        "e-spa": (sp.architectures.e_spa, {"gamma_final": SPAN / TOKENS}),
    }
    rows = []
    for name, (build, final) in builds.items():
        for design, cosine in DESIGNS.items():
            given = {"depth": DEPTH, "initial_cosine": cosine, **final}
            for panel, (gram, keep) in inputs.items():
                stack = build(**given, input_gram=gram)
                found = run.points(
                    stack,
                    "residual_variance",
                    STATES,
                    keep=keep,
                    widths=WIDTHS,
                    panel=panel,
                    curve=f"{name} {design}",
                )
                rows += [row | {"case": design, "label": name} for row in found]
    about = {
        "architectures": list(builds),
        "depth": DEPTH,
        "words": list(WORDS),
        "share of equal pairs": SHARE,
        "rho_final": RHO,
        "gamma_final": SPAN / TOKENS,
    }
    return {"variances": run.table("skipless-diagonals", rows, about)}


def draw(figure: Any, tables: Any) -> None:
    """By depth; by token, one panel a design."""
    rows = [row | {"position": row["token"] + 1} for row in tables["variances"]]
    panels = figure.subplots(1, 3, sharey=True)
    by = split(rows, "panel")
    places = {name: i for i, name in enumerate(split(rows, "curve"))}
    labels = {
        name: f"{NAMES[own[0]['label']]}, {own[0]['case']}"
        for name, own in split(rows, "curve").items()
    }
    for name, own in split(by["mean"], "curve").items():
        curve(panels[0], own, "application", places[name], labels[name])
    panels[0].set(xlabel="layer $l$", ylabel="variance of a token", xticks=STATES)
    letter(panels[0], "last token, mean over sequences")
    for axes, (name, own) in zip(panels[1:], split(by["words"], "label").items(), strict=True):
        for one, points in split(own, "curve").items():
            curve(axes, points, "position", places[one], labels[one])
        axes.set(xlabel="token $t$", xticks=range(1, TOKENS + 1, 3), ylim=(0.7, None))
        axes.legend(loc="upper left")
        letter(axes, f"one sequence, {NAMES[name]}, layer {DEPTH}")
    for axes in panels:
        axes.axhline(1.0, color="0.4", linewidth=0.6, zorder=1)
    legend_of_points(figure, rows)


FIGURE = Figure(
    name="skipless-diagonals",
    paper="2302.10322",
    item="repeated tokens, kernel diagonals",
    shows="variances of tokens where words repeat: attention designed for independent tokens, and "
    "for the share of equal pairs",
    caption="Predicted: the diagonal of Pi Sigma_0 Pi^T, Pi the product of the designed A_l: A_l "
    "carry the identity (independent) or the kernel of cosine r "
    "(corrected: initial_cosine = r) into U-SPA's or E-SPA's kernels, while a share r = 0.1 of "
    "pairs are equal words. Left: Sigma_0 = (1 - r) 1 + r 1 1^T, "
    "the mean over sequences, for which corrected U-SPA keeps 1 exactly and E-SPA cannot. Middle, "
    "right: one sequence of 16 tokens, of 7 words. Measured: "
    "{samples} networks of width {widths}, {engines} engine.",
    tables=tables,
    draw=draw,
    size=(7.0, 3.0),
    seconds=14,
    sources=(FILE,),
)

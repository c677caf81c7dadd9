"""The designed attention matrices of U-SPA and E-SPA, and what networks that were given them
apply, entry by entry."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

import sigprop as sp
from sigprop.paper_figures._draw import curve, legend_of_points, letter, split
from sigprop.paper_figures._judge import Judged, points
from sigprop.paper_figures._registry import Figure
from sigprop.paper_figures._skipless import (
    FILE,
    NAMES,
    RHO,
    SPAN,
    WIDTHS,
    cosines,
    design,
    pair_map,
)

if TYPE_CHECKING:
    from sigprop.description.architecture import Architecture

TOKENS, DEPTH, LAYERS, TICKS = 6, 32, (1, 8, 32), (1, 3, 6)
HUSH = 1e-12  # variance of the tokens that are to be silent: a Gram needs a positive diagonal
EXACT = 1e-6  # what predict may differ from the design by


def tables(run: Any) -> dict[str, sp.Table]:
    """One layer at a time, token s alone having unit variance: the variance of token t is then
    A_ts^2."""
    rows = []
    for name in ("u-spa", "e-spa"):
        for layer in LAYERS:
            for source in range(TOKENS):
                rows += _heard(run, name, layer, source)
    about = {
        "architectures": ["u-spa", "e-spa"],
        "depth": DEPTH,
        "tokens": TOKENS,
        "rho_final": RHO,
        "gamma_final": SPAN / TOKENS,
    }
    return {"entries": run.table("skipless-attention", rows, about)}


def _heard(run: Any, name: str, layer: int, source: int) -> list[dict[str, Any]]:
    """Return rows of one layer whose other tokens are silent; theory: the design's entries."""
    before, after = map(float, cosines(name, DEPTH, TOKENS)[layer - 1 : layer + 1])
    variances = np.where(np.arange(TOKENS) == source, 1.0, HUSH)
    expected = design(name, before, after, TOKENS) ** 2 @ variances
    rows = run.points(
        _one_layer(name, before, after, variances),
        "residual_variance",
        [1],
        keep=lambda row: row["token"] >= source,  # others are masked
        widths=WIDTHS,
        panel=name,
        curve=f"layer {layer}",
        layer=layer,
        source=source,
    )
    return [
        row | {"predicted": row["theory"], "theory": float(expected[row["token"]])} for row in rows
    ]


def _one_layer(name: str, before: float, after: float, variances: np.ndarray) -> Architecture:
    """Return a network of one layer, from tokens of one cosine to those of another."""
    given: dict[str, Any] = {
        "depth": 1,
        "tokens": TOKENS,
        "initial_cosine": before,
        "input_gram": np.diag(variances),
    }
    if name == "u-spa":
        return sp.architectures.u_spa(rho_final=after, **given)
    return sp.architectures.e_spa(gamma_final=-math.log(after), **given)


def judge(tables: Any) -> Judged:
    """As always, and predict has to give the design."""
    verdict = points(tables)
    off = [
        row
        for row in tables["entries"]
        if abs(row["predicted"] - row["theory"]) > EXACT * row["scale"]
    ]
    if not off:
        return verdict
    return replace(
        verdict,
        verdict="rejected",
        against=verdict.against + len(off),
        reason=f"{len(off)} entries as predicted are not the design's",
    )


def draw(figure: Any, tables: Any) -> None:
    """Maps of the design beside the networks', and what the last token attends to."""
    from matplotlib.colors import LogNorm

    rows = [row | {"column": row["source"] + 1} for row in tables["entries"]]
    widest = max(row["width"] for row in rows)
    above, below = figure.subfigures(2, 1, height_ratios=[1.55, 1])
    maps, lines = above.subplots(2, 2 * len(LAYERS)), below.subplots(1, 2, sharey=True)
    for i, (name, panel) in enumerate(split(rows, "panel").items()):
        for j, (layer, here) in enumerate(split(panel, "layer").items()):
            for k, (column, title) in enumerate(
                (("theory", f"layer {layer}: design"), ("measured", "networks"))
            ):
                values = {
                    (row["token"], row["source"]): math.sqrt(row[column])
                    for row in here
                    if row["width"] == widest and row[column] is not None
                }
                image = pair_map(maps[i][2 * j + k], values, TOKENS, TICKS, norm=LogNorm(5e-4, 1.0))
                letter(maps[i][2 * j + k], title if i == 0 else "")
            curve(
                lines[i],
                [row for row in here if row["token"] == TOKENS - 1],
                "column",
                j,
                f"layer {layer}",
                f=lambda v: math.sqrt(max(v, 0.0)),
            )
        maps[i][0].set_ylabel(f"{NAMES[name]}\ntoken $t$")
        lines[i].set(xlabel="token $s$", xticks=range(1, TOKENS + 1), yscale="log", ylim=(2e-5, 2))
        letter(lines[i], f"{NAMES[name]}: the last token's row")
    for axes in maps[1]:
        axes.set_xlabel("token $s$")
    lines[0].set_ylabel("$A_{Ts}$")
    lines[0].legend(loc="lower center", ncols=3)
    above.colorbar(image, ax=maps, shrink=0.8, label="$A_{ts}$")
    legend_of_points(below, rows)


FIGURE = Figure(
    name="skipless-attention",
    paper="2302.10322",
    item="theorems on U-SPA and E-SPA",
    shows="the designed attention matrices of U-SPA and E-SPA, entry by entry what networks apply",
    caption="Predicted: A_l = F_l F_(l-1)^-1, F_l the Cholesky factors of the kernels to be had "
    "(U-SPA: (1 - rho_l) 1 + rho_l 1 1^T, rho_l from 0 to 0.8 in 32 "
    "steps; E-SPA: exp(-gamma_l |s - t|), sqrt(1 - exp(-2 gamma_l)) falling by one factor a layer "
    "to gamma = 0.64/T). Measured: the rms of token t where "
    "token s alone speaks, in {samples} one-layer networks of width {widths} whose softmax at "
    "zero queries has the bias log A/D and the rescaling D, "
    "{engines} engine. White: masked.",
    tables=tables,
    draw=draw,
    size=(7.0, 4.4),
    seconds=16,
    judge=judge,
    sources=(FILE,),
)

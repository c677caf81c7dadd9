"""The designed attention matrices of U-SPA and E-SPA, and what networks that were given them apply, entry by entry."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

import sigprop as sp
from sigprop.paper_figures._draw import curve, legend_of_points, letter, split
from sigprop.paper_figures._judge import Judged, points
from sigprop.paper_figures._registry import Figure
from sigprop.paper_figures._skipless import FILE, NAMES, RHO, SPAN, WIDTHS, pair_map

TOKENS, DEPTH, LAYERS = 8, 32, (1, 8, 32)
TICKS = (1, 4, 8)
HUSH = 1e-12  # variance of the tokens that are to be silent: a Gram needs a positive diagonal
EXACT = 1e-6  # what predict may differ from the design by


def cosines(name: str) -> list[float]:
    """Of neighbouring tokens at l = 0..L: equal steps (u-spa), or sqrt(1 - cosine^2) falling by one factor a layer (e-spa)."""
    if name == "u-spa":
        return [RHO * k / DEPTH for k in range(DEPTH + 1)]
    return [0.0, *(math.sqrt(1 - (1 - math.exp(-2 * SPAN / TOKENS)) ** (k / DEPTH)) for k in range(1, DEPTH + 1))]


def design(name: str, before: float, after: float) -> np.ndarray:
    """F_l F_(l-1)^-1 from Cholesky factors of the two target kernels, which is no formula of the package's."""
    apart = np.abs(np.subtract.outer(np.arange(TOKENS), np.arange(TOKENS)))
    kernel = (lambda c: np.where(apart == 0, 1.0, c)) if name == "u-spa" else (lambda c: np.where(apart == 0, 1.0, c ** np.maximum(apart, 1)))
    old, new = np.linalg.cholesky(kernel(before)), np.linalg.cholesky(kernel(after))
    return new @ np.linalg.inv(old)


def tables(run: Any) -> dict[str, sp.Table]:
    """One layer of each, token s alone having unit variance: the variance of token t is then A_ts^2."""
    rows = []
    for name, build, last in (("u-spa", sp.architectures.u_spa, "rho_final"), ("e-spa", sp.architectures.e_spa, "gamma_final")):
        ladder = cosines(name)
        for layer in LAYERS:
            before, after = ladder[layer - 1 : layer + 1]
            squares = design(name, before, after) ** 2
            for s in range(TOKENS):
                variances = np.where(np.arange(TOKENS) == s, 1.0, HUSH)
                stack = build(
                    depth=1, initial_cosine=before, tokens=TOKENS, input_gram=np.diag(variances), **{last: after if name == "u-spa" else -math.log(after)}
                )
                keep = lambda row, s=s: row["token"] >= s  # noqa: E731  others: masked
                found = run.points(stack, "residual_variance", [1], keep=keep, widths=WIDTHS, panel=name, curve=f"layer {layer}", layer=layer, source=s)
                rows += [row | {"predicted": row["theory"], "theory": float((squares @ variances)[row["token"]])} for row in found]
    about = {"architectures": ["u-spa", "e-spa"], "depth": DEPTH, "tokens": TOKENS, "rho_final": RHO, "gamma_final": SPAN / TOKENS}
    return {"entries": run.table("skipless-attention", rows, about)}


def judge(tables: Any) -> Judged:
    """As always, and predict has to give the design."""
    found = points(tables)
    off = [row for row in tables["entries"] if abs(row["predicted"] - row["theory"]) > EXACT * max(row["scale"], EXACT)]
    return replace(found, verdict="rejected", against=found.against + len(off), reason=f"{len(off)} entries as predicted are not the design's") if off else found


def draw(figure: Any, tables: Any) -> None:
    """Maps of the design beside the networks', and what the last token attends to."""
    from matplotlib.colors import LogNorm

    rows = [row | {"row": row["token"] + 1, "column": row["source"] + 1} for row in tables["entries"]]
    widest = max(row["width"] for row in rows)
    above, below = figure.subfigures(2, 1, height_ratios=[1.75, 1])
    maps, lines = above.subplots(2, 2 * len(LAYERS)), below.subplots(1, 2, sharey=True)
    for i, (name, own) in enumerate(split(rows, "panel").items()):
        for j, (layer, here) in enumerate(split(own, "layer").items()):
            for k, (column, title) in enumerate((("theory", f"layer {layer}: design"), ("measured", "networks"))):
                axes = maps[i][2 * j + k]
                values = {(row["token"], row["source"]): math.sqrt(row[column]) for row in here if row["width"] == widest}
                image = pair_map(axes, values, TOKENS, TICKS, norm=LogNorm(1e-3, 1.0))
                axes.set(xlabel="token $s$" if i == 1 else None, ylabel=f"{NAMES[name]}\ntoken $t$" if j + k == 0 else None)
                if i == 0:
                    letter(axes, title)
            last = [row for row in here if row["row"] == TOKENS]
            curve(lines[i], last, "column", j, f"layer {layer}", f=lambda v: math.sqrt(max(v, 0.0)))
        lines[i].set(xlabel="token $s$", xticks=range(1, TOKENS + 1), yscale="log")
        letter(lines[i], f"{NAMES[name]}: the last token's row")
    lines[0].set_ylabel("$A_{Ts}$")
    lines[1].legend(loc="lower right")
    above.colorbar(image, ax=maps, shrink=0.8, label="$A_{ts}$")
    legend_of_points(below, rows)


FIGURE = Figure(
    name="skipless-attention",
    paper="2302.10322",
    item="theorems on U-SPA and E-SPA",
    shows="the designed attention matrices of U-SPA and E-SPA, entry by entry what networks apply",
    caption="Predicted: A_l = F_l F_(l-1)^-1, F_l the Cholesky factors of the kernels to be had (U-SPA: (1 - rho_l) 1 + rho_l 1 1^T, rho_l from 0 to 0.8 in 32 "
    "steps; E-SPA: exp(-gamma_l |s - t|), sqrt(1 - exp(-2 gamma_l)) falling by one factor a layer to gamma = 0.64/T). Measured: the rms of token t where "
    "token s alone speaks, in {samples} one-layer networks of width {widths} whose softmax at zero queries has the bias log A/D and the rescaling D, "
    "{engines} engine. White: masked.",
    tables=tables,
    draw=draw,
    size=(7.0, 4.9),
    seconds=15,
    judge=judge,
    sources=(FILE,),
)

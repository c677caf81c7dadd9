"""Maps of cosines by relu, shaped leaky relus and tanh: one layer, and iterated over depth."""

from __future__ import annotations

from typing import Any

import numpy as np

import sigprop as sp
from sigprop.blocks.shaping import tailored_slope
from sigprop.paper_figures._draw import curve, legend_of_points, letter, over_scale, split
from sigprop.paper_figures._registry import Figure

WIDTHS = (128, 2048)
DEPTH, STATES = 16, (1, 2, 4, 8, 16)
COSINES = (-0.95, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 0.95)
SLOPES = {eta: tailored_slope(DEPTH, eta) for eta in (0.9, 0.5)}
ACTIVATIONS = {
    "relu": "relu",
    **{f"leaky-relu({slope!r})": f"shaped, $\\eta$ = {eta}" for eta, slope in SLOPES.items()},
    "tanh": "tanh",
}


def gram() -> np.ndarray:
    """Unit tokens: token k has the cosine COSINES[k - 1] with token 0 and is otherwise a
    direction of its own."""
    c = np.array((1.0, *COSINES))
    return np.outer(c, c) + np.diag(1 - c**2)


def tables(run: Any) -> dict[str, sp.Table]:
    """Token 0 with every other after one layer; with the orthogonal one after several."""
    zero = COSINES.index(0.0) + 1

    def first(row):
        return row["token"] == 0 and (
            row["token_2"] is None or row["application"] == 1 or row["token_2"] == zero
        )

    rows = []
    for activation in ACTIVATIONS:
        stack = sp.architectures.mlp(
            depth=DEPTH, activation=activation, input_gram=gram(), weights="orthogonal"
        )
        rows += run.points(
            stack, "token_covariance", STATES, keep=first, widths=WIDTHS, curve=activation
        )
    rows = [row | {"cosine": COSINES[row["token_2"] - 1]} for row in rows]
    about = {
        "architecture": "mlp",
        "depth": DEPTH,
        "activations": list(ACTIVATIONS),
        "shaping_eta": list(SLOPES),
        "cosines": list(COSINES),
    }
    return {"cosines": run.table("skipless-cmaps", rows, about)}


def draw(figure: Any, tables: Any) -> None:
    """One layer; over depth."""
    left, right = figure.subplots(1, 2)
    rows = over_scale(tables["cosines"])
    for index, (name, own) in enumerate(split(rows, "curve").items()):
        curve(
            left,
            [row for row in own if row["application"] == 1],
            "cosine",
            index,
            ACTIVATIONS[name],
        )
        over = [row for row in own if row["cosine"] == 0]
        curve(right, over, "application", index)
    left.plot((-1, 1), (-1, 1), color="0.6", linewidth=0.6, zorder=1)
    left.set(xlabel="cosine before $c$", ylabel="cosine after $\\mathcal{C}(c)$")
    letter(left, "one layer")
    left.legend()
    right.set(
        xlabel="layer $l$",
        ylabel="cosine of tokens that began orthogonal",
        xticks=(1, 4, 8, 12, 16),
        ylim=(-0.05, 1.0),
    )
    for eta in SLOPES:
        right.axhline(eta, color="0.6", linewidth=0.6, zorder=1)
    letter(right, f"iterated; slopes shaped for {DEPTH} layers")
    legend_of_points(figure, rows)


FIGURE = Figure(
    name="skipless-cmaps",
    paper="2302.10322",
    item="MLPs shaped by TAT (2203.08120)",
    shows="maps of cosines by relu, shaped leaky relus and tanh: one layer, and iterated over "
    "depth",
    caption="Predicted: C(c) = E[phi(x) phi(y)]/E[phi(x)^2] for Gaussians of cosine c, for leaky "
    "relu of slope a below zero c + (1 - a)^2/(pi (1 + a^2)) "
    "(sqrt(1 - c^2) - c arccos c), the slope such that 16 maps take 0 to eta. Grey: the identity "
    "(left) and eta (right). Measured: covariance of token pairs "
    "over the predicted variances in {samples} multilayer perceptrons with orthogonal matrices, "
    "width {widths}, {engines} engine.",
    tables=tables,
    draw=draw,
    size=(7.0, 3.0),
    seconds=16,
)

"""Gradient variance through pre- and post-norm transformers, by sub-block and read-out."""

from __future__ import annotations

from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import curve, legend_of_points, letter, plain_log, split
from sigprop.paper_figures._registry import Figure

DEPTH, TOKENS, WIDTHS, TIMES = 6, 2, (128, 1024), 8
READOUTS = {"each": "a read-out of each token", "mean": "read-out of the mean token"}


def tables(run: Any) -> dict[str, sp.Table]:
    """One token's gradient at every second sub-block: tokens are exchangeable. The last state's
    is the read-out's own."""
    rows = []
    for panel in READOUTS:
        for norm in ("pre", "post"):
            stack = sp.architectures.transformer(
                depth=DEPTH, tokens=TOKENS, head_dim=64, norm=norm, readout=panel
            )
            given: dict[str, Any] = {
                "keep": lambda row: row["token"] == 0,
                "measured": lambda row: row["application"] < 2 * DEPTH,
                "widths": WIDTHS,
            }
            rows += run.more(TIMES).points(
                stack,
                "gradient_variance",
                range(0, 2 * DEPTH + 1, 2),
                **given,
                panel=panel,
                curve=norm,
            )
    return {
        "gradients": run.table(
            "transformer-gradients",
            rows,
            {"architecture": "transformer", "depth": DEPTH, "tokens": TOKENS, "head_dim": 64},
        )
    }


def draw(figure: Any, tables: Any) -> None:
    """A panel a read-out."""
    for axes, (panel, own) in zip(
        figure.subplots(1, 2), split(tables["gradients"], "panel").items(), strict=True
    ):
        for index, (norm, rows) in enumerate(split(own, "curve").items()):
            curve(axes, rows, "application", index, f"{norm}-norm")
        axes.set(xlabel="sub-block $a$", xticks=range(0, 2 * DEPTH + 1, 2))
        plain_log(axes)
        axes.set_ylabel(r"gradient variance $\langle g_a, g_a\rangle$" if panel == "each" else None)
        letter(axes, READOUTS[panel])
        axes.legend()
    legend_of_points(figure, tables["gradients"])


FIGURE = Figure(
    name="transformer-gradients",
    paper="2304.02034",
    item="eqs. 1.139-1.163",
    shows="gradient variance of pre- and post-norm transformers by sub-block, for two read-outs",
    caption="Predicted: variance of the gradient of a Gaussian read-out (g = sqrt(n) dz/dh) at a "
    "token, handed back through the MLP, through attention's "
    "values, queries and keys, and through the norms, of a transformer of 6 blocks and 2 tokens. "
    "Pre-norm: the skip carries it, and every block adds to it, "
    "most near the stem. Post-norm: a common gradient (the mean token's read-out) grows towards "
    "the stem; those of each token's own read-out first shrink, "
    "then grow once they have become alike. Measured: backpropagation through {samples} networks "
    "of width {widths}, {engines} engine.",
    tables=tables,
    draw=draw,
    size=(7.0, 2.9),
    seconds=60,
)

"""What each group of weights adds to the tangent kernel against width, with the learning-rate
factors of 2304.02034 and without."""

from __future__ import annotations

from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import curve, letter, plain_log, sizes, split
from sigprop.paper_figures._registry import Figure

# a query's gradient varies more from network to network than others
WIDTHS, RATIO, TIMES = (64, 512, 4096), 4, 4
GROUPS = {
    "u": ("$U$", 1.0),
    "q": ("$Q$", 1.0),
    "w": ("$W$", 1.0),
    "x": ("$X$", float(RATIO)),
    "embedding": ("embedding", 0.0),
    "readout": ("head", 1.0),
}


def tables(run: Any) -> dict[str, sp.Table]:
    """Of two words' read-outs; fan_in: inputs of a unit of the group over the width, 0 where
    there is one."""
    given: dict[str, Any] = {"words": (0, 1), "c_we": 1.0, "mlp_ratio": RATIO, "head_dim": 8}
    stack = sp.architectures.transformer(depth=1, **given)

    def keep(row):
        return row.get("group") in GROUPS and row["token"] == row["token_2"] == 0

    rows = [
        row | {"fan_in": GROUPS[row["group"]][1]}
        for row in run.more(TIMES).points(stack, "ntk", keep=keep, widths=WIDTHS)
    ]
    rows = [{"curve": row["group"]} | row for row in rows]
    return {
        "kernel": run.table(
            "transformer-ntk",
            rows,
            {"architecture": "transformer", "depth": 1} | {k: str(v) for k, v in given.items()},
        )
    }


def draw(figure: Any, tables: Any) -> None:
    """Left the squared gradients themselves, right times 1/fan-in."""
    left, right = figure.subplots(1, 2)
    for index, (name, rows) in enumerate(split(tables["kernel"], "curve").items()):
        label, power = GROUPS[name][0], 1.0 if GROUPS[name][1] else 0.0
        every = [{**row, "n": row["width"]} for row in rows]
        curve(right, every, "n", index, label, filled=True)
        undone = [
            {
                **row,
                **{
                    k: row[k] * (row["fan_in"] * row["n"]) ** power
                    for k in ("theory", "measured", "se")
                },
            }
            for row in every
        ]
        curve(left, [row | {"theory_error": 0.0} for row in undone], "n", index, label, filled=True)
    for axes in (left, right):
        sizes(axes, WIDTHS)
        axes.set(yscale="log", xlabel="width $n$")
    plain_log(right)
    left.set_ylabel(r"$|\partial z/\partial\theta_G|^2$")
    right.set_ylabel(r"$\lambda_G\,|\partial z/\partial\theta_G|^2$")
    letter(left, r"equal rates: $\lambda_G = 1$")
    letter(right, r"factors: $\lambda_G = 1/\mathrm{fan\ in}$, embedding 1")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=len(GROUPS))


FIGURE = Figure(
    name="transformer-ntk",
    paper="2304.02034",
    item="eqs. 1.99-1.116",
    shows="each group's part of the tangent kernel against width, with and without the "
    "learning-rate factors",
    caption="Predicted: sums of squared gradients of one token's read-out over the matrices of a "
    "group, from the backward recursion in the wide limit: n "
    "times more for a group with n inputs a unit, the same for embeddings at every width; with "
    "lambda_G = 1/fan-in all are of order one. Transformer of one "
    "block, two words, GELU. Measured: backpropagation through {samples} networks of width "
    "{widths}, {engines} engine (left the same numbers times the "
    "fan-in, which is exact), with 95 % bars. K and V, left out, behave as Q and U; there are no "
    "positions.",
    tables=tables,
    draw=draw,
    size=(7.0, 3.0),
    seconds=30,
)

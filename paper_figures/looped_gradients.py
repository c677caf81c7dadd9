"""Gradients of the read-out: by application, and of the shared weight against the loops."""

from __future__ import annotations

from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import curve, legend_of_points, letter, sizes, split
from sigprop.paper_figures._registry import Figure

SIZE, QUICK, LOOPS = 16, (1, 4, 16), (1, 2, 4, 8, 16)
SCALES = {"1": ("$1$", 0.0), "N^-1/2": ("$N^{-1/2}$", 0.5), "N^-1": ("$N^{-1}$", 1.0)}


def tables(run: Any) -> dict[str, sp.Table]:
    """Gradient variance at every second application; |dz/dW|^2 of the branch's last matrix."""
    rows, weights = [], []
    for panel, build, size in (
        ("untied", sp.architectures.residual_mlp, "depth"),
        ("tied", sp.architectures.looped_mlp, "loops"),
    ):
        for name, (_, power) in SCALES.items():
            stack = build(**{size: SIZE}, residual_scale=SIZE**-power)
            rows += run.points(
                stack, "gradient_variance", range(0, SIZE + 1, 2), panel=panel, curve=name
            )
    for name, (_, power) in SCALES.items():
        for n in QUICK if run.quick else LOOPS:
            stack = sp.architectures.looped_mlp(loops=n, residual_scale=n**-power)
            rows_ = run.points(
                stack,
                "weight_gradient",
                keep=lambda row: row.get("group") == "w",
                panel="weights",
                curve=name,
            )
            weights += [row | {"loops": n} for row in rows_]
    about = {
        "architectures": ["residual-mlp", "looped-mlp"],
        "size": SIZE,
        "loops": list(QUICK if run.quick else LOOPS),
    }
    return {
        "states": run.table("looped-gradients", rows, about),
        "weights": run.table("looped-gradients", weights, about),
    }


def draw(figure: Any, tables: Any) -> None:
    """Untied, tied, and the shared matrix."""
    panels = figure.subplots(1, 3)
    for axes, (panel, own) in zip(panels, split(tables["states"], "panel").items(), strict=False):
        for index, (name, rows) in enumerate(split(own, "curve").items()):
            curve(axes, rows, "application", index, f"$\\varepsilon$ = {SCALES[name][0]}")
        axes.set(xlabel="application $a$", xticks=range(0, SIZE + 1, 4), yscale="log")
        letter(axes, f"{panel}, {'L' if panel == 'untied' else 'N'} = {SIZE}")
        axes.legend()
    panels[0].set_ylabel(r"gradient variance $\langle g_a, g_a\rangle$")
    for index, (name, rows) in enumerate(split(tables["weights"], "curve").items()):
        curve(panels[2], rows, "loops", index, f"$\\varepsilon$ = {SCALES[name][0]}")
    sizes(panels[2], [row["loops"] for row in tables["weights"]])
    panels[2].set(xlabel="loops $N$", ylabel=r"$n\,|dz/dW|^2/(n_{in} n_{out})$", yscale="log")
    letter(panels[2], "shared second matrix")
    panels[2].legend()
    legend_of_points(figure, tables["states"])


FIGURE = Figure(
    name="looped-gradients",
    paper="ours",
    item="backward of 2606.18524's model",
    shows="gradient variance by application, tied and untied, and the shared matrix's gradient "
    "against the loops",
    caption="Predicted: <g_a, g_a> for a read-out z = n^-1/2 v . h with g = sqrt(n) dz/dh, by the "
    "transposed recursion (the Gram of the backward writes is "
    "1{{same slot}} K'(forward Gram; <g, g>)), and the squared gradient of the branch's second "
    "matrix, summed over pairs of loops. Measured: backpropagation "
    "through {samples} networks of width {widths}, {engines} engine.",
    tables=tables,
    draw=draw,
    size=(7.0, 2.9),
    seconds=60,
)

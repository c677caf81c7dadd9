"""Cosines between the increments of an untied and of a tied stack, theory beside measurement."""

from __future__ import annotations

from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import curve, floor, legend_of_points, letter, split, symmetric
from sigprop.paper_figures._registry import Figure

SIZE = 16


def tables(run: Any) -> dict[str, sp.Table]:
    """All pairs of increments."""
    rows = []
    for panel, build, size in (
        ("untied", sp.architectures.residual_mlp, "depth"),
        ("tied", sp.architectures.looped_mlp, "loops"),
    ):
        stack = build(**{size: SIZE}, residual_scale=1.0)
        rows += run.points(stack, "write_cosine", range(SIZE + 1), panel=panel)
    return {
        "cosines": run.table(
            "looped-cosines",
            rows,
            {"architectures": ["residual-mlp", "looped-mlp"], "size": SIZE, "residual_scale": 1.0},
        )
    }


def draw(figure: Any, tables: Any) -> None:
    """Theory's maps above the networks', then one row of each map as curves, with the noise
    floor."""
    panels = figure.subplots(2, 3, gridspec_kw={"width_ratios": [1, 1, 1.35]})
    rows = tables["cosines"]
    widest = max(row["width"] for row in rows)
    _draw_maps(figure, panels[:, :2], [row for row in rows if row["width"] == widest])
    first = [row for row in rows if row["application"] == 1]
    for i, (axes, panel) in enumerate(zip(panels[:, 2], ("tied", "untied"), strict=True)):
        line = [row for row in first if row["panel"] == panel]
        curve(axes, line, "application_2", i)
        letter(axes, f"{panel}: with the first increment")
        axes.set(ylabel=r"$\cos(w_1, w_b)$", xticks=(2, 4, 8, 12, 16))
        if panel == "tied":
            axes.set_ylim(0, 1.05)
        else:
            floor(axes, widest, line[0]["samples"])
            axes.set_ylim(-0.04, 0.04)
            axes.legend(loc="upper right")
    panels[1][2].set_xlabel("increment $b$")
    legend_of_points(figure, rows)


def _draw_maps(figure: Any, panels: Any, rows: Any) -> None:
    """Draw the cosines of all pairs of increments, a column a stack: theory above networks of
    one width."""
    titles = {"theory": "wide limit", "measured": f"networks, n = {rows[0]['width']}"}
    for j, (panel, pairs) in enumerate(split(rows, "panel").items()):
        for i, (column, title) in enumerate(titles.items()):
            axes = panels[i][j]
            image = axes.imshow(
                symmetric(pairs, column, SIZE, 1),
                vmin=-0.05,
                vmax=1.0,
                origin="lower",
                extent=(0.5, SIZE + 0.5, 0.5, SIZE + 0.5),
            )
            axes.grid(False)
            axes.set(
                xticks=(1, 4, 8, 12, 16),
                yticks=(1, 4, 8, 12, 16),
                ylabel="increment $b$" if j == 0 else None,
                xlabel="increment $a$" if i == 1 else None,
            )
            letter(axes, f"{panel}: {title}")
    figure.colorbar(
        image, ax=panels, shrink=0.8, label=r"$\cos(w_a, w_b)$", location="bottom", aspect=40
    )


FIGURE = Figure(
    name="looped-cosines",
    paper="2606.18524",
    item="Fig. 3",
    shows="cosines between the increments of tied and untied stacks, theory beside measurement",
    caption="Predicted: the cosine of increments w_a and w_b of 16 applications of a pre-norm "
    "ReLU block at residual scale 1: zero between independent blocks, "
    "K(R_ab)/sqrt(K(R_aa) K(R_bb)) > 0 between loops of one. Measured: mean over {samples} "
    "networks of width {widths} (maps: the widest), {engines} engine. "
    "Shaded: where the mean of independent increments' cosines lies with probability 0.95, within "
    "1.96/sqrt(n samples).",
    tables=tables,
    draw=draw,
    size=(7.0, 4.6),
    seconds=30,
)

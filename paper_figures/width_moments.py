"""Variance of each band of coordinates of a variable-width transformer, by sub-block."""

from __future__ import annotations

from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import curve, legend_of_points, letter, split
from sigprop.paper_figures._registry import Figure

SCHEDULE, REFERENCE, TOKENS, WIDTHS = (96, 64, 48, 32, 48, 64, 96, 96), 64, 4, (192, 3072)
RESIZE = {"carry": "carry forward", "zero": "zero-pad"}


def tables(run: Any) -> dict[str, sp.Table]:
    """One token of both ways of coming back to a wider block."""
    rows = []
    for panel in RESIZE:
        stack = sp.architectures.variable_width(
            depth=len(SCHEDULE),
            schedule=SCHEDULE,
            reference_width=REFERENCE,
            tokens=TOKENS,
            resize=panel,
        )
        given: dict[str, Any] = {"keep": lambda row: row["token"] == 0, "widths": WIDTHS}
        found = run.more(2).points(
            stack, "band_variance", range(0, 2 * len(SCHEDULE) + 1, 2), **given, panel=panel
        )
        rows += [{"curve": row["group"]} | row for row in found]
    about = {
        "architecture": "variable-width",
        "schedule": list(SCHEDULE),
        "reference_width": REFERENCE,
        "tokens": TOKENS,
    }
    return {"bands": run.table("width-moments", rows, about)}


def draw(figure: Any, tables: Any) -> None:
    """A panel a way, a curve a band; from the widest networks down to those that all blocks own."""
    edges = sorted({0, REFERENCE, *SCHEDULE})
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (panel, own) in zip(panels, split(tables["bands"], "panel").items(), strict=True):
        for index, (band, rows) in enumerate(split(own, "curve").items()):
            k = int(band.split()[-1])
            curve(axes, rows, "application", index, f"{edges[k - 1]}-{edges[k]}")
        axes.set(xlabel="sub-block $a$", xticks=range(0, 2 * len(SCHEDULE) + 1, 4))
        letter(axes, RESIZE[panel])
    panels[0].set_ylabel(r"band variance $\langle h_a, h_a\rangle_k$")
    panels[0].legend(title=f"coordinates (stem: {REFERENCE})")
    legend_of_points(figure, tables["bands"])


FIGURE = Figure(
    name="width-moments",
    paper="2606.18246",
    item="band statistics",
    shows="variance of each band of coordinates by sub-block, carry-forward and zero-pad",
    caption="Predicted: q_k <- q_k + 1[block owns band k] Gamma, the blocks' first coordinates "
    "96, 64, 48, 32, 48, 64, 96, 96 in turn, the stem's 64; others "
    "pass by (carry forward) or come back as zero (zero-pad). Attention and gated SiLU behind "
    "RMSNorm of the coordinates that a block owns; 4 tokens. "
    "Measured: {samples} networks of width {widths}, {engines} engine.",
    tables=tables,
    draw=draw,
    size=(7.0, 2.9),
    seconds=30,
)

"""What is left of the input after N loops of a norm-agnostic block, or N blocks, under three
gain rules."""

from __future__ import annotations

import math
from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import (
    COLOURS,
    curve,
    floor,
    legend_of_points,
    letter,
    sizes,
    split,
)
from sigprop.paper_figures._nag import FILE, tied, untied
from sigprop.paper_figures._registry import Figure

SIZES, MANY = (1, 2, 4, 8, 16), 256
RULES = {"l^-1/2": ("$l^{-1/2}$", None), "N^-1/2": ("$N^{-1/2}$", 0.5), "1/N": ("$1/N$", 1.0)}


def tables(run: Any) -> dict[str, sp.Table]:
    """State N of one stack is the last of N loops (gains l^-1/2), or of a stack with the gains
    of N (the other two)."""
    rows = []
    for name, (_, power) in RULES.items():
        for n in (None,) if power is None else SIZES[1:]:  # one loop is alike under all rules
            gains: dict[str, Any] = (
                {"alpha_0": 1.0, "alpha_exponent": 0.5}
                if power is None
                else {"alpha_0": float(n or 1) ** -power, "alpha_exponent": 0.0}
            )

            def keep(row, n=n):
                return row["application"] == 0 and row["application_2"] in (
                    SIZES if n is None else (n,)
                )

            rows += tied(run, keep, {"panel": "tied", "curve": name}, **gains)
            rows += untied(
                run, ["state_cosine"], keep, labels={"panel": "untied", "curve": name}, **gains
            )
    many = sp.predict(
        sp.architectures.looped_nag(loops=MANY, tokens=1),
        quantities=["state_cosine"],
        applications=[0, MANY],
    )
    limit = [
        {"panel": "tied", "theory": many.rows[0]["value"]},
        {"panel": "untied", "theory": math.exp(-0.5)},
    ]
    about = {
        "architectures": ["looped-nag", "nag"],
        "sizes": list(SIZES),
        "loops of the limit": MANY,
    }
    return {
        "limit": run.table("nag-looped", limit, about),
        "memory": run.table("nag-looped", rows, about),
    }


def draw(figure: Any, tables: Any) -> None:
    """Tied left, untied right."""
    own = split(tables["memory"], "panel")
    widest, samples = (max(row[name] for row in tables["memory"]) for name in ("width", "samples"))
    for axes, panel in zip(figure.subplots(1, 2, sharey=True), ("tied", "untied"), strict=True):
        limit = next(row["theory"] for row in tables["limit"] if row["panel"] == panel)
        axes.axhline(
            limit,
            color=COLOURS[4],
            linestyle=":",
            label=f"limit {limit:.4f}" if panel == "tied" else f"$e^{{-1/2}}$ = {limit:.4f}",
        )
        for index, (name, rows) in enumerate(split(own[panel], "curve").items()):
            curve(axes, rows, "application_2", index, rf"$\alpha$ = {RULES[name][0]}")
        if panel == "tied":
            floor(axes, widest, samples)
        sizes(axes, SIZES)
        letter(
            axes, "tied: loops of one block" if panel == "tied" else "untied: blocks of their own"
        )
        axes.set(xlabel="loops $N$" if panel == "tied" else "blocks $N$", ylim=(-0.05, 1.1))
        axes.legend(
            **(
                {"loc": "center right", "bbox_to_anchor": (1.0, 0.34)}
                if panel == "tied"
                else {"loc": "lower left"}
            )
        )
    figure.axes[0].set_ylabel(r"memory of the input $\cos(h_0, h_N)$")
    legend_of_points(figure, tables["memory"])


FIGURE = Figure(
    name="nag-looped",
    paper="ours",
    item="2606.16112's rule in loops of 2606.18524",
    shows="memory of the input after N loops of a norm-agnostic block, or N blocks, under gains "
    "l^-1/2, N^-1/2 and 1/N",
    caption="Predicted: cos(h_0, h_N) after N loops of one block (left, from the Gram recursion "
    "in which all writes correlate) and N blocks of their own "
    "(right, prod_l (1 + alpha_l^2)^-1/2). Untied, gains N^-1/2 hold the input at e^-1/2 and "
    "l^-1/2 lose it as a power; tied, both lose it fast, "
    "and only 1/N keeps it (dotted: 256 loops). At N = 1 all rules are alike. Measured: {samples} "
    "networks of width {widths}, {engines} engine.",
    tables=tables,
    draw=draw,
    size=(7.0, 2.9),
    seconds=12,
    sources=(FILE,),
    unjudged=("limit",),
)

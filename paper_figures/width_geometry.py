"""Token cosine and matrix entropy by sub-block: uniform width, carry-forward and zero-pad."""

from __future__ import annotations

import math
from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import curve, legend_of_points, letter, split
from sigprop.paper_figures._registry import FOLDER, Figure
from sigprop.paper_figures.width_moments import REFERENCE, SCHEDULE, TOKENS, WIDTHS

LABELS = {"uniform": "uniform", "carry": "carry forward", "zero": "zero-pad"}
QUANTITIES = ("residual_variance", "token_covariance", "matrix_entropy")


def tables(run: Any) -> dict[str, sp.Table]:
    """Gram of two tokens, and the entropy of all tokens' Gram."""
    rows = []
    for name in LABELS:
        given: dict[str, Any] = (
            {"schedule": (REFERENCE,) * len(SCHEDULE)}
            if name == "uniform"
            else {"schedule": SCHEDULE, "resize": name}
        )
        stack = sp.architectures.variable_width(
            depth=len(SCHEDULE), reference_width=REFERENCE, tokens=TOKENS, **given
        )

        def keep(row):
            return row.get("token") in (None, 0) and row.get("token_2") in (None, 1)

        found = run.points(
            stack, QUANTITIES, range(2 * len(SCHEDULE) + 1), keep=keep, widths=WIDTHS, curve=name
        )
        rows += [{"panel": row["quantity"]} | row for row in found]
    about = {
        "architecture": "variable-width",
        "schedule": list(SCHEDULE),
        "reference_width": REFERENCE,
        "tokens": TOKENS,
    }
    return {"geometry": run.table("width-geometry", rows, about)}


def draw(figure: Any, tables: Any) -> None:
    """Left the cosine, right the entropy."""
    panels, own = figure.subplots(1, 2), split(tables["geometry"], "panel")
    cosine = cosines(own["residual_variance"], own["token_covariance"])
    for axes, rows in zip(panels, (cosine, own["matrix_entropy"]), strict=True):
        for index, (name, found) in enumerate(split(rows, "curve").items()):
            curve(axes, found, "application", index, LABELS[name])
        axes.set(xlabel="sub-block $a$", xticks=range(0, 2 * len(SCHEDULE) + 1, 4))
    panels[0].set_ylabel(r"token cosine $\langle h_t, h_s\rangle / \langle h_t, h_t\rangle$")
    panels[1].set_ylabel(r"matrix entropy / $\log T$")
    letter(panels[0], "two tokens of the stream")
    letter(panels[1], f"what a sub-block reads, $T$ = {TOKENS}")
    panels[1].legend()
    legend_of_points(figure, tables["geometry"])


def cosines(variances: Any, covariances: Any) -> list[dict[str, Any]]:
    """Covariance over variance: tokens are exchangeable; errors as if the two were independent,
    which they are not: too wide rather than too narrow."""

    def key(row):
        return (row["curve"], row["application"], row["width"])

    below, found = {key(row): row for row in variances}, []
    for row in covariances:
        q = below[key(row)]
        ratio = {name: row[name] / q[name] for name in ("theory", "measured")}
        found.append(
            {
                **row,
                **ratio,
                "se": abs(ratio["measured"])
                * math.hypot(row["se"] / row["measured"], q["se"] / q["measured"]),
                "theory_error": 0.0,
            }
        )
    return found


FIGURE = Figure(
    name="width-geometry",
    paper="2606.18246",
    item="token cosine, matrix entropy",
    shows="token cosine and matrix entropy by sub-block: uniform width, carry-forward, zero-pad",
    caption="Predicted: the Gram of 4 tokens of cosine 0.3 through 8 blocks, all as wide as the "
    "stem or in a V from 96 through 32 to 96 coordinates (stem and "
    "read-out 64), and the entropy of the spectrum of the Gram that a sub-block reads. Narrow "
    "blocks turn fewer coordinates; zero-pad forgets the others. "
    "Measured: {samples} networks of width {widths}, {engines} engine; the cosine's bars take its "
    "covariance and variance as independent, and are too wide.",
    tables=tables,
    draw=draw,
    size=(7.0, 2.9),
    seconds=35,
    sources=(FOLDER / "width_moments.py",),
)

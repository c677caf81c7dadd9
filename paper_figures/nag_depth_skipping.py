"""Mixture-of-Depths: which applications skip a token, and what that leaves of the rotation and
of the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sigprop as sp
from sigprop.paper_figures._draw import curve, legend_of_points, letter, split
from sigprop.paper_figures._nag import FILE, at
from sigprop.paper_figures._registry import Figure

if TYPE_CHECKING:
    from sigprop.description.architecture import Architecture

DEPTH, DIRECTIONS = 32, 8
SKIPS, STATES = (1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31), (4, 10, 16, 22, 28, 32)
# one program of the theory for all rows
GIVEN = (("skip_rate", "rotation", "state_cosine"), (0, *SKIPS, DEPTH))
CURVES = {
    "none": ("modulator", 1e-9),
    "25 % by m": ("modulator", 0.25),
    "25 % by gain": ("gain", 0.25),
    "50 % by gain": ("gain", 0.5),
}
LABELS = {
    "none": "nothing skipped",
    "25 % by m": "25 % by $m$",
    "25 % by gain": r"25 % by $\alpha_l m$",
    "50 % by gain": r"50 % by $\alpha_l m$",
}
# scores of one token are normal at every width: skips are counted in many narrow networks
COUNTED: dict[str, Any] = {"times": 96, "widths": (2, 16)}
TURNED = {"times": 8, "widths": (128, 1024)}  # every network has modulators of its own


def tables(run: Any) -> dict[str, sp.Table]:
    """Skips by application, where networks that skip and such that do not can both be counted;
    and states."""
    rates, states = [], []
    for name in CURVES:
        stack = _stack(name)
        if name != "none":
            rates += run.more(COUNTED["times"]).points(
                stack,
                *GIVEN,
                keep=lambda row: row["quantity"] == "skip_rate",
                measured=lambda row: 0.01 < row["value"] < 0.99,
                widths=COUNTED["widths"],
                curve=name,
            )
        rows = run.more(TURNED["times"]).points(
            stack, *GIVEN, keep=shown, widths=TURNED["widths"], curve=name
        )
        states += [{"panel": row["quantity"]} | row for row in rows]
    about = {
        "architecture": "nag",
        "depth": DEPTH,
        "mlp_ratio": 1,
        "directions": DIRECTIONS,
        "mod_by, mod_rate": CURVES,
    }
    return {
        "rates": run.table("nag-depth-skipping", rates, about),
        "states": run.table("nag-depth-skipping", states, about),
    }


def _stack(name: str) -> Architecture:
    """Return the network of a curve."""
    by, rate = CURVES[name]
    return sp.architectures.nag(
        depth=DEPTH,
        tokens=1,
        mlp_ratio=1,
        modulator="learned",
        directions=DIRECTIONS,
        mod_rate=rate,
        mod_by=by,
    )


def shown(row: Any) -> bool:
    """Tell if a row is the rotation up to a state, or its cosine with the input."""
    return at(row) in STATES and (
        row["quantity"] == "rotation"
        or (row["quantity"] == "state_cosine" and row["application"] == 0)
    )


def draw(figure: Any, tables: Any) -> None:
    """Rates, rotation, memory; a curve has the same colour in every panel."""
    from matplotlib.lines import Line2D

    panels = figure.subplots(1, 3)
    names = list(CURVES)
    by_panel = {"skip_rate": tables["rates"]} | split(tables["states"], "panel")
    titles = {
        "skip_rate": "networks that skip",
        "rotation": "rotation so far [degrees]",
        "state_cosine": r"memory of the input $\cos(h_0, h_a)$",
    }
    for axes, (panel, rows) in zip(panels, by_panel.items(), strict=True):
        for name, line in split(rows, "curve").items():
            curve(
                axes,
                line,
                "application_2" if panel == "state_cosine" else "application",
                names.index(name),
                LABELS[name],
            )
        axes.set(xlabel="application $a$", xticks=range(0, DEPTH + 1, 8))
        letter(axes, titles[panel])
    panels[0].set(ylabel="probability of skipping", ylim=(-0.03, 1.03))
    panels[1].set(ylabel="degrees", ylim=(0, None))
    panels[2].set(ylabel=r"$\cos(h_0, h_a)$")
    points: dict[str, Any] = {"linestyle": "", "marker": "o", "markeredgecolor": "0.2"}
    narrow = [
        Line2D([], [], **points, markerfacecolor=face, label=f"n = {n}")
        for n, face in zip(COUNTED["widths"], ("white", "0.2"), strict=True)
    ]
    panels[0].legend(handles=narrow, loc="upper left")
    panels[1].legend(loc="lower right")
    legend_of_points(figure, tables["states"])


FIGURE = Figure(
    name="nag-depth-skipping",
    paper="2606.16112",
    item="sections V-VI (our rule: the paper's was not available)",
    shows="Mixture-of-Depths: which applications skip a token by gain or by modulator, and what "
    "that leaves of rotation and memory",
    caption="Predicted, m the mean of 8 sigmoids of w_c . h, gains l^-1/2 m: P(m < tau_a) with a "
    "threshold on alpha_a m for all applications (25 or 50 % "
    "skipped, the last ones most), or on m alone (the same share everywhere, as with one "
    "threshold on alpha_a m for each application); rotation and cos(h_0, "
    "h_a) averaged over the scores' Gaussian field. Skipping by gain gives up what turns the "
    "state least. Measured: {samples} networks of width {widths}, "
    "{engines} engine: the two narrow widths, with 12 times as many networks, for the skips, "
    "whose law is the same at every width; the two wide ones for "
    "rotation and memory.",
    tables=tables,
    draw=draw,
    size=(7.0, 2.9),
    seconds=28,
    sources=(FILE,),
)

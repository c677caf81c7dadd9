"""n times the deviation of the mean of networks from the wide limit, against 1/n."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import sigprop as sp
from sigprop.language.activations import find
from sigprop.paper_figures._draw import COLOURS, INTERVAL, MARKERS, letter, split
from sigprop.paper_figures._first_order import both, limits, scaled
from sigprop.paper_figures._judge import Judged, Rows
from sigprop.paper_figures._registry import FOLDER, Figure
from sigprop.paper_figures._second_order import Stack, closure, one_input

WIDTHS, UNITS, MORE = (16, 32, 64), 1024, 512
ONE: dict[str, Any] = {"matrices": 1, "norm": "none"}
SCALE = 0.7
PANELS = {
    "feed-forward": "untied, no skip: $W$tanh($h$)",
    "untied": r"untied: $h + \varepsilon W$relu($h$)",
    "tied": r"tied: $h + \varepsilon W_2\,$gelu$(W_1 h$/rms$)$",
    "tied linear": r"tied: $h + \varepsilon W h$",
}


class Case(NamedTuple):
    """A network, how many times the networks of others, n times the shift of its mean without c,
    and whether the predicted one is in closed form."""

    arch: sp.Architecture
    times: int
    without_c: float
    closed: bool


def cases() -> dict[str, Case]:
    """The networks of every panel; a recursion that is linear in its Grams has c alone."""
    a = sp.architectures
    forward = a.mlp(depth=8, activation="tanh", c_w=1.5)
    untied = a.residual_mlp(depth=4, residual_scale=SCALE, **ONE)
    tied = a.looped_mlp(loops=4, activation="gelu", residual_scale=SCALE)
    linear = a.looped_mlp(loops=3, activation="linear", residual_scale=SCALE, **ONE)
    stack = Stack(find("gelu"), tied.depth, SCALE, float(tied.numbers["c_x"]), True)
    return {
        "feed-forward": Case(forward, 1, one_input(find("tanh"), 1.5, forward.depth), False),
        "untied": Case(untied, 4, 0.0, True),
        "tied": Case(tied, 1, float(closure(stack, 2**16).shift[-1]), False),
        "tied linear": Case(linear, 1, 0.0, True),
    }


def tables(run: Any) -> dict[str, sp.Table]:
    """The last state of each network."""
    rows = []
    for panel, case in cases().items():
        shift, error = predicted(case)
        # what the networks must tell it from: no shift, and the shift without c
        others = {0.0, case.without_c}
        labels = {
            "panel": panel,
            "n_shift": shift,
            "n_shift_error": error,
            "without_c": case.without_c,
            "told": min(d for d in (abs(shift - o) for o in others) if d > 0.1 * abs(shift)),
        }
        more = run.more(MORE * case.times)
        at: dict[str, Any] = {"widths": WIDTHS, "engine": "matrix-free"}
        last = [case.arch.depth]
        rows += more.points(case.arch, "residual_variance", last, **at, **labels)
    about = {"architectures": ["mlp", "residual-mlp", "looped-mlp"], "units": UNITS}
    return {"means": run.table("finite-width", rows, about)}


def predicted(case: Case) -> tuple[float, float]:
    """Return n times the shift of the last state's variance, and its error: in closed form or of
    traced units."""
    if case.closed:
        return closed_form(case.arch), 0.0
    at = [case.arch.depth]
    (row,) = sp.fluctuations(case.arch, ["residual_variance"], at, units=UNITS)
    return row["n_shift"], row["n_shift_error"]


def closed_form(arch: sp.Architecture) -> float:
    """Return n times that shift from the equations that ``derive`` prints."""
    shift = sp.derive(arch, finite_width=True).expression("n_shift")
    given = {name: table[0] for name, table in arch.number_tables.items()}
    given |= {"q_0": arch.input_gram[0, 0], "D": arch.depth}
    return float(shift.subs({s: given[s.name] for s in shift.free_symbols}).doit())


def judge(tables: Mapping[str, Rows]) -> Judged:
    """The wide limit, and the intercepts of n times the deviations from it."""
    rows = tables["means"]
    measured = [row for row in rows if row["measured"] is not None and row["theory"] is not None]
    times = [scaled(row, row["measured"] - row["theory"], row["se"], "n_shift") for row in measured]
    return both({"means": limits(rows)}, times)


def draw(figure: Any, tables: Any) -> None:
    """A panel a network: points, the predicted intercept, and what it is without c."""
    panels = figure.subplots(2, 2, sharex=True).flat
    for index, (axes, (panel, rows)) in enumerate(
        zip(panels, split(tables["means"], "panel").items(), strict=True)
    ):
        colour, shift = COLOURS[index], rows[0]["n_shift"]
        axes.axhline(shift, color=colour, zorder=2)
        if error := rows[0]["n_shift_error"]:
            band = (shift - error, shift + error)
            axes.axhspan(*band, color=colour, alpha=0.2, linewidth=0, zorder=1)
        axes.axhline(rows[0]["without_c"], color="0.2", linestyle="--", zorder=2)
        axes.errorbar(
            [1 / row["width"] for row in rows],
            [row["width"] * (row["measured"] - row["theory"]) for row in rows],
            [INTERVAL * row["width"] * row["se"] for row in rows],
            fmt=MARKERS[index],
            color=colour,
            zorder=3,
        )
        axes.plot([0], [shift], marker=">", color=colour, clip_on=False, zorder=4)
        axes.axhline(0, color="0.6", linewidth=0.6, zorder=1)
        axes.set_xlim(0, 1.15 / WIDTHS[0])
        axes.set_xticks([0, *(1 / n for n in WIDTHS)], ["0", *(f"1/{n}" for n in WIDTHS)])
        letter(axes, PANELS[panel])
        axes.margins(y=0.2)
        if index > 1:
            axes.set_xlabel("$1/n$")
        if index % 2 == 0:
            axes.set_ylabel(r"$n\,$(mean of $\langle h, h\rangle - q$)")
    _legend(figure)


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color="0.2", marker=">", label="predicted, $n\\to\\infty$"),
        Line2D([], [], color="0.2", linestyle="--", label="without the term $c$"),
        Line2D([], [], color="0.2", linestyle="", marker="o", label="networks (95 %)"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)


FIGURE = Figure(
    name="finite-width",
    paper="ours",
    item="finite width",
    shows="distance of the mean of networks from the wide limit, times the width, against 1/n, "
    "with its predicted intercept",
    caption="Predicted (line, band: its error): n times the shift of the last state's variance, "
    "left from one unit traced beside the recursion, right in closed form. Dashed: the same "
    "without c, the covariance of a unit's response with the fluctuation that it causes itself, so "
    "from the curvature of the recursion of Grams alone. Without a skip, where every layer's "
    "normals are fresh, c = 0 and the two are one line; in the others c is almost all of it. "
    "Measured: {samples} networks of width {widths}, {engines} engine; what keeps narrow networks "
    "off their line is the next order. Judged: the limit, and the intercept that the widths "
    "extrapolate to.",
    tables=tables,
    draw=draw,
    judge=judge,
    size=(7.0, 4.0),
    seconds=40,
    sources=(FOLDER / "_second_order.py", FOLDER / "_first_order.py"),
)

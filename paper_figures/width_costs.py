"""Parameters, operations and cache of variable-width networks beside uniform ones, and the
paper's table."""

from __future__ import annotations

from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import COLOURS, MARKERS, letter, split
from sigprop.paper_figures._exact import exact
from sigprop.paper_figures._registry import FOLDER, Figure
from sigprop.paper_figures._released import NAMES, SOLVER

SEQUENCE, VOCABULARY = 4096, 100263
COLUMNS = {
    "uniform": ("parameters, uniform / M", 0.1),
    "parameters": ("parameters / M", 0.1),
    "flops": ("FLOPs / %", 0.01),
    "kv_cache": ("cache / %", 0.01),
}
BARS = {
    "uniform": "uniform",
    "parameters": "variable",
    "flops": "FLOPs",
    "kv_cache": "key-value cache",
}


def tables(run: Any) -> dict[str, sp.Table]:
    """Rounded nowhere: half a unit of the last printed digit is what may differ."""
    rows = [
        {
            "curve": name,
            "size": width,
            "label": NAMES[width, depth],
            "theory": value,
            "published": printed,
            "unit": COLUMNS[name][1],
        }
        for (width, depth), published in SOLVER.items()
        for name, value, printed in zip(COLUMNS, _costs(width, depth), published, strict=True)
    ]
    about = {"architecture": "variable-width", "sequence": SEQUENCE, "vocabulary": VOCABULARY}
    return {"costs": run.table("width-costs", rows, about)}


def _costs(width: int, depth: int) -> tuple[float, ...]:
    """Return the numbers of ``COLUMNS``, as ``sp.costs`` counts them."""
    stack = sp.architectures.variable_width(
        depth=depth, reference_width=width, round_to=32, heads=16
    )
    costs = {
        row["quantity"]: row
        for row in sp.costs(stack, width=width, sequence=SEQUENCE, vocabulary=VOCABULARY)
    }
    parameters = costs["parameters"]
    savings = (-100 * costs[name]["saving"] for name in ("flops", "kv_cache"))
    return parameters["reference"] / 1e6, parameters["value"] / 1e6, *savings


def draw(figure: Any, tables: Any) -> None:
    """What is saved by size: computed bars, printed points."""
    left, right = figure.subplots(1, 2)
    curves = split(tables["costs"], "curve")
    for axes, pair in ((left, ("uniform", "parameters")), (right, ("flops", "kv_cache"))):
        for j, name in enumerate(pair):
            _draw_bars(axes, j, name, curves[name])
        axes.set_xticks(range(len(curves["flops"])), [row["label"] for row in curves["flops"]])
        axes.set_xlabel("network")
    left.set_ylabel("parameters / millions")
    right.set_ylabel("beside uniform / %")
    right.set_ylim(-14.5, 0)
    letter(left, "as many parameters")
    letter(right, "at a lower cost")
    left.legend()
    right.legend(loc="lower center", ncols=2)


def _draw_bars(axes: Any, j: int, name: str, rows: Any) -> None:
    """Draw one kind of cost, the first or second bar of each network."""
    xs = [i + 0.36 * (j - 0.5) for i in range(len(rows))]
    axes.bar(
        xs,
        [row["theory"] for row in rows],
        0.34,
        color=COLOURS[j],
        alpha=0.55,
        hatch=("", "///")[j],
        edgecolor="0.2",
        label=BARS[name],
    )
    axes.plot(
        xs,
        [row["published"] for row in rows],
        linestyle="",
        marker=MARKERS[j],
        color="0.1",
        markersize=3.6,
    )


FIGURE = Figure(
    name="width-costs",
    paper="2606.18246",
    item="table of savings",
    shows="parameters, operations and cache of variable-width networks beside uniform ones, and "
    "the published table",
    caption="Bars, computed by sp.costs: entries of all matrices, multiply-adds of a sequence of "
    "4096 tokens (two each), and numbers that a token leaves "
    "in the cache, of the V schedule and of as many blocks of width d; vocabulary 100263. Points: "
    "the paper's table, to every printed digit.",
    tables=tables,
    draw=draw,
    size=(7.0, 2.7),
    seconds=1,
    judge=exact,
    sources=(FOLDER / "_released.py",),
)

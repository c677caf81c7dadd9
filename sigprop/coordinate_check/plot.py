"""The coordinate-check picture of a ``check`` table: changes against size, log-log, a column of
panels for each ladder, a row for each number of steps."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sigprop.errors import InputError
from sigprop.tables.files import check_path, write
from sigprop.tables.plots import FORMATS
from sigprop.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LETTERS = {"width": "$n$", "depth": "$L$", "loops": "$N$"}
MARKERS = "osD^v"


def plot(table: Table, path: str | os.PathLike[str]) -> Figure:
    """Draw a ``check`` table into ``path`` (.png, .pdf or .svg), without a display.

    Points: rms changes with one standard error. Dashed: the reference slope through each
    observable's points. Solid, for the output after the first step where theory has it: the wide
    limit itself, which nothing is fitted to. Raises ``InputError``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    suffix = check_path(path, FORMATS)
    points: Sequence[Mapping[str, Any]] = (table.notes or {}).get("points", ())
    if not points:
        raise InputError("plot: the table has no points; accepted: a table that check returned")
    variables, steps = (
        list(dict.fromkeys(p[key] for p in points)) for key in ("variable", "steps")
    )
    figure = Figure(figsize=(4.2 * len(variables), 3.5 * len(steps) + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(steps), len(variables), squeeze=False, sharex="col")
    for i, k in enumerate(steps):
        for j, variable in enumerate(variables):

            def inside(row, k=k, v=variable):
                return row["steps"] == k and row["variable"] == v

            _panel(
                panels[i][j],
                [p for p in points if inside(p)],
                [row for row in table if inside(row)],
            )
            panels[i][j].set_title(f"{variable}, {k} step{'s' if k > 1 else ''}", fontsize="small")
            if i == len(steps) - 1:
                panels[i][j].set_xlabel(f"{variable} {LETTERS.get(variable, '')}")
        panels[i][0].set_ylabel("rms change")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=4, fontsize="small", frameon=False
    )
    notes = table.notes or {}
    figure.suptitle(
        f"{table.architecture}, {notes.get('optimizer')}, {notes.get('parametrisation')}: "
        f"{table.verdict}",
        fontsize="medium",
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format=FORMATS[suffix], dpi=150)
    write(Path(path), buffer.getvalue())
    return figure


def _panel(
    axes: Axes, points: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    sizes = sorted({p["size"] for p in points})
    for index, row in enumerate(rows):
        own = sorted(
            (p for p in points if p["quantity"] == row["quantity"]), key=lambda p: p["size"]
        )
        x, y, colour = [p["size"] for p in own], [p["value"] for p in own], f"C{index}"
        error = [p["value"] * p["relative_se"] for p in own]
        label = None if row["slope"] is None else row["quantity"]
        axes.errorbar(
            x,
            y,
            error,
            fmt=MARKERS[index % len(MARKERS)],
            color=colour,
            markersize=4,
            linewidth=1,
            capsize=2,
            label=label,
        )
        middle = sum(map(math.log, x)) / len(x)
        height = sum(math.log(v) for v in y if v > 0) / len(y)
        lines = [math.exp(height + row["reference"] * (math.log(v) - middle)) for v in x]
        axes.plot(
            x,
            lines,
            "--",
            color=colour,
            linewidth=0.9,
            label="reference slope" if index == len(rows) - 1 else None,
        )
        if all(p["theory"] is not None for p in own):
            axes.plot(
                x,
                [p["theory"] for p in own],
                "-",
                color=colour,
                linewidth=1.4,
                label="output, wide limit",
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sizes, [str(s) for s in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    if high < 10 * low:  # a flat line looks flat only beside a decade
        middle = math.sqrt(low * high)
        axes.set_ylim(middle / math.sqrt(10), middle * math.sqrt(10))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, which="major", linewidth=0.3)

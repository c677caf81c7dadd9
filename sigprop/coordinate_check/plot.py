"""The coordinate-check picture of a ``check`` table: changes against size, log-log, a column of
panels for each ladder, a row for each number of steps."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sigprop.errors import InputError
from sigprop.tables.files import check_path, write
from sigprop.tables.plots import FORMATS
from sigprop.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Values = Mapping[str, Any]
"""A row of the table, or a point of its notes."""
LETTERS = {"width": "$n$", "depth": "$L$", "loops": "$N$"}
MARKERS = "osD^v"


def plot(table: Table, path: str | os.PathLike[str]) -> Figure:
    """Draw a ``check`` table into ``path`` (.png, .pdf or .svg), without a display.

    Points: rms changes with one standard error. Dashed: the reference slope through each
    observable's points. Solid, for the output after the first step where theory has it: the wide
    limit itself, which nothing is fitted to. Raises ``InputError``.
    """
    suffix = check_path(path, FORMATS)
    notes = table.notes or {}
    # parts are for the table: a panel has few lines
    points = [point for point in notes.get("points", ()) if point.get("group") is None]
    if not points:
        raise InputError("plot: the table has no points; accepted: a table that check returned")
    figure = _drawn(points, [row for row in table if row.get("group") is None])
    figure.suptitle(
        f"{table.architecture}, {notes.get('optimizer')}, {notes.get('parametrisation')}: "
        f"{table.verdict}",
        fontsize="medium",
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format=FORMATS[suffix], dpi=150)
    write(Path(path), buffer.getvalue())
    return figure


def _drawn(points: Sequence[Values], rows: Iterable[Values]) -> Figure:
    """Return a figure with a panel for each variable and number of steps, and one legend."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    variables, steps = (
        list(dict.fromkeys(point[key] for point in points)) for key in ("variable", "steps")
    )
    figure = Figure(figsize=(4.2 * len(variables), 3.5 * len(steps) + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(steps), len(variables), squeeze=False, sharex="col")
    for line, count in zip(panels, steps, strict=True):
        for axes, variable in zip(line, variables, strict=True):
            place = {"steps": count, "variable": variable}
            _panel(axes, _at(points, place), _at(rows, place))
            axes.set_title(f"{variable}, {count} step{'s' if count > 1 else ''}", fontsize="small")
        line[0].set_ylabel("rms change")
    for axes, variable in zip(panels[-1], variables, strict=True):
        axes.set_xlabel(f"{variable} {LETTERS.get(variable, '')}")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=4, fontsize="small", frameon=False
    )
    return figure


def _at(rows: Iterable[Values], place: Values) -> list[Values]:
    """Return the rows of one panel."""
    return [row for row in rows if all(row[key] == value for key, value in place.items())]


def _panel(axes: Axes, points: Sequence[Values], rows: Sequence[Values]) -> None:
    """Draw the changes of every observable, with their reference slopes and theory."""
    for index, row in enumerate(rows):
        of_row = sorted(
            (point for point in points if point["quantity"] == row["quantity"]),
            key=lambda point: point["size"],
        )
        _changes(axes, of_row, row, index)
        _reference(axes, of_row, row, label=index == len(rows) - 1, colour=f"C{index}")
        if all(point["theory"] is not None for point in of_row):
            axes.plot(
                [point["size"] for point in of_row],
                [point["theory"] for point in of_row],
                "-",
                color=f"C{index}",
                linewidth=1.4,
                label="output, wide limit",
            )
    _scale(axes, sorted({point["size"] for point in points}))


def _changes(axes: Axes, points: Sequence[Values], row: Values, index: int) -> None:
    """Draw an observable's rms changes with one standard error."""
    axes.errorbar(
        [point["size"] for point in points],
        [point["value"] for point in points],
        [point["value"] * point["relative_se"] for point in points],
        fmt=MARKERS[index % len(MARKERS)],
        color=f"C{index}",
        markersize=4,
        linewidth=1,
        capsize=2,
        label=None if row["slope"] is None else row["quantity"],
    )


def _reference(
    axes: Axes, points: Sequence[Values], row: Values, *, label: bool, colour: str
) -> None:
    """Draw the reference slope through the middle of an observable's points."""
    sizes, values = ([point[key] for point in points] for key in ("size", "value"))
    middle = sum(map(math.log, sizes)) / len(sizes)
    height = sum(math.log(value) for value in values if value > 0) / len(values)
    axes.plot(
        sizes,
        [math.exp(height + row["reference"] * (math.log(size) - middle)) for size in sizes],
        "--",
        color=colour,
        linewidth=0.9,
        label="reference slope" if label else None,
    )


def _scale(axes: Axes, sizes: Sequence[int]) -> None:
    """Make both axes logarithmic, the upright one a decade long at least: a flat line looks flat
    only beside one."""
    from matplotlib.ticker import NullFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    if high < 10 * low:
        middle = math.sqrt(low * high)
        axes.set_ylim(middle / math.sqrt(10), middle * math.sqrt(10))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, which="major", linewidth=0.3)

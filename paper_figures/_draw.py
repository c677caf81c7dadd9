"""Theory as a line (a band where it has an error), networks as points with 95 % intervals;
curves differ in colour, marker and line style."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#56b4e9")
MARKERS, LINES = "osD^vP", ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
INTERVAL = 1.959964  # standard errors of 95 %
Rows = Sequence[Mapping[str, Any]]


def split(rows: Rows, name: str) -> dict[Any, list[Mapping[str, Any]]]:
    """The rows of each value of a column, in order of appearance."""
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row.get(name), []).append(row)
    return groups


def curve(
    axes: Axes,
    rows: Rows,
    x: str,
    index: int,
    label: str | None = None,
    *,
    f: Callable[[float], float] = lambda v: v,
    filled: bool | None = None,
) -> None:
    """One curve's theory and points; f: what is drawn of a value (``math.sqrt`` for an rms). The
    widest networks are filled points, others open; filled: all or none."""
    _draw_line(axes, sorted(unique(rows, x), key=lambda row: row[x]), x, index, label=label, f=f)
    widths = sorted({row["width"] for row in rows if row.get("width") is not None})
    for width in widths:
        wide = width == widths[-1] if filled is None else filled
        at = [row for row in rows if row.get("width") == width and row["measured"] is not None]
        _draw_points(axes, at, x, index, f=f, filled=wide)


def _draw_line(
    axes: Axes, rows: Rows, x: str, index: int, *, label: str | None, f: Callable[[float], float]
) -> None:
    """Draw theory as a line, with a band where its error is to be seen."""
    colour, xs = COLOURS[index % 6], [row[x] for row in rows]
    ys = [f(row["theory"]) for row in rows]
    axes.plot(xs, ys, linestyle=LINES[index % 6], color=colour, label=label, zorder=2)
    errors = [row.get("theory_error") or 0.0 for row in rows]
    if any(e > 1e-3 * abs(row["theory"]) for e, row in zip(errors, rows, strict=True)):
        low, high = (
            [f(row["theory"] + sign * e) for row, e in zip(rows, errors, strict=True)]
            for sign in (-1, 1)
        )
        axes.fill_between(xs, low, high, color=colour, alpha=0.2, linewidth=0)


def _draw_points(
    axes: Axes, rows: Rows, x: str, index: int, *, f: Callable[[float], float], filled: bool
) -> None:
    """Draw networks of one width as points, with 95 % intervals."""
    colour, middle = COLOURS[index % 6], [f(row["measured"]) for row in rows]
    ends = [
        [
            abs(f(row["measured"] + sign * INTERVAL * row["se"]) - y)
            for row, y in zip(rows, middle, strict=True)
        ]
        for sign in (-1, 1)
    ]
    axes.errorbar(
        [row[x] for row in rows],
        middle,
        ends,
        fmt=MARKERS[index % 6],
        color=colour,
        linewidth=0.7,
        markersize=3.6 if filled else 5.2,
        zorder=3 + filled,
        markerfacecolor=colour if filled else "white",
        markeredgecolor=colour,
        markeredgewidth=0.6,
    )


def unique(rows: Rows, x: str) -> list[Mapping[str, Any]]:
    """One row for each value of x: the line is the same at every width."""
    return list({row[x]: row for row in rows if row.get("theory") is not None}.values())


def over_scale(rows: Rows) -> list[dict[str, Any]]:
    """Theory and measurement over the row's scale: of covariances, cosines by the predicted
    variances."""
    return [
        {
            **row,
            **{
                name: row[name] and row[name] / row["scale"]
                for name in ("theory", "measured", "se")
            },
        }
        for row in rows
    ]


def symmetric(rows: Rows, column: str, size: int, first: int = 0) -> list[list[float]]:
    """The whole map of pairs (application, application_2), counted from ``first``; 1 on the
    diagonal."""
    table = [[1.0] * size for _ in range(size)]
    for row in rows:
        a, b = row["application"] - first, row["application_2"] - first
        table[a][b] = table[b][a] = row[column]
    return table


def sizes(axes: Axes, values: Iterable[int], which: str = "x") -> None:
    """Powers of two as ticks of a log axis, written out."""
    from matplotlib.ticker import NullLocator

    values = sorted(set(values))
    getattr(axes, f"set_{which}scale")("log", base=2)
    getattr(axes, f"set_{which}ticks")(values, [str(v) for v in values])
    getattr(axes, f"{which}axis").set_minor_locator(NullLocator())


def plain_log(axes: Axes, which: str = "y") -> None:
    """A log axis with 1, 2, 5, 10, ... written out."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def floor(axes: Axes, width: int, samples: int) -> None:
    """Shade where independent networks' mean cosine is lost in n^-1/2 fluctuations: within
    INTERVAL/sqrt(n samples) of zero."""
    level = INTERVAL / math.sqrt(width * samples)
    axes.axhspan(
        -level, level, color="0.82", zorder=0, linewidth=0, label=f"noise floor, n = {width}"
    )


def legend_of_points(figure: Figure, rows: Rows, line: str = "wide limit") -> None:
    """Say below the panels what lines and points are."""
    from matplotlib.lines import Line2D

    widths = sorted({row["width"] for row in rows if row.get("width") is not None})
    handles: list[Any] = [Line2D([], [], color="0.2", label=line)]
    for width in widths:
        face = "0.2" if width == widths[-1] else "white"
        handles.append(
            Line2D(
                [],
                [],
                linestyle="",
                marker="o",
                markerfacecolor=face,
                markeredgecolor="0.2",
                label=f"networks, n = {width} (95 %)",
            )
        )
    figure.legend(handles=handles, loc="outside lower center", ncols=3)


def letter(axes: Axes, text: str) -> None:
    """The panel's title, left."""
    axes.set_title(text, loc="left")

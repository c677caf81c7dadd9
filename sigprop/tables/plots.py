"""The figure of a table: one panel a quantity, values over applications, error bars, the
theory's line where there is one."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from sigprop.errors import InputError
from sigprop.tables.document import Document, Row
from sigprop.tables.files import check_path, write

if TYPE_CHECKING:
    from matplotlib.axis import XAxis
    from matplotlib.figure import Figure

SYMBOLS = {
    "residual_variance": r"$\langle h_a, h_a\rangle$",
    "rms": r"$\sqrt{\langle h_a, h_a\rangle}$",
    "token_covariance": r"$\langle h_a[t], h_a[s]\rangle$",
    "token_cosine": r"$\cos(h_a[t], h_a[s])$",
    "state_cosine": r"$\cos(h_a, h_b)$",
    "write_cosine": r"$\cos(w_a, w_b)$",
    "gradient_variance": r"$\langle g_a, g_a\rangle$",
    "gradient_covariance": r"$\langle g_a[t], g_a[s]\rangle$",
    "logit_contact": r"$\langle e_{w_t}, o_t \rangle$",
    "cross_entropy": r"$\log \sum_w e^{\zeta_w}$",
    "weight_gradient": r"$n\,|dz/dW|^2 / (n_{in} n_{out})$",
    "ntk": r"$\Theta(t, s)$",
}
FORMATS: dict[str, str] = {".png": "png", ".pdf": "pdf", ".svg": "svg"}
MOST_LABELS = 8

Colour = str | tuple[float, float, float, float]
Bars = list[list[float]]
"""Lengths of error bars, below and above."""


class Screen(Protocol):
    """What is asked of matplotlib.pyplot."""

    def figure(self, *, figsize: tuple[float, float], layout: str) -> Figure: ...


class Sheet(Protocol):
    """What is asked of matplotlib's Figure, whose own signatures leave their options untyped."""

    def add_subplot(self, rows: int, columns: int, index: int, /) -> Panel: ...
    def suptitle(self, t: str, *, fontsize: str) -> object: ...
    def savefig(self, fname: IO[bytes], *, format: str, dpi: int) -> object: ...


class Panel(Protocol):
    """What is asked of matplotlib's Axes."""

    @property
    def xaxis(self) -> XAxis: ...
    def set_xlabel(self, xlabel: str) -> object: ...
    def set_ylabel(self, ylabel: str) -> object: ...
    def set_title(self, label: str, *, fontsize: str) -> object: ...
    def set_xticks(self, ticks: Sequence[float], labels: Sequence[str]) -> object: ...
    def set_yscale(self, value: str) -> object: ...
    def legend(self, *, fontsize: str, frameon: bool) -> object: ...
    def plot(
        self,
        x: Sequence[float],
        y: Sequence[float],
        fmt: str,
        /,
        *,
        color: Colour,
        linewidth: float,
        markersize: float,
        label: str | None,
    ) -> object: ...
    def errorbar(
        self,
        x: Sequence[float],
        y: Sequence[float],
        yerr: Bars | None,
        *,
        fmt: str,
        color: Colour,
        markersize: float,
        linewidth: float,
        capsize: float,
        label: str | None,
    ) -> object: ...


def plot(table: Document, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw ``table``; with ``path`` (.png, .pdf or .svg) save it without a display, else through
    pyplot."""
    suffix = check_path(path, FORMATS) if path is not None else ""
    if not table.rows:
        raise InputError("plot: the table has no rows; accepted: a table with at least one")
    names = list(dict.fromkeys(row["quantity"] for row in table))
    across = min(len(names), 3)
    down = math.ceil(len(names) / across)
    size = (4.6 * across, 3.5 * down)
    if path is None:
        from matplotlib import pyplot

        figure = _shown(pyplot, size)
    else:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
    _fill(figure, table, names, (down, across))
    if path is not None:
        buffer = io.BytesIO()
        _print(figure, buffer, FORMATS[suffix])
        write(Path(path), buffer.getvalue())
    return figure


def _shown(screen: Screen, size: tuple[float, float]) -> Figure:
    return screen.figure(figsize=size, layout="constrained")


def _print(sheet: Sheet, file: IO[bytes], form: str) -> None:
    sheet.savefig(file, format=form, dpi=150)


def _fill(sheet: Sheet, table: Document, names: Sequence[str], shape: tuple[int, int]) -> None:
    """A panel for each of these quantities, and the title."""
    for index, name in enumerate(names):
        _panel(
            sheet.add_subplot(*shape, index + 1),
            name,
            [row for row in table if row["quantity"] == name],
        )
    sheet.suptitle(
        f"{table.architecture} ({table.kind})" + (f": {table.verdict}" if table.verdict else ""),
        fontsize="medium",
    )


def _panel(axes: Panel, name: str, rows: Sequence[Row]) -> None:
    from matplotlib.ticker import MaxNLocator

    pairs = any(row.get("application_2") is not None for row in rows)
    partners: dict[int | None, set[int | None]] = {}
    for row in rows:
        partners.setdefault(row.get("application"), set()).add(row.get("application_2"))
    # all pairs: one line an application
    fan = pairs and len(partners) > 1 and max(map(len, partners.values())) > 1
    applied = any(row.get("application") is not None for row in rows)
    groups = list(dict.fromkeys(str(row.get("group") or "total") for row in rows))
    keys = [
        "case",
        *(["application"] if fan else []),
        "token",
        "token_2",
        *(["group"] if applied else []),
    ]
    varying = [key for key in keys if len({row.get(key) for row in rows}) > 1]
    series: dict[tuple[object, ...], list[tuple[float, Row]]] = {}
    for row in rows:
        x = (
            (row["application_2"] if pairs else row["application"])
            if applied
            else groups.index(str(row.get("group") or "total"))
        )
        series.setdefault(tuple(row.get(key) for key in varying), []).append((x, row))
    for index, (values, points) in enumerate(series.items()):
        text = ", ".join(
            f"{key} {'-' if value is None else value}"
            for key, value in zip(varying, values, strict=True)
        )
        label = (text or "measured") if len(series) <= MOST_LABELS else None
        points = sorted(points, key=lambda point: point[0])
        _series(
            axes,
            points,
            _colour(index, len(series)),
            label,
            "theory" if index == 0 else None,
            applied,
        )
    if applied:
        axes.set_xlabel("application $b$" if pairs else "application $a$")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes.set_xticks(range(len(groups)), groups)
        axes.set_xlabel("group")
    axes.set_ylabel(SYMBOLS.get(name, name))
    fixed = f", $a$ = {next(iter(partners))}" if pairs and len(partners) == 1 else ""
    axes.set_title(
        name + fixed + (f" ({len(series)} series)" if len(series) > MOST_LABELS else ""),
        fontsize="small",
    )
    shown = [
        y
        for row in rows
        for y in (row.get("theory"), _value(row))
        if y is not None and math.isfinite(y)
    ]
    if shown and min(shown) > 0 and max(shown) > 100 * min(shown):
        axes.set_yscale("log")
    if 1 < len(series) <= MOST_LABELS or any(row.get("theory") is not None for row in rows):
        axes.legend(fontsize="x-small", frameon=False)


def _series(
    axes: Panel,
    points: Sequence[tuple[float, Row]],
    colour: Colour,
    label: str | None,
    theory: str | None,
    joined: bool,
) -> None:
    xs = [x for x, _ in points]
    lines = [_float(row.get("theory")) for _, row in points]
    predicted = any(map(math.isfinite, lines))
    if predicted:
        axes.plot(
            xs,
            lines,
            "-" if joined else "_",
            color=colour,
            linewidth=1.2,
            markersize=14,
            label=theory,
        )
    errors = [_error(row) for _, row in points]
    bars = (
        [[low for low, _ in errors], [high for _, high in errors]]
        if any(map(any, errors))
        else None
    )
    style = "o-" if joined and not predicted and not bars else "o"
    axes.errorbar(
        xs,
        [_float(_value(row)) for _, row in points],
        bars,
        fmt=style,
        color=colour,
        markersize=3.5,
        linewidth=1,
        capsize=2,
        label=label,
    )


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _value(row: Row) -> float | None:
    return row.get("measured") if "measured" in row else row.get("value")


def _error(row: Row) -> tuple[float, float]:
    """Lengths of the error bar below and above: the standard error, or verify's interval of the
    deviation times its scale."""
    if row.get("se") is not None:
        return float(row["se"]), float(row["se"])
    low, middle, high, scale = (row.get(key) for key in ("lower", "deviation", "upper", "scale"))
    if low is None or middle is None or high is None or scale is None:
        return 0.0, 0.0
    return max(0.0, (middle - low) * scale), max(0.0, (high - middle) * scale)


def _colour(index: int, count: int) -> Colour:
    if count <= 10:
        return f"C{index}"
    import matplotlib

    return matplotlib.colormaps["viridis"](index / (count - 1))

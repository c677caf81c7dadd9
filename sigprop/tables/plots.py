"""The figure of a table: one panel a quantity, values over applications, error bars, the
theory's line where there is one."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
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
    "write_variance": r"$\langle w_a, w_a\rangle$",
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
    """Hold what is asked of matplotlib.pyplot."""

    def figure(self, *, figsize: tuple[float, float], layout: str) -> Figure: ...


class Sheet(Protocol):
    """Hold what is asked of matplotlib's Figure, whose own signatures leave their options
    untyped."""

    def add_subplot(self, rows: int, columns: int, index: int, /) -> Panel: ...
    def suptitle(self, t: str, *, fontsize: str) -> object: ...
    def savefig(self, fname: IO[bytes], *, format: str, dpi: int) -> object: ...


class Panel(Protocol):
    """Hold what is asked of matplotlib's Axes."""

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
    figure = drawn(table, seen=path is None)
    if path is not None:
        buffer = io.BytesIO()
        _print(figure, buffer, FORMATS[suffix])
        write(Path(path), buffer.getvalue())
    return figure


def drawn(table: Document, *, seen: bool = False) -> Figure:
    """Draw a panel a quantity, on the screen (``seen``) or without one."""
    names = list(dict.fromkeys(row["quantity"] for row in table))
    across = min(len(names), 3)
    down = math.ceil(len(names) / across)
    size = (4.6 * across, 3.5 * down)
    if seen:
        from matplotlib import pyplot

        figure = _shown(pyplot, size)
    else:
        figure = _unseen(size)
    _fill(figure, table, names, (down, across))
    return figure


def _unseen(size: tuple[float, float]) -> Figure:
    """Return a new figure without a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _shown(screen: Screen, size: tuple[float, float]) -> Figure:
    """Return a new figure on the screen."""
    return screen.figure(figsize=size, layout="constrained")


def _print(sheet: Sheet, file: IO[bytes], form: str) -> None:
    """Write the figure into a file."""
    sheet.savefig(file, format=form, dpi=150)


def _fill(sheet: Sheet, table: Document, names: Sequence[str], shape: tuple[int, int]) -> None:
    """Draw a panel for each of these quantities, and the title."""
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
    """Draw one quantity: a series for whatever its rows differ in beside where they are."""
    place = _Place.of(rows)
    series = _grouped(rows, place)
    for index, line in enumerate(series):
        label = (line.label or "measured") if len(series) <= MOST_LABELS else None
        colour = _colour(index, len(series))
        if line.predicted:
            _theory(axes, line, colour, "theory" if index == 0 else None, joined=place.applied)
        _bars(axes, line, colour, label, joined=place.applied)
    place.label(axes)
    axes.set_ylabel(SYMBOLS.get(name, name))
    many = f" ({len(series)} series)" if len(series) > MOST_LABELS else ""
    axes.set_title(name + place.fixed + many, fontsize="small")
    if _is_wide(rows):
        axes.set_yscale("log")
    if 1 < len(series) <= MOST_LABELS or any(row.get("theory") is not None for row in rows):
        axes.legend(fontsize="x-small", frameon=False)


@dataclass(frozen=True)
class _Place:
    """Hold what stands along a panel's axis: applications (``applied``), of pairs the second, else
    groups; partners: {first application: second ones}."""

    applied: bool
    pairs: bool
    partners: dict[int | None, set[int | None]]
    groups: list[str]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> _Place:
        """Read it off the rows."""
        partners: dict[int | None, set[int | None]] = {}
        for row in rows:
            partners.setdefault(row.get("application"), set()).add(row.get("application_2"))
        return cls(
            any(row.get("application") is not None for row in rows),
            any(row.get("application_2") is not None for row in rows),
            partners,
            list(dict.fromkeys(_group(row) for row in rows)),
        )

    @property
    def fan(self) -> bool:
        """Tell if these are all pairs: one line a first application."""
        many = len(self.partners) > 1 and max(map(len, self.partners.values())) > 1
        return self.pairs and many

    @property
    def fixed(self) -> str:
        """Say which first application all pairs have."""
        alone = self.pairs and len(self.partners) == 1
        return f", $a$ = {next(iter(self.partners))}" if alone else ""

    def differing(self) -> list[str]:
        """Return what rows at one place may differ in."""
        fan, applied = ["application"] if self.fan else [], ["group"] if self.applied else []
        return ["case", *fan, "token", "token_2", *applied]

    def at(self, row: Row) -> float:
        """Return where a row stands."""
        if not self.applied:
            return self.groups.index(_group(row))
        return row["application_2"] if self.pairs else row["application"]

    def label(self, axes: Panel) -> None:
        """Label the axis."""
        if self.applied:
            from matplotlib.ticker import MaxNLocator

            axes.set_xlabel("application $b$" if self.pairs else "application $a$")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        else:
            axes.set_xticks(range(len(self.groups)), self.groups)
            axes.set_xlabel("group")


def _group(row: Row) -> str:
    """Name a row's group of parameters."""
    return str(row.get("group") or row.get("module") or "total")


@dataclass(frozen=True)
class _Series:
    """One line of a panel: places, rows, and what tells it from the others."""

    label: str
    xs: list[float]
    rows: list[Row]

    @property
    def theory(self) -> list[float]:
        """Return theory's values, NaN where it has none."""
        return [_float(row.get("theory")) for row in self.rows]

    @property
    def predicted(self) -> bool:
        """Tell if theory has a value anywhere."""
        return any(map(math.isfinite, self.theory))


def _grouped(rows: Sequence[Row], place: _Place) -> list[_Series]:
    """Return the rows series by series, each from left to right."""
    varying = [key for key in place.differing() if len({row.get(key) for row in rows}) > 1]
    members: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        members.setdefault(tuple(row.get(key) for key in varying), []).append(row)
    series: list[_Series] = []
    for values, alike in members.items():
        parts = zip(varying, values, strict=True)
        text = ", ".join(f"{key} {'-' if value is None else value}" for key, value in parts)
        ordered = sorted(alike, key=place.at)
        series.append(_Series(text, [place.at(row) for row in ordered], ordered))
    return series


def _is_wide(rows: Sequence[Row]) -> bool:
    """Tell if values above 0 span more than two decades."""
    shown = [
        y
        for row in rows
        for y in (row.get("theory"), _value(row))
        if y is not None and math.isfinite(y)
    ]
    return bool(shown) and min(shown) > 0 and max(shown) > 100 * min(shown)


def _theory(axes: Panel, line: _Series, colour: Colour, label: str | None, *, joined: bool) -> None:
    """Draw theory's line, or its dashes where points are not joined."""
    axes.plot(
        line.xs,
        line.theory,
        "-" if joined else "_",
        color=colour,
        linewidth=1.2,
        markersize=14,
        label=label,
    )


def _bars(axes: Panel, line: _Series, colour: Colour, label: str | None, *, joined: bool) -> None:
    """Draw measured points with error bars; joined where nothing else shows their course."""
    errors = [_error(row) for row in line.rows]
    bars = (
        [[low for low, _ in errors], [high for _, high in errors]]
        if any(map(any, errors))
        else None
    )
    axes.errorbar(
        line.xs,
        [_float(_value(row)) for row in line.rows],
        bars,
        fmt="o-" if joined and not line.predicted and not bars else "o",
        color=colour,
        markersize=3.5,
        linewidth=1,
        capsize=2,
        label=label,
    )


def _float(value: float | None) -> float:
    """Return the number, NaN for none."""
    return math.nan if value is None else float(value)


def _value(row: Row) -> float | None:
    """Return what was measured, else the row's value."""
    return row.get("measured") if "measured" in row else row.get("value")


def _error(row: Row) -> tuple[float, float]:
    """Return the lengths of the error bar below and above: the standard error, or verify's interval
    of the deviation times its scale."""
    if row.get("se") is not None:
        return float(row["se"]), float(row["se"])
    low, middle, high, scale = (row.get(key) for key in ("lower", "deviation", "upper", "scale"))
    if low is None or middle is None or high is None or scale is None:
        return 0.0, 0.0
    return max(0.0, (middle - low) * scale), max(0.0, (high - middle) * scale)


def _colour(index: int, count: int) -> Colour:
    """Return a series' colour: of the cycle, or where there are many, of a scale."""
    if count <= 10:
        return f"C{index}"
    import matplotlib

    return matplotlib.colormaps["viridis"](index / (count - 1))

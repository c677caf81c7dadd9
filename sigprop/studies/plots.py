"""A study drawn: one quantity against a varied parameter, a curve for each value of another."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sigprop.errors import InputError, near_miss
from sigprop.studies.points import Point, mean, point
from sigprop.tables.document import KEYS as ROWS
from sigprop.tables.files import check_path, write
from sigprop.tables.plots import FORMATS, SYMBOLS
from sigprop.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Of Okabe and Ito: told apart by all eyes."""
MARKERS = "osD^vP*"
SEED = "seed"
KEYS = tuple(key for key in ROWS if key not in ("quantity", "application", "token"))
"""Of rows, those that tell curves apart; tokens are averaged."""
MOST, MOST_TICKS = 14, 9  # curves, and values that all have a tick
WIDE = 20  # times that positive values may span before their axis is logarithmic


@dataclass(frozen=True)
class Axes:
    """Say what is drawn: a quantity against the parameter x (None: the first that is a number), a
    curve for each value of all others, of which ``curves`` is named first."""

    quantity: str | None = None
    x: str | None = None
    curves: str | None = None


def plot(table: Table, axes: Axes, file: str | os.PathLike[str] | None = None) -> Figure:
    """Draw a study's rows: points with 90 % intervals (of exponents their stated errors), theory's
    lines; means over tokens, whose intervals are at most as wide as is drawn.

    table: of ``results``; file: .png, .pdf or .svg. Raises ``InputError`` where there is nothing to
    draw.
    """
    suffix = check_path(file, FORMATS) if file is not None else ""
    chosen = _chosen(table, axes)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    _draw(figure.add_subplot(), table, chosen)
    if file is not None:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=FORMATS[suffix], dpi=150)
        write(Path(file), buffer.getvalue())
    return figure


def _chosen(table: Table, axes: Axes) -> Axes:
    """Return what is drawn; raises ``InputError`` for what the table has not."""
    if not table.rows:
        raise InputError("plot: no rows; accepted: a study with finished units of this quantity")
    names = list(dict.fromkeys(row["quantity"] for row in table.rows if row.get("quantity")))
    varied = list((table.notes or {}).get("varied", ()))
    quantity = axes.quantity or (names[0] if names else "")
    if quantity not in names:
        raise InputError(f"quantity={quantity!r}{near_miss(quantity, names)}")
    for name in (axes.x, axes.curves):
        if name is not None and name not in varied:
            raise InputError(f"plot: {name!r} is not varied{near_miss(name, varied)}")
    numeric = [n for n in varied if n != SEED and _numeric([r.get(n) for r in table.rows])]
    x = axes.x or next(iter([*numeric, *varied]), None)
    if x is None:
        raise InputError("plot: nothing is varied; accepted: a study with a grid")
    return Axes(quantity, x, axes.curves)


def _draw(panel: Any, table: Table, axes: Axes) -> None:
    """Draw the curves, the axes and the legend; raise ``InputError`` for too many of them."""
    rows = [row for row in table.rows if row.get("quantity") == axes.quantity]
    x = str(axes.x)
    places = _places([row.get(x) for row in rows])
    apart = _apart(rows, [*(table.notes or {}).get("varied", ()), *KEYS], axes)
    curves: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        curves.setdefault(tuple(row.get(name) for name in apart), []).append(row)
    if len(curves) > MOST:
        raise InputError(
            f"plot: {len(curves)} curves, one for each {', '.join(apart)}; accepted: at most "
            f"{MOST}, by where"
        )
    drawn: list[float] = []
    for k, (values, own) in enumerate(curves.items()):
        style = {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]}
        label = ", ".join(f"{name}={value}" for name, value in zip(apart, values, strict=True))
        drawn += _curve(panel, own, x, places, style | {"label": label or None})
    _label(panel, axes, places, drawn)
    if apart:  # beside the panel: curves that lie anywhere leave no place inside
        panel.figure.legend(loc="outside right upper", fontsize="small", frameon=False)


def _apart(rows: Sequence[Mapping[str, Any]], names: Sequence[str], axes: Axes) -> list[str]:
    """Return what curves differ in: everything that does, but the axis, seeds, and tokens."""
    first = [] if axes.curves is None else [axes.curves]
    return list(
        dict.fromkeys(
            name
            for name in [*first, *names]
            if name not in (axes.x, SEED) and len({str(row.get(name)) for row in rows}) > 1
        )
    )


def _curve(
    panel: Any, rows: Sequence[Mapping[str, Any]], x: str, places: dict[Any, float], style: Any
) -> list[float]:
    """Draw one curve, a point a seed, and return what it spans."""
    points: dict[tuple[float, Any], list[Point]] = {}
    for row in rows:
        points.setdefault((places[row.get(x)], row.get(SEED)), []).append(point(row))
    means = {at: mean(several) for at, several in points.items()}
    line = sorted({at: p.theory for (at, _), p in means.items() if p.theory is not None}.items())
    found = [(at, _bars(p)) for (at, _), p in means.items() if p.value is not None]
    bare = not found
    if line:
        panel.plot(
            *zip(*line, strict=True),
            color=style["color"],
            linewidth=1.2,
            marker=style["marker"] if bare else None,
            markersize=3,
            label=style["label"] if bare else None,
        )
    if found:
        panel.errorbar(
            [at for at, _ in found],
            [value for _, (value, _, _) in found],
            [[below for _, (_, below, _) in found], [above for _, (_, _, above) in found]],
            fmt=style["marker"],
            color=style["color"],
            markersize=3.5,
            linewidth=1,
            capsize=2,
            label=style["label"],
        )
    return [value for _, value in line] + [value for _, (value, _, _) in found]


def _bars(found: Point) -> tuple[float, float, float]:
    """Return a point's value and the lengths of its bar, below and above."""
    value = 0.0 if found.value is None else found.value
    below = 0.0 if found.lower is None else max(0.0, value - found.lower)
    above = 0.0 if found.upper is None else max(0.0, found.upper - value)
    return value, below, above


def _label(panel: Any, axes: Axes, places: dict[Any, float], drawn: Sequence[float]) -> None:
    """Set scales, ticks, labels and the legend."""
    numbers = [value for value in places if isinstance(value, int | float)]
    if len(numbers) == len(places) and numbers:
        if min(numbers) > 0 and max(numbers) >= WIDE / 2 * min(numbers):
            panel.set_xscale("log")
        if len(numbers) <= MOST_TICKS:
            panel.set_xticks(numbers, [f"{value:g}" for value in numbers])
            panel.set_xticks([], minor=True)
    else:
        panel.set_xticks(list(places.values()), [str(value) for value in places])
    if drawn and min(drawn) > 0 and max(drawn) > WIDE * min(drawn):
        panel.set_yscale("log")
    panel.set_xlabel(axes.x)
    panel.set_ylabel(f"{axes.quantity}  {SYMBOLS.get(str(axes.quantity), '')}".strip())


def _numeric(values: Sequence[Any]) -> bool:
    """Tell if all values are numbers."""
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _places(values: Sequence[Any]) -> dict[Any, float]:
    """Return where each value stands: a number where it is, others one after another."""
    every = list(dict.fromkeys(values))
    if _numeric(every):
        return {value: float(value) for value in every}
    return {value: float(k) for k, value in enumerate(every)}

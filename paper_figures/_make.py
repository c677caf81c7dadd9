"""One figure from beginning to end: its tables, kept; verdict, pictures, CSV and JSON from what is
kept."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sigprop.paper_figures import _store
from sigprop.paper_figures._registry import FOLDER, Figure, Rows
from sigprop.paper_figures._run import Run
from sigprop.studies.plan.units import machine, source
from sigprop.tables.plots import FORMATS

STYLE = FOLDER / "sigprop.mplstyle"


def make(figure: Figure, out: Path, run: Run, formats: Sequence[str]) -> dict[str, Any]:
    """Sample, keep, judge and draw; returns the figure's JSON."""
    return kept(figure, out, sampled(figure, run), formats)


def sampled(figure: Figure, run: Run) -> _store.Made:
    """Return the figure's tables as they are kept; nothing is written."""
    asked, started = _store.asked(figure, run), time.monotonic()  # of the files as they are now
    tables = figure.tables(run)
    seconds = round(time.monotonic() - started, 4)
    return _store.Made(asked, source(), _store.outcome(tables, seconds, machine()))


def kept(figure: Figure, out: Path, made: _store.Made, formats: Sequence[str]) -> dict[str, Any]:
    """Keep a figure's tables, then judge, draw and write out what is kept; returns its JSON."""
    _store.keep(out, made)
    return again(figure, out, formats, made.asked.key)


def again(
    figure: Figure, out: Path, formats: Sequence[str], key: str | None = None
) -> dict[str, Any]:
    """Judge and draw from the tables that are kept, and write them out; nothing is sampled.

    key: of the tables; None for those that were shown last. Raises ``InputError`` where there are
    none.
    """
    shown = _store.load(out, figure, key)
    rows = shown.rows
    return _store.show(out, figure, shown, figure.judge(rows), pictures(figure, rows, formats))


def pictures(figure: Figure, rows: Mapping[str, Rows], formats: Sequence[str]) -> dict[str, bytes]:
    """Return the picture in every format, by its file's name, drawn without a display and without a
    date in the file."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Picture

    drawn = {}
    with matplotlib.rc_context(fname=STYLE):
        picture = Picture(figsize=figure.size, layout="constrained")
        FigureCanvasAgg(picture)
        figure.draw(picture, rows)
        for kind in formats:
            buffer = io.BytesIO()
            undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)
            picture.savefig(buffer, format=FORMATS[f".{kind}"], metadata=undated)
            drawn[f"{figure.name}.{kind}"] = buffer.getvalue()
    return drawn

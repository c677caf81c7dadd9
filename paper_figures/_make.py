"""One figure from beginning to end: tables, CSV, verdict from the CSV, pictures from the CSV,
JSON."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sigprop.paper_figures import _store
from sigprop.paper_figures._registry import FOLDER, Figure, Rows
from sigprop.paper_figures._run import Run
from sigprop.tables.files import write
from sigprop.tables.plots import FORMATS

STYLE = FOLDER / "sigprop.mplstyle"


def make(figure: Figure, out: Path, run: Run, formats: Sequence[str]) -> dict[str, Any]:
    """Sample, save, judge and draw; returns the figure's JSON."""
    marks = _store.stamp(figure, run.quick, run.seed)  # of the files as they are now
    tables = figure.tables(run)
    _store.save(out, figure, tables)
    marks |= _store.origin(out, figure, tables)
    rows = {name: _store.read(out / f"{figure.name}.{name}.csv") for name in tables}
    pictures(figure, rows, out, formats)
    return _store.document(out, figure, marks, rows, figure.judge(rows))


def again(figure: Figure, out: Path, formats: Sequence[str]) -> dict[str, Any]:
    """Judge and draw from the saved tables; nothing is sampled, and the JSON still says what
    was: a table that was edited since is no table of that run."""
    before, rows = _store.record(figure, out), _store.load(out, figure)
    pictures(figure, rows, out, formats)
    return _store.document(
        out, figure, {key: before.get(key) for key in _store.MARKS}, rows, figure.judge(rows)
    )


def pictures(figure: Figure, rows: Mapping[str, Rows], out: Path, formats: Sequence[str]) -> None:
    """The picture in every format, without a display and without a date in the file."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Picture

    with matplotlib.rc_context(fname=STYLE):
        picture = Picture(figsize=figure.size, layout="constrained")
        FigureCanvasAgg(picture)
        figure.draw(picture, rows)
        for kind in formats:
            buffer = io.BytesIO()
            undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)
            picture.savefig(buffer, format=FORMATS[f".{kind}"], metadata=undated)
            write(out / f"{figure.name}.{kind}", buffer.getvalue())

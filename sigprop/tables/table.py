"""Tables: what predict, measure and verify return; every way out (JSON, CSV, Markdown, text,
figure) holds all rows."""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sigprop.errors import InputError
from sigprop.tables.cells import cell
from sigprop.tables.document import Document
from sigprop.tables.files import PAGES, SUFFIXES, check_path, write
from sigprop.tables.layout import terminal_width
from sigprop.tables.plain import plain
from sigprop.tables.text import html, text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class Table(Document):
    """Numbers of one architecture, with ways out of Python."""

    def to_json(self) -> str:
        """One JSON document."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def to_csv(self) -> str:
        """A header line and one line a row; floats keep all their digits, what does not apply is
        empty."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(plain(self.rows))
        return text.getvalue()

    def to_markdown(self) -> str:
        """A Markdown table of all rows, 6 significant digits."""
        lines: list[Sequence[str]] = [self.columns, ["---"] * len(self.columns)]
        lines += [
            [cell(row.get(name)).replace("|", "\\|") for name in self.columns] for row in self.rows
        ]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """One panel a quantity, over applications, with error bars and the theory's line; saved
        when ``path`` is given."""
        from sigprop.tables.plots import plot

        return plot(self, path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all rows as .json, .csv, .md or .html, whole or not at all."""
        ways = SUFFIXES | PAGES
        text = getattr(self, ways[check_path(path, ways)])()
        write(path, text if text.endswith("\n") else text + "\n")

    def to_pandas(self) -> Any:
        """Return all rows as a pandas DataFrame, a column each of ``columns``; raises
        ``InputError`` where pandas is not installed."""
        return _library("pandas").DataFrame(plain(self.rows), columns=list(self.columns))

    def to_polars(self) -> Any:
        """Return all rows as a polars DataFrame, a column each of ``columns``; raises
        ``InputError`` where polars is not installed."""
        rows = plain(self.rows)
        columns = {name: [row.get(name) for row in rows] for name in self.columns}
        return _library("polars").DataFrame(columns, strict=False)

    def to_html(self) -> str:
        """One web page that stands alone: what the table says, its curves, every row."""
        from sigprop.tables.webpage import webpage

        return webpage(self)

    def _repr_html_(self) -> str:
        return html(self)

    def to_text(self, width: int | None = None) -> str:
        """The table as aligned lines of at most ``width`` characters (None: of any length), long
        tables as their head and tail."""
        return text(self, width)

    def __str__(self) -> str:
        return self.to_text(terminal_width())

    __repr__ = __str__


def _library(name: str) -> Any:
    """Import a library of frames; raises ``InputError`` where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(
            f"to_{name}: {name} is not installed; accepted: pip install {name}, or to_csv and "
            f"to_json"
        ) from None

"""A table as one web page that stands alone: what it says, its curves, every row."""

from __future__ import annotations

import importlib
import io
from html import escape
from typing import Any

from sigprop.tables.document import Document
from sigprop.tables.text import html_row, page

STYLE = (
    "body { font: 14px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 90em; padding: 0 1em"
    " } svg { max-width: 100%; height: auto } table { border-collapse: collapse } th, td { padding:"
    " 2px 10px; border-bottom: 1px solid #ddd; text-align: left } .rejected { background: #fbdcdc }"
    " .inconclusive { background: #fdf3d0 }"
)
"""Of the page; a row has its verdict as class."""


def webpage(table: Document) -> str:
    """Return the page: the title, the verdict and remarks, a panel a quantity, all rows."""
    shown = page(table)
    said = [
        f"<p>{'<br>'.join(map(escape, paragraph))}</p>"
        for paragraph in shown.below
        if paragraph and not paragraph[0].startswith("columns left out")
    ]
    head = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
    rows = [
        html_row([row.get(name) for name in table.columns], str(row.get("verdict") or ""))
        for row in table.rows
    ]
    name = escape(f"{table.architecture} ({table.kind})")
    return "\n".join(
        [
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
            f"<style>{STYLE}</style></head><body>",
            f"<h1>{name}</h1>",
            *said,
            _figure(table),
            f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>",
            "</body></html>\n",
        ]
    )


def _figure(table: Document) -> str:
    """The curves as SVG; nothing for a table without quantities."""
    numbers = ("value", "measured")
    drawn = all(
        "quantity" in row and any(isinstance(row.get(key), (int, float)) for key in numbers)
        for row in table.rows
    )
    if not drawn or not table.rows:
        return ""
    from sigprop.tables.plots import drawn

    buffer = io.BytesIO()
    matplotlib: Any = importlib.import_module("matplotlib")
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": table.architecture}):
        figure: Any = drawn(table)
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue().decode()
    return text[text.index("<svg") :]

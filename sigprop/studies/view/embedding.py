"""Rows inside the page: column by column as JSON, no longer than a page may be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sigprop.tables.document import KEYS, Document, Row
from sigprop.tables.plain import plain

LIMIT = 10_000_000
"""Characters that the rows may take."""
DIGITS = 7
"""Significant digits of numbers where all of them would take more than that."""
EXACT = 2**53
"""The largest integer that a browser holds exactly, as all those below."""
Cells = list[str]
"""One column's cells, each as JSON."""


def embedded(table: Document, about: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the rows as JSON that may stand in a script element, and what had to be shortened, in
    words."""
    rows: list[Row] = plain(table.rows)
    names = columns(table, about)
    data = _packed(rows, names, about)
    if len(data) <= LIMIT:
        return data, []
    notes = [f"Numbers are rounded to {DIGITS} digits here; the study's file holds all of them."]
    rows = [{key: _rounded(value) for key, value in row.items()} for row in rows]
    shown = len(rows)
    while len(data := _packed(rows[:shown], names, about)) > LIMIT and shown > 1:
        shown = min(shown - 1, int(shown * 0.98 * LIMIT / len(data)))
    if shown < len(rows):
        notes.insert(
            0,
            f"The last {len(rows) - shown} of {len(rows)} rows are left out here: a page of "
            f"{LIMIT / 1e6:g} million characters holds no more; the study's file holds all.",
        )
    return data, notes


def columns(table: Document, about: Mapping[str, Any]) -> list[str]:
    """Return the columns: varied parameters, keys, values."""
    present = table.columns
    varied = [name for name in about.get("varied") or () if name in present]
    return varied + [name for name in present if name not in varied]


def _packed(rows: Sequence[Row], names: Sequence[str], about: Mapping[str, Any]) -> str:
    """Return one JSON document; its ``<``, ``>`` and ``&`` are escaped, so that no text in it ends
    the script element."""
    parts = ",".join(_column(name, [_json(row.get(name)) for row in rows]) for name in names)
    facts = json.dumps(
        {
            "rows": len(rows),
            "name": str(about.get("name") or "study"),
            "varied": [name for name in names if name in (about.get("varied") or ())],
            "keys": list(KEYS),
        }
    )
    document = f'{facts[:-1]}, "columns": [{parts}]}}'
    for character in "<>&":
        document = document.replace(character, f"\\u{ord(character):04x}")
    return document


def _column(name: str, cells: Cells) -> str:
    """Return one column: its cells, or its distinct ones and each row's place among them, whichever
    is shorter."""
    places = {cell: place for place, cell in enumerate(dict.fromkeys(cells))}
    codes = [str(places[cell]) for cell in cells]
    plainly, distinct = _length(cells), _length(codes) + _length(places)
    if plainly <= distinct:
        return f'{{"name":{json.dumps(name)},"values":[{",".join(cells)}]}}'
    return (
        f'{{"name":{json.dumps(name)},"distinct":[{",".join(places)}],"codes":[{",".join(codes)}]}}'
    )


def _length(texts: Sequence[str] | Mapping[str, int]) -> int:
    """Return how many characters these take, each with a comma."""
    return sum(map(len, texts)) + len(texts)


def _json(value: Any) -> str:
    """Return one cell as JSON; integers that a browser's numbers would round are texts."""
    if isinstance(value, int) and abs(value) > EXACT:
        return f'"{value}"'
    return "null" if value is None else json.dumps(value, separators=(",", ":"), allow_nan=False)


def _rounded(value: Any) -> Any:
    """Return a number, or a list's, with fewer digits."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    return [_rounded(entry) for entry in value] if isinstance(value, list) else value

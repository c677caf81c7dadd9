"""Which cells and rows are asked for, by values: ``depth=4``, ``gated=true``, ``steps=10``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sigprop.errors import InputError, near_miss, short
from sigprop.studies.store.store import Store
from sigprop.tables.document import KEYS
from sigprop.tables.plain import is_collection

SHOWN = 8  # values that a refusal lists


class Where:
    """What is asked for, of a store's cells and of its rows.

    given: a value, or a list of them, of parameters that are varied, or of keys of rows. Raises
    ``InputError`` for a name that is neither, and for values that no cell has.
    """

    def __init__(self, store: Store, given: Mapping[str, Any]):
        cells = [
            json.loads(text)
            for (text,) in store.ask("SELECT DISTINCT json_extract(cell, '$.varied') FROM unit")
        ] if given else []  # fmt: skip
        known = dict.fromkeys(name for cell in cells for name in cell)
        self.cells = {name: _several(value) for name, value in given.items() if name in known}
        self.rows = {name: _several(value) for name, value in given.items() if name not in known}
        for name in self.rows:
            if name not in KEYS:
                raise InputError(f"where: {name!r} is not varied{near_miss(name, (*known, *KEYS))}")
        for name, values in self.cells.items():
            there = list(dict.fromkeys(str(cell.get(name)) for cell in cells))
            if not any(_is(cell.get(name), value) for cell in cells for value in values):
                more = ", ..." if len(there) > SHOWN else ""
                raise InputError(
                    f"where: {name}={short(given[name])}; accepted: {', '.join(there[:SHOWN])}"
                    f"{more}"
                )

    def of_cell(self, varied: Mapping[str, Any]) -> bool:
        """Tell if a cell is asked for."""
        return _fits(varied, self.cells)

    def of_row(self, row: Mapping[str, Any]) -> bool:
        """Tell if a row is asked for."""
        return _fits(row, self.rows)


def _fits(values: Mapping[str, Any], wanted: Mapping[str, list[Any]]) -> bool:
    """Tell if every value is one of those that are wanted."""
    return all(any(_is(values.get(name), one) for one in of) for name, of in wanted.items())


def _several(value: Any) -> list[Any]:
    """Return a value, or the values of a list."""
    return list(value) if is_collection(value) else [value]


def _is(there: Any, asked: Any) -> bool:
    """Tell if a value is the one that is asked for, which may be its text."""
    if isinstance(there, bool) or isinstance(asked, bool):
        return str(there).lower() == str(asked).lower()
    if isinstance(there, int | float):
        try:
            return float(there) == float(asked)
        except (TypeError, ValueError):
            return False
    return str(there) == str(asked)

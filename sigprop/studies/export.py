"""Tables as files of other programs: Parquet beside what every table has."""

from __future__ import annotations

import importlib
import io
import json
import os
from pathlib import Path
from typing import Any

from sigprop.errors import InputError
from sigprop.tables.files import SUFFIXES, check_path, write
from sigprop.tables.plain import plain
from sigprop.tables.table import Table

PARQUET = {".parquet": "parquet"}


def export(table: Table, file: str | os.PathLike[str]) -> int:
    """Write all rows of a table and return how many; raises ``InputError``.

    file: .parquet (with pyarrow; a column of lists or of several kinds is JSON text), .csv, .json
    or .md.
    """
    suffix = check_path(file, SUFFIXES | PARQUET, "export")
    if suffix not in PARQUET:
        table.save(file)
        return len(table)
    arrow, parquet = _library("pyarrow"), _library("pyarrow.parquet")
    rows = plain(table.rows)
    columns = {
        name: arrow.array(_column([row.get(name) for row in rows])) for name in table.columns
    }
    said = json.dumps({"study": plain((table.notes or {}).get("study"))})
    found = arrow.table(columns).replace_schema_metadata({"sigprop": said})
    buffer = io.BytesIO()
    parquet.write_table(found, buffer)
    write(Path(file), buffer.getvalue())
    return len(table)


def _column(values: list[Any]) -> list[Any]:
    """Return a column's values as one kind: numbers, text, or JSON text of anything else."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    if len(kinds) <= 1 and not kinds & {list, dict}:
        return values
    return [None if v is None else v if isinstance(v, str) else json.dumps(v) for v in values]


def _library(name: str) -> Any:
    """Import a library of an extra; raises ``InputError`` where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(
            f"export: {name.partition('.')[0]} is not installed; accepted: pip install "
            f"'sigprop[parquet]', or a .csv or .json file"
        ) from None

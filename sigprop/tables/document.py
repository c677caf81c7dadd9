"""Numbers and what is said of them, before any way out: rows are plain dicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from sigprop.errors import InputError
from sigprop.tables.plain import is_collection, plain

KEYS = (
    "case",
    "quantity",
    "variable",
    "steps",
    "application",
    "application_2",
    "module",
    "token",
    "token_2",
    "input",
    "input_2",
    "group",
)


Row = dict[str, Any]
"""One number: its keys and values, each text, a number, a truth value, a list, or None."""


@dataclass(frozen=True, eq=False, repr=False)
class Document:
    """Numbers of one architecture.

    rows      one dict a number: the keys that say which (quantity, application, token, ...), then
              its values
    kind      'predict', 'measure', 'verify', 'costs', 'exponents', 'prescribe' or 'check'
    verdict   verify only: confirmed, rejected or inconclusive
    notes     further top-level entries of the JSON document
    """

    architecture: str
    parameters: Mapping[str, Any]
    rows: list[Row]
    kind: str
    verdict: str | None = None
    notes: Mapping[str, Any] | None = field(default=None)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @property
    def keys(self) -> tuple[str, ...]:
        """What says which number a row is: what the table's rows were varied in, and ``KEYS``."""
        varied = (self.notes or {}).get("varied", ())
        return tuple(dict.fromkeys((*varied, *KEYS)))

    @property
    def columns(self) -> tuple[str, ...]:
        """Every key that some row has: first those that say which number it is, then the values
        in order of appearance."""
        seen, keys = dict.fromkeys(key for row in self.rows for key in row), self.keys
        return tuple(key for key in keys if key in seen) + tuple(
            key for key in seen if key not in keys
        )

    def filter(self, **wanted: object) -> Self:
        """The rows whose keys have these values (a value, or a list of them):
        ``t.filter(quantity="ntk", token=[0, 1])``."""
        for name in wanted:
            if name not in self.keys and name not in self.columns:
                raise InputError(
                    f"filter: {name!r} is not a column; accepted: {', '.join(self.columns)}"
                )
        sets = {name: value if is_collection(value) else (value,) for name, value in wanted.items()}
        return replace(
            self,
            rows=[
                row
                for row in self.rows
                if all(row.get(name) in values for name, values in sets.items())
            ],
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain Python data: architecture, parameters, rows, for verify the verdict, and the
        notes. NaN and infinity: None."""
        document: dict[str, object] = {
            "architecture": self.architecture,
            "parameters": self.parameters,
            "rows": self.rows,
        }
        if self.verdict is not None:
            document["verdict"] = self.verdict
        return plain(
            {
                **document,
                **{key: value for key, value in (self.notes or {}).items() if key not in document},
            }
        )

"""Tables: what predict, measure and verify return. Rows are plain dicts; every way out (JSON, CSV, ...) holds all of them."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sigprop import interrupts
from sigprop.errors import InputError
from sigprop.plain import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEYS = ("case", "quantity", "variable", "steps", "application", "application_2", "token", "token_2", "input", "input_2", "group")
A_FILE = "a file in a folder that exists and can be written"
MOST_NAME = 60  # characters of a temporary file's name that are the file's own: 255 bytes are the most that a name may have
SUFFIXES = {".json": "to_json", ".csv": "to_csv", ".md": "to_markdown"}


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Numbers of one architecture.

    rows      one dict a number: the keys that say which (quantity, application, token, ...), then its values
    kind      'predict', 'measure', 'verify', 'costs', 'exponents', 'prescribe' or 'check'
    verdict   verify only: confirmed, rejected or inconclusive
    notes     further top-level entries of the JSON document
    """

    architecture: str
    parameters: Mapping[str, Any]
    rows: list[dict[str, Any]]
    kind: str
    verdict: str | None = None
    notes: Mapping[str, Any] | None = field(default=None)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every key that some row has: first those that say which number it is, then the values in order of appearance."""
        seen = dict.fromkeys(key for row in self.rows for key in row)
        return tuple(key for key in KEYS if key in seen) + tuple(key for key in seen if key not in KEYS)

    def filter(self, **wanted: Any) -> Table:
        """The rows whose keys have these values (a value, or a list of them): ``t.filter(quantity="ntk", token=[0, 1])``."""
        for name in wanted:
            if name not in KEYS and name not in self.columns:
                raise InputError(f"filter: {name!r} is not a column; accepted: {', '.join(self.columns)}")
        sets = {name: value if isinstance(value, (list, tuple, set, range, frozenset)) else (value,) for name, value in wanted.items()}
        return replace(self, rows=[row for row in self.rows if all(row.get(name) in values for name, values in sets.items())])

    def to_dict(self) -> dict[str, Any]:
        """Plain Python data: architecture, parameters, rows, for verify the verdict, and the notes. NaN and infinity: None."""
        document = {"architecture": self.architecture, "parameters": self.parameters, "rows": self.rows}
        if self.verdict is not None:
            document["verdict"] = self.verdict
        return plain({**document, **{key: value for key, value in (self.notes or {}).items() if key not in document}})

    def to_json(self) -> str:
        """One JSON document."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def to_csv(self) -> str:
        """A header line and one line a row; floats keep all their digits, what does not apply is empty."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(plain(self.rows))
        return text.getvalue()

    def to_markdown(self) -> str:
        """A Markdown table of all rows, 6 significant digits."""
        from sigprop.table_text import cell

        lines = [self.columns, ["---"] * len(self.columns)]
        lines += [[cell(row.get(name)).replace("|", "\\|") for name in self.columns] for row in self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """One panel a quantity, over applications, with error bars and the theory's line; saved when ``path`` is given."""
        from sigprop.plots import plot

        return plot(self, path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all rows as .json, .csv or .md, whole or not at all."""
        suffix = check_path(path)
        text = getattr(self, SUFFIXES[suffix])()
        write(path, text if text.endswith("\n") else text + "\n")

    def __str__(self) -> str:
        from sigprop.table_text import text

        return text(self)

    __repr__ = __str__


def check_path(path: str | os.PathLike[str], suffixes: Mapping[str, Any] = SUFFIXES) -> str:
    """The path's suffix, when it is one of ``suffixes`` and a file can be written there; raises ``InputError``."""
    suffix = Path(path).suffix.lower()
    if suffix not in suffixes:
        raise InputError(f"out={str(path)!r}: suffix {suffix!r} is not known; accepted: {', '.join(suffixes)}")
    try:
        target, temporary = _places(path)
        if os.path.exists(target) and not os.path.isfile(target):
            raise InputError(f"out={str(path)!r} cannot be written: not a file; accepted: {A_FILE}")
        os.stat(os.path.dirname(target))
        _create(temporary).close()
        _discard(temporary)
    except OSError as error:
        raise InputError(f"out={str(path)!r} cannot be written: {error.strerror}; accepted: {A_FILE}") from None
    return suffix


def write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Replace the file in one step, so that an interruption leaves the old one or none, never half of one."""
    try:
        target, temporary = _places(path)
        file = _create(temporary)
        try:
            with file:
                file.write(content.encode() if isinstance(content, str) else content)
            with interrupts.State.lock:
                os.replace(temporary, target)
                interrupts.State.written.append(str(path))
        finally:
            _discard(temporary)
    except OSError as error:
        raise InputError(f"out={str(path)!r}: {error.strerror}; accepted: {A_FILE}") from None


def _places(path: str | os.PathLike[str]) -> tuple[str, str]:
    """(the file, links followed; the temporary one beside it); raises ``OSError``."""
    try:
        target = os.path.realpath(path)
        os.lstat(target)
    except FileNotFoundError:
        pass
    except ValueError as error:  # a NUL character
        raise OSError(errno.EINVAL, str(error)) from None
    folder, name = os.path.split(target)
    return target, os.path.join(folder, f".{name[:MOST_NAME]}.{os.getpid()}.tmp")


def _create(temporary: str) -> IO[bytes]:
    """The open temporary file, known to whoever ends the process from outside."""
    with interrupts.State.lock:
        interrupts.State.temporaries.add(temporary)
        return open(temporary, "wb")


def _discard(temporary: str) -> None:
    with interrupts.State.lock:
        Path(temporary).unlink(missing_ok=True)
        interrupts.State.temporaries.discard(temporary)

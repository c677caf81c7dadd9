"""Columns laid out in the width there is: side by side where they fit, else in blocks that repeat
the keys; nothing is cut."""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sigprop.tables.cells import cell
from sigprop.tables.document import KEYS

LEAST = 72  # narrower terminals get lines of this width
WRAPPED = 24  # characters that a column of words keeps at least
DIGITS = 3  # of errors and bounds, where there is not the room for 6
BOUNDS = ("lower", "upper", "detectable", "tolerance")
PLUS = " +- "
FIRST = ("verdict",)  # what a reader looks for, before the other values once there are blocks
LETTERS = {
    "application": "a",
    "application_2": "b",
    "token": "t",
    "token_2": "s",
    "input": "x",
    "input_2": "y",
}
FIRST_OF = {"upper": "lower"} | {name: name[:-2] for name in LETTERS if name.endswith("_2")}
"""The second of two columns that are written as one -> the first."""


class Column(NamedTuple):
    """A header and its cells; right: numbers, aligned to the right; key: says which row it is;
    words: may be broken at spaces."""

    name: str
    cells: list[str]
    right: bool
    key: bool
    words: bool

    @property
    def size(self) -> int:
        """Characters of the longest cell or of the header."""
        return max(map(len, (self.name, *self.cells)))

    @property
    def word(self) -> int:
        """Characters of the longest piece that is not broken."""
        if not self.words:
            return self.size
        return max(len(word) for text in (self.name, *self.cells) for word in text.split(" "))


def terminal_width() -> int | None:
    """Characters of a line of the terminal, or as COLUMNS says; None where output goes to a file
    or a pipe without it: any number."""
    found = shutil.get_terminal_size((0, 24)).columns
    return max(found, LEAST) if found else None


def column(name: str, values: Sequence[Any], key: bool = False, digits: int = 6) -> Column:
    """The column of these values."""
    right = all(
        isinstance(value, (int, float)) or hasattr(value, "dtype")
        for value in values
        if value is not None
    )
    return Column(name, [cell(value, digits) for value in values], right, key, not right)


def columns_of(values: Mapping[str, Sequence[Any]], keys: Collection[str] = KEYS) -> list[Column]:
    """The columns of a table, one a name."""
    return [column(name, entries, name in keys) for name, entries in values.items()]


def wrapped(text: str, width: int | None, indent: str = "    ") -> list[str]:
    """``text`` in lines of at most ``width`` characters, broken at spaces."""
    if width is None or len(text) <= width:
        return [text]
    return textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def total(columns: Sequence[Column]) -> int:
    """Characters of a line of these columns."""
    return sum(found.size + 2 for found in columns) - 2


def shortened(
    values: Mapping[str, Sequence[Any]], keys: Collection[str] = KEYS
) -> tuple[list[Column], list[str]]:
    """(the same columns in less room, what their headers stand for).

    Pairs of applications, of tokens and of bounds are one column, a value and its error one;
    errors and bounds have 3 digits.
    """
    found: list[Column] = []
    before = ""
    for name, entries in values.items():
        small = DIGITS if name in BOUNDS or _is_error(name) else 6
        new = column(LETTERS.get(name, name), entries, name in keys, small)
        if before and before == FIRST_OF.get(name):
            found[-1] = _joined(found[-1], new, ", ")
        elif _is_error(name) and found and found[-1].right and not found[-1].key:
            cells = list(map(_rounded, values[before], entries))
            found[-1] = _joined(found[-1]._replace(cells=cells), new, PLUS)
        else:
            found.append(new)
        before = name
    letters = {letter: name for name, letter in LETTERS.items() if name in values}
    legend = ", ".join(f"{letter} = {name}" for letter, name in letters.items())
    return found, [f"columns: {legend}"] if letters else []


def _rounded(value: Any, error: Any) -> str:
    """A value to a hundredth of its error, 3 to 6 digits."""
    known = isinstance(value, float) and isinstance(error, float)
    if not known or not value or not 0 < error < math.inf or not math.isfinite(value):
        return cell(value)
    sizes = [math.floor(math.log10(abs(number))) for number in (value, error)]
    return cell(value, min(max(sizes[0] - sizes[1] + DIGITS, DIGITS), 6))


def _is_error(name: str) -> bool:
    return name in ("se", "error") or name.endswith(("_se", "_error"))


def _joined(first: Column, second: Column, between: str) -> Column:
    """Two columns as one: ``1.5 +- 0.1``; the second's cells may be empty."""
    size = max(map(len, first.cells), default=0)
    cells = [
        (a.rjust(size) + between + b if b else a.rjust(size)).rstrip()
        for a, b in zip(first.cells, second.cells, strict=True)
    ]
    return Column(first.name + between + second.name, cells, False, first.key, False)


def blocks(columns: Sequence[Column], width: int | None) -> list[list[tuple[Column, int]]]:
    """Columns with the characters that each is given, so that every block fits ``width`` and
    begins with the keys; each of the others goes to the first block that has room for it."""
    if width is None or total(columns) <= width:
        return [[(found, found.size) for found in columns]]
    keys = _keys([found for found in columns if found.key], width)
    room = width - sum(size + 2 for _, size in keys)
    others = [found for found in columns if not found.key]
    others.sort(key=lambda found: found.name not in FIRST)
    placed: list[list[tuple[Column, int]]] = []
    left: list[int] = []
    for found in others:
        size = min(found.size, max(room, found.word))
        least = min(size, max(WRAPPED, found.word)) if found.size > room else size
        at = next((i for i, free in enumerate(left) if free >= least), None)
        if at is None:
            at = len(placed)
            placed.append([])
            left.append(room)
        size = max(min(size, left[at]), least)
        placed[at].append((found, size))
        left[at] -= size + 2
    return [[*keys, *block] for block in placed] or [keys]


def _keys(keys: Sequence[Column], width: int) -> list[tuple[Column, int]]:
    """Keys take half of the width at most, as far as their words can be broken."""
    sizes = [found.size for found in keys]
    while sum(sizes) + 2 * len(sizes) > width // 2:
        i = max(range(len(keys)), key=lambda i: sizes[i] - keys[i].word)
        if sizes[i] <= keys[i].word:
            break
        sizes[i] -= 1
    return list(zip(keys, sizes, strict=True))


def grid(
    columns: Sequence[Column],
    width: int | None = None,
    gap: str | None = None,
    at: int = 0,
    starts: Collection[int] = (),
) -> list[str]:
    """Header, rule and lines of aligned columns, block by block.

    gap: a line put in before row ``at``; starts: rows with an empty line before them.
    """
    lines: list[str] = []
    between = [] if gap is None else wrapped(gap, width)
    for block in blocks(columns, width):
        lines += [""] * bool(lines) + _block(block, between, at, starts)
    return lines


def _block(
    block: Sequence[tuple[Column, int]], gap: list[str], at: int, starts: Collection[int]
) -> list[str]:
    head = _row([(found.name, size, found.right) for found, size in block])
    lines = [*head, "  ".join("-" * size for _, size in block)]
    for k in range(len(block[0][0].cells)):
        lines += (gap if k == at else []) + [""] * (k in starts)
        lines += _row([(found.cells[k], size, found.right) for found, size in block])
    return lines


def _row(cells: Sequence[tuple[str, int, bool]]) -> list[str]:
    """A row of the grid; words that are longer than their column go on in the next line."""
    parts = [[text] if len(text) <= size else wrapped(text, size, "") for text, size, _ in cells]
    lines: list[str] = []
    for k in range(max(map(len, parts))):
        texts = [part[k] if k < len(part) else "" for part in parts]
        aligned = (
            text.rjust(size) if right else text.ljust(size)
            for text, (_, size, right) in zip(texts, cells, strict=True)
        )
        lines.append("  ".join(aligned).rstrip())
    return lines

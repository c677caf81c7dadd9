"""Cells and grids of text: how a value is written, and aligned columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def cell(value: Any) -> str:
    """One value: floats to 6 significant digits, None empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if hasattr(value, "dtype") and not getattr(value, "shape", ()):
        value = value.item()
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else str(value)
    return " ".join(str(value).split())


def grid(columns: Mapping[str, Sequence[object]], gap: str | None = None, at: int = 0) -> list[str]:
    """Header, rule and lines of aligned columns, numbers to the right; ``gap``: a line put in
    before line ``at``."""
    lines: list[list[str]] = []
    rule: list[str] = []
    for name, values in columns.items():
        cells = [cell(value) for value in values]
        right = all(
            isinstance(value, (int, float)) or hasattr(value, "dtype")
            for value in values
            if value is not None
        )
        size = max(len(name), *map(len, cells), 0) if cells else len(name)
        lines.append([text.rjust(size) if right else text.ljust(size) for text in (name, *cells)])
        rule.append("-" * size)
    rows = ["  ".join(line).rstrip() for line in zip(*lines, strict=True)]
    body = [*rows[1:]] if gap is None else [*rows[1 : 1 + at], gap, *rows[1 + at :]]
    return [rows[0], "  ".join(rule), *body] if rows else []

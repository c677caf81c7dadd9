"""Cells of text: how a value is written."""

from __future__ import annotations

import math
from typing import Any


def cell(value: Any, digits: int = 6) -> str:
    """One value: floats to ``digits`` significant digits, None empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if hasattr(value, "dtype") and not getattr(value, "shape", ()):
        value = value.item()
    if isinstance(value, float):
        return f"{value:.{digits}g}" if math.isfinite(value) else str(value)
    return " ".join(str(value).split())

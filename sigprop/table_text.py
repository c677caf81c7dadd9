"""Tables as text for a terminal: aligned columns, 6 significant digits, what all rows share said once below."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sigprop.plain import plain

if TYPE_CHECKING:
    from sigprop.table import Table

HEAD, TAIL = 24, 12  # rows shown of a longer table
SEVERITY = ("identity", "confirmed", "inconclusive", "rejected")
SHARED = ("samples", "width", "engine", "seed", "dtype", "status", "assumes", "tolerance", "scale", "error", "approximation")  # never what a row is about


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


def label(row: Mapping[str, Any]) -> str:
    """``residual_variance[application=8, token=0]``: which number a row is."""
    from sigprop.table import KEYS

    keys = {key: row[key] for key in KEYS if row.get(key) is not None and key not in ("quantity", "case")}
    return f"{row.get('quantity')}[{', '.join(f'{key}={value}' for key, value in keys.items())}]"


def worst(table: Table) -> dict[str, Any] | None:
    """The row that speaks most against the theory: gravest verdict, then largest |deviation| / tolerance."""

    def weight(row: Mapping[str, Any]) -> tuple[int, float]:
        verdict = row.get("verdict")
        deviation, tolerance = row.get("deviation"), row.get("tolerance")
        size = abs(deviation) / (tolerance or 1.0) if deviation is not None and math.isfinite(deviation) else 0.0
        return SEVERITY.index(verdict) if verdict in SEVERITY else -1, size

    return max((row for row in table if row.get("verdict") or row.get("deviation") is not None), key=weight, default=None)


def grid(columns: Mapping[str, list[Any]], gap: str | None = None, at: int = 0) -> list[str]:
    """Header, rule and lines of aligned columns, numbers to the right; ``gap``: a line put in before line ``at``."""
    lines, rule = [], []
    for name, values in columns.items():
        cells = [cell(value) for value in values]
        right = all(isinstance(value, (int, float)) or hasattr(value, "dtype") for value in values if value is not None)
        size = max(len(name), *map(len, cells), 0) if cells else len(name)
        lines.append([text.rjust(size) if right else text.ljust(size) for text in (name, *cells)])
        rule.append("-" * size)
    rows = ["  ".join(line).rstrip() for line in zip(*lines, strict=True)]
    body = [*rows[1:]] if gap is None else [*rows[1 : 1 + at], gap, *rows[1 + at :]]
    return [rows[0], "  ".join(rule), *body] if rows else []


def text(table: Table) -> str:
    """The whole table, or its head and tail with a line that says how many rows are left out."""
    chosen = ", ".join(f"{key}={_short(value)}" for key, value in table.parameters.items() if value is not None)
    out = [f"{table.architecture} ({table.kind})" + (f": {chosen}" if chosen else "")]
    long = len(table) > HEAD + TAIL + 4
    shown = [*table.rows[:HEAD], *table.rows[-TAIL:]] if long else table.rows
    columns = {name: [row.get(name) for row in table.rows] for name in table.columns}
    shared = {name: values[0] for name, values in columns.items() if name in SHARED and len({cell(v) for v in values}) == 1}
    flat = {name for name, values in columns.items() if not any(isinstance(value, list) for value in values)}  # whole ladders are for files
    kept = [name for name, values in columns.items() if name in flat and name not in shared and any(value is not None for value in values)]
    if not table.rows:
        return "\n".join([*out, "no rows", *_remarks(table.notes or {})])
    if all(isinstance(row.get("value"), (int, float)) for row in table.rows):
        kept = [name for name in kept if name != "log_value"]  # there for what is too large to be a float
    gap = f"... {len(table) - len(shown)} of {len(table)} rows left out; .json, .csv and .md files hold all ..." if long else None
    out += ["", *grid({name: [row.get(name) for row in shown] for name in kept}, gap, HEAD)]
    shared = {name: value for name, value in shared.items() if value is not None}
    if shared:
        out += ["", "all rows: " + ", ".join(f"{name}={cell(value)}" for name, value in shared.items())]
    out += _remarks(table.notes or {})
    if (diverged := (table.notes or {}).get("diverged")) is not None:
        out += ["", f"diverged: {cell(diverged)}" if not isinstance(diverged, str) else diverged]
    if table.verdict is not None:
        out += ["", verdict_line(table)]
    return "\n".join(out)


def _remarks(notes: Mapping[str, Any]) -> list[str]:
    """What formulas' symbols are here, what has no law, what criteria mean, why values are missing: ``in loops: alpha=1, chi=1``."""
    values = [
        f"in {variable}: " + ", ".join(f"{name}={cell(value)}" for name, value in found.items())
        for variable, found in notes.get("symbols", {}).items()
        if found
    ]
    lines = values + [f"in {variable}: {reason}" for variable, reason in notes.get("why", {}).items()]
    lines += [f"{name}: {meaning}" for name, meaning in notes.get("criteria", {}).items()]
    lines += [str(remark) for remark in notes.get("remarks", ())]
    return ["", *lines] if lines else []


def verdict_line(table: Table) -> str:
    """``verdict: rejected (worst row: residual_variance[application=8, token=0], deviation 0.31, tolerance 0.01)``."""
    row = worst(table)
    if row is None:
        return f"verdict: {table.verdict}"
    alike = sum(row.get("verdict") == "identity" for row in table)
    if alike and alike == len(table):
        return f"verdict: {table.verdict} ({(table.notes or {}).get('reason', 'every row is an identity')})"
    case = f"{row['case']}: " if row.get("case") else ""
    numbers = ", ".join(f"{name} {row[name]:.3g}" for name in ("deviation", "lower", "upper", "tolerance") if isinstance(row.get(name), (int, float)))
    more = f"; {alike} of {len(table)} rows are identities within rounding, which count for nothing" if alike else ""
    return f"verdict: {table.verdict} (worst row: {case}{label(row)}{', ' if numbers else ''}{numbers}{more})"


def _short(value: Any) -> str:
    written = cell(value) if isinstance(value, (str, float)) else str(plain(value))
    return written if len(written) <= 40 else written[:37] + "..."

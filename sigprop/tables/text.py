"""Tables as text for a terminal: aligned columns, 6 significant digits, what all rows share said
once below."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple, cast

from sigprop.tables.cells import cell
from sigprop.tables.document import KEYS, Document, Row
from sigprop.tables.layout import columns_of, grid, shortened, total, wrapped
from sigprop.tables.plain import plain

HEAD, TAIL = 24, 12  # rows shown of a longer table
LONG = 40  # characters; a list of more is said by its shape
SEVERITY = ("identity", "confirmed", "inconclusive", "rejected")
# never what a row is about
SHARED = (
    "samples",
    "width",
    "engine",
    "seed",
    "dtype",
    "status",
    "assumes",
    "tolerance",
    "scale",
    "error",
    "approximation",
)


def label(row: Row) -> str:
    """``residual_variance[application=8, token=0]``: which number a row is."""
    keys = {
        key: row[key]
        for key in KEYS
        if row.get(key) is not None and key not in ("quantity", "case")
    }
    if not keys and row.get("module"):
        keys["module"] = row["module"]
    return f"{row.get('quantity')}[{', '.join(f'{key}={value}' for key, value in keys.items())}]"


def worst(table: Document) -> Row | None:
    """The row that speaks most against the theory: gravest verdict, then largest |deviation| /
    tolerance."""

    def weight(row: Row) -> tuple[int, float]:
        verdict = row.get("verdict")
        deviation, tolerance = row.get("deviation"), row.get("tolerance")
        size = (
            abs(deviation) / (tolerance or 1.0)
            if deviation is not None and math.isfinite(deviation)
            else 0.0
        )
        return SEVERITY.index(verdict) if verdict in SEVERITY else -1, size

    return max(
        (row for row in table if row.get("verdict") or row.get("deviation") is not None),
        key=weight,
        default=None,
    )


class Page(NamedTuple):
    """What is shown of a table. columns: name -> values of the shown rows; gap: the line that
    stands for rows left out; below: lines after it, by paragraph."""

    title: str
    columns: dict[str, list[object]]
    gap: str | None
    below: list[list[str]]


def page(table: Document, narrow: bool = False) -> Page:
    """Return the whole table, or its head and tail with a line that says how many rows are left
    out; narrow: every value that all rows share is said below, not in a column."""
    chosen = ", ".join(
        f"{key}={_short(value)}" for key, value in table.parameters.items() if value is not None
    )
    title = f"{table.architecture} ({table.kind})" + (f": {chosen}" if chosen else "")
    notes = table.notes or {}
    if not table.rows:
        return Page(title, {}, None, [["no rows"], _remarks(notes)])
    long = len(table) > HEAD + TAIL + 4
    shown = [*table.rows[:HEAD], *table.rows[-TAIL:]] if long else table.rows
    kept, shared, left = _columns(table, narrow)
    gap = (
        f"... {len(table) - len(shown)} of {len(table)} rows left out; .json, .csv and .md files "
        f"hold all ..."
        if long
        else None
    )
    below = (
        [["all rows: " + ", ".join(f"{name}={cell(value)}" for name, value in shared.items())]]
        if shared
        else []
    )
    if left:
        why = {why: [name for name in left if left[name] == why] for why in left.values()}
        names = ", ".join(f"{', '.join(found)} ({reason})" for reason, found in why.items())
        below.append([f"columns left out: {names}; .json, .csv and .md files hold all"])
    below.append(_remarks(notes))
    if (diverged := notes.get("diverged")) is not None:
        below.append([f"diverged: {cell(diverged)}" if not isinstance(diverged, str) else diverged])
    if table.verdict is not None:
        below.append([verdict_line(table)])
    return Page(title, {name: [row.get(name) for row in shown] for name in kept}, gap, below)


def _columns(table: Document, narrow: bool) -> tuple[list[str], dict[str, Any], dict[str, str]]:
    """(columns that are shown, what all rows share and is said once, the others and why)."""
    kept: list[str] = []
    shared: dict[str, Any] = {}
    left: dict[str, str] = {}
    finite = all(isinstance(row.get("value"), (int, float)) for row in table.rows)
    for name in table.columns:
        values = [row.get(name) for row in table.rows]
        if all(value is None for value in values):
            left[name] = "empty"
        elif any(isinstance(value, list) for value in values):
            left[name] = "a list a row"
        elif name == "log_value" and finite:  # there for what is too large to be a float
            left[name] = "every value is a float"
        elif _is_shared(name, values, narrow and (name not in KEYS or table.keys != KEYS)):
            shared[name] = values[0]
        else:
            kept.append(name)
    return kept, shared, left


def _is_shared(name: str, values: list[Any], narrow: bool) -> bool:
    first = cell(values[0])
    alike = all(value is values[0] or cell(value) == first for value in values)
    return alike and (name in SHARED or narrow and len(values) > 1)


def text(table: Document, width: int | None = None) -> str:
    """Return the page as lines for a terminal of ``width`` characters (None: lines of any
    length). No column is lost: where they do not fit side by side, they are shortened, then
    stacked in blocks."""
    shown, legend = page(table), []
    columns = columns_of(shown.columns, table.keys)
    if width is not None and total(columns) > width:
        shown = page(table, narrow=True)
        columns, legend = shortened(shown.columns, table.keys)
    rows = ["", *grid(columns, width, shown.gap, HEAD)] if columns else []
    below = [
        line
        for paragraph in (legend, *shown.below)
        if paragraph
        for line in ([*paragraph] if paragraph == ["no rows"] else ["", *paragraph])
    ]
    title = wrapped(shown.title, width)
    return "\n".join([*title, *rows, *(part for line in below for part in wrapped(line, width))])


def html(table: Document) -> str:
    """Return the page as an HTML table, numbers to the right: what a notebook shows."""
    shown = page(table)
    lines = [f"<p>{escape(shown.title)}</p>"]
    if shown.columns:
        head = "".join(f"<th>{escape(name)}</th>" for name in shown.columns)
        rows = [html_row(values) for values in zip(*shown.columns.values(), strict=True)]
        if shown.gap is not None:
            rows.insert(
                HEAD, f'<tr><td colspan="{len(shown.columns)}">{escape(shown.gap)}</td></tr>'
            )
        lines.append(f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>")
    lines += [
        f"<p>{'<br>'.join(map(escape, paragraph))}</p>" for paragraph in shown.below if paragraph
    ]
    return "\n".join(lines)


def html_row(values: Sequence[object], kind: str = "") -> str:
    """Return a row of an HTML table, of that class."""
    right = ' style="text-align: right"'
    cells = (
        f"<td{right if isinstance(value, (int, float)) else ''}>{escape(cell(value))}</td>"
        for value in values
    )
    return f"<tr{f' class={escape(kind)!r}' if kind else ''}>{''.join(cells)}</tr>"


def _remarks(notes: Mapping[str, Any]) -> list[str]:
    """What formulas' symbols are here, what has no law, what criteria mean, why values are
    missing: ``in loops: alpha=1, chi=1``."""
    values = [
        f"in {variable}: " + ", ".join(f"{name}={cell(value)}" for name, value in found.items())
        for variable, found in notes.get("symbols", {}).items()
        if found
    ]
    lines = values + [
        f"in {variable}: {reason}" for variable, reason in notes.get("why", {}).items()
    ]
    lines += [f"{name}: {meaning}" for name, meaning in notes.get("criteria", {}).items()]
    lines += [str(remark) for remark in notes.get("remarks", ())]
    return lines


def verdict_line(table: Document) -> str:
    """``verdict: rejected (worst row: residual_variance[application=8, token=0], deviation 0.31,
    tolerance 0.01)``."""
    row = worst(table)
    if row is None:
        return f"verdict: {table.verdict}"
    alike = sum(row.get("verdict") == "identity" for row in table)
    if alike and alike == len(table):
        return (
            f"verdict: {table.verdict} ("
            f"{(table.notes or {}).get('reason', 'every row is an identity')})"
        )
    case = f"{row['case']}: " if row.get("case") else ""
    numbers = ", ".join(
        f"{name} {row[name]:.3g}"
        for name in ("deviation", "lower", "upper", "tolerance")
        if isinstance(row.get(name), (int, float))
    )
    more = (
        f"; {alike} of {len(table)} rows are identities within rounding, which count for nothing"
        if alike
        else ""
    )
    cause = (table.notes or {}).get("cause")
    verdict = f"{table.verdict}: {cause}" if cause else table.verdict
    return (
        f"verdict: {verdict} (worst row: {case}{label(row)}{', ' if numbers else ''}"
        f"{numbers}{more})"
    )


def _short(value: Any) -> str:
    """A parameter's value; of long lists, their shape."""
    written = cell(value) if isinstance(value, (str, float)) else str(plain(value))
    if len(written) <= LONG or isinstance(value, str):
        return written
    shape: list[str] = []
    inner: object = plain(value)
    while isinstance(inner, list) and inner:
        entries = cast("list[object]", inner)
        shape.append(str(len(entries)))
        inner = entries[0]
    return f"[{' x '.join(shape)} values]" if shape else written

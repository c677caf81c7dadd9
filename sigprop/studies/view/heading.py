"""What stands above and below a study's plot and rows: what it is, how far it is, what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from sigprop.tables.cells import cell
from sigprop.tables.document import Document

MOST_VALUES = 12
"""Values of a varied parameter that are listed; of more the first ones and how many there are."""
STATES = (("done", "#009E73"), ("failed", "#D55E00"), ("waiting", "#B8BEC6"))
"""States of a unit, and their colours."""


def text(value: object) -> str:
    """Return a value as text of a page, in ASCII: no encoding can spoil it."""
    words = cell(value) if not isinstance(value, (list, dict)) else _several(value)
    return escape(words).encode("ascii", "xmlcharrefreplace").decode()


def heading(table: Document, about: Mapping[str, Any], notes: Sequence[str]) -> str:
    """Return the page's head; notes: what had to be shortened."""
    varied = {name: _values(table, name) for name in about.get("varied") or ()}
    facts = {"command": about.get("command"), "architecture": about.get("architecture")}
    return "\n".join(
        [
            f"<h1>{text(about.get('name') or 'study')}</h1>",
            _terms({name: value for name, value in facts.items() if value}, "facts"),
            _units(about.get("units") or {}),
            _block("Varied", varied, "varied"),
            _block("Fixed", about.get("parameters") or {}, "fixed"),
            *(
                f'<p class="note">{text(note)}</p>'
                for note in (*notes, *(about.get("remarks") or ()))
            ),
            _failures(about.get("failures") or ()),
        ]
    )


def footing(about: Mapping[str, Any]) -> str:
    """Return the page's foot: when, from which sources, by which versions."""
    facts = {"created": about.get("created"), "sources": about.get("sources")}
    entries = {name: value for name, value in facts.items() if value}
    return _terms(entries | dict(about.get("versions") or {}), "versions")


def _several(value: list[Any] | dict[str, Any]) -> str:
    """Return a list's or a mapping's entries in a line."""
    if isinstance(value, dict):
        return ", ".join(f"{name}={_several([entry])}" for name, entry in value.items())
    return ", ".join("none" if entry is None else _entry(entry) for entry in value)


def _entry(value: Any) -> str:
    """Return one entry of a list."""
    return f"({_several(value)})" if isinstance(value, (list, dict)) else cell(value)


def _values(table: Document, name: str) -> str:
    """Return the values that a varied parameter takes in the rows, in order of appearance."""
    values = list(
        dict.fromkeys("none" if (v := row.get(name)) is None else cell(v) for row in table)
    )
    more = f", ... ({len(values)} values)" if len(values) > MOST_VALUES else ""
    return ", ".join(values[:MOST_VALUES]) + more


def _terms(entries: Mapping[str, Any], kind: str) -> str:
    """Return a list of names and what they are."""
    if not entries:
        return ""
    pairs = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text('none' if value is None else value)}</dd></div>"
        for name, value in entries.items()
    )
    return f'<dl class="{kind}">{pairs}</dl>'


def _block(title: str, entries: Mapping[str, Any], kind: str) -> str:
    """Return such a list under its title."""
    return f"<section><h2>{title}</h2>{_terms(entries, kind)}</section>" if entries else ""


def _units(units: Mapping[str, Any]) -> str:
    """Return how many units are in which state, as a bar and in words."""
    counts = [(name, int(units.get(name) or 0), colour) for name, colour in STATES]
    total = sum(count for _, count, _ in counts)
    if not total:
        return ""
    bars, start = [], 0.0
    for _, count, colour in counts:
        width = 100 * count / total
        bars.append(f'<rect x="{start:.6g}" width="{width:.6g}" height="2" fill="{colour}"/>')
        start += width
    words = "".join(
        f'<span class="{name}">{count} {name}</span>' for name, count, _ in counts if count
    )
    return (
        '<div class="units"><svg viewBox="0 0 100 2" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(bars)}</svg><p>Units: {words}</p></div>"
    )


def _failures(failures: Sequence[Mapping[str, Any]]) -> str:
    """Return which units failed, and why."""
    if not failures:
        return ""
    lines = "".join(
        f"<li><code>{text(failure.get('cell') or {})}</code> {text(failure.get('reason'))}</li>"
        for failure in failures
    )
    count = "1 unit failed" if len(failures) == 1 else f"{len(failures)} units failed"
    return f'<details class="failures" open><summary>{count}</summary><ul>{lines}</ul></details>'

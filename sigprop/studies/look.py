"""A study as one web page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sigprop.studies.results import Wanted, overview, results, status
from sigprop.studies.view.page import page


def look(path: Path) -> str:
    """Return a store's page, which needs no network: what the study is, how far it is, a plot, its
    rows. Raises ``InputError``."""
    table, now = results(path, Wanted(provenance=False)), status(path)
    units = overview(path, Wanted())
    notes: dict[str, Any] = dict(table.notes or {})
    study = notes["study"]
    first = units.rows[0] if units.rows else {}
    ended = [row["ended"] for row in units.rows if row.get("ended")]
    about = {
        "name": now.name,
        "command": now.command,
        "architecture": study.get("architecture"),
        "parameters": dict(table.parameters),
        "varied": notes["varied"],
        "units": {
            "done": now.counts.done,
            "failed": now.counts.failed,
            "waiting": now.counts.waiting + now.counts.running,
        },
        "failures": [
            {"cell": {name: row.get(name) for name in notes["varied"]}, "reason": row["reason"]}
            for row in units.rows
            if row["status"] == "failed"
        ],
        "versions": {"versions": first.get("versions"), "machine": first.get("machine")},
        "sources": first.get("source"),
        "created": max(ended, default=None),
        "remarks": notes["remarks"],
    }
    return page(table, about)

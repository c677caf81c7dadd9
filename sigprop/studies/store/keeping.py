"""Units that are run outside the queue: what came of one is kept under its key, and found by it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sigprop.studies.store.queue import Outcome, write_outcome
from sigprop.studies.store.schema import DONE
from sigprop.studies.store.store import Asked, Store, request


class Kept(NamedTuple):
    """What is kept of a unit: what was run, the digest of its source, what came of it."""

    cell: Mapping[str, Any]
    source: str
    outcome: Outcome


def keep(store: Store, source: int, asked: Asked, outcome: Outcome) -> bool:
    """Keep what came of a unit, all of it or nothing, and return whether it was kept: of one that
    is done what is there stays, so that of two who did the same both read the same afterwards.

    source: of ``Store.source``; outcome: its rows, of which every value is text, a number, a truth
    value, None, or a list of these. Raises ``InputError`` where the store cannot be written.
    """
    with store.change() as connection:
        if _done(store, asked.key) is not None:
            return False
        request(connection, [asked], source)
        ((unit,),) = store.ask("SELECT id FROM unit WHERE key = ?", asked.key)
        write_outcome(connection, unit, outcome)
    return True


def is_kept(store: Store, key: str) -> bool:
    """Tell if the unit of a key is done."""
    return _done(store, key) is not None


def kept(store: Store, key: str) -> Kept | None:
    """Return what is kept of the unit of a key, its rows in their order and every number to the
    bit; None where it is not done.

    It looks through all rows of the store, which are sorted by what they are about.
    """
    unit = _done(store, key)
    if unit is None:
        return None
    ((cell, source, shared, notes, verdict, moments, seconds, machine, ended),) = store.ask(
        "SELECT cell, digest, shared, notes, verdict, moments, seconds, said, ended FROM unit JOIN "
        "source ON source.id = unit.source LEFT JOIN machine ON machine.id = unit.machine WHERE "
        "unit.id = ?",
        unit,
    )
    alike = json.loads(shared)
    rows = [
        dict(zip(json.loads(columns), json.loads(values), strict=True)) | alike
        for columns, values in store.ask(
            "SELECT name, document FROM rows JOIN names ON names.id = rows.columns WHERE unit = ? "
            "ORDER BY number",
            unit,
        )
    ]
    outcome = Outcome(
        rows,
        json.loads(notes),
        verdict,
        None if moments is None else json.loads(moments),
        seconds=seconds,
        machine=machine,
        ended=ended,
    )
    return Kept(json.loads(cell), source, outcome)


def _done(store: Store, key: str) -> int | None:
    """Return the number of the unit of a key where it is done."""
    found = store.ask("SELECT id FROM unit WHERE key = ? AND status = ?", key, DONE)
    return found[0][0] if found else None

"""Rows of a store, with the cell that each is of; those of older sources apart."""

from __future__ import annotations

import functools
import json
import numbers
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from sigprop.errors import InputError, near_miss
from sigprop.studies.store.schema import FAILED, NOWHERE
from sigprop.studies.store.store import Store

LAST = "last"
Keep = Callable[[Mapping[str, Any]], bool]


class Record(NamedTuple):
    """What is kept of a unit beside its rows: the cell as it is shown, and its provenance."""

    varied: dict[str, Any]
    shared: dict[str, Any]
    notes: dict[str, Any]
    verdict: str | None
    reason: str | None
    provenance: dict[str, Any]


def newest(store: Store) -> int | None:
    """Return the source that the store was last worked on with; None of an empty store."""
    found = store.ask("SELECT id FROM source WHERE digest = ?", store.about().get("source"))
    return found[0][0] if found else None


def _records(store: Store, keep: Keep, which: str, source: int | None) -> dict[int, Record]:
    """Return units of a source (None: of any), by number.

    keep: of a cell's varied values, whether it is wanted; which: a condition of theirs.
    """
    sources = dict(store.ask("SELECT id, digest FROM source"))
    machines = {number: apart(said) for number, said in store.ask("SELECT id, said FROM machine")}
    found = {}
    query = (
        "SELECT id, key, source, json_extract(cell, '$.varied'), shared, notes, verdict, reason, "
        f"machine, seconds, ended FROM unit WHERE {which} AND source = coalesce(?, source) ORDER "
        "BY source, place"
    )
    for line in store.ask(query, source):
        number, key, of, cell, shared, notes, verdict, reason, machine, seconds, ended = line
        varied = json.loads(cell)
        if not keep(varied):
            continue
        there, releases = machines.get(machine, (None, None))
        provenance = {
            "unit": key[:12],
            "source": sources[of],
            "versions": releases,
            "machine": there,
            "seconds": seconds,
            "ended": ended,
        }
        found[number] = Record(
            varied,
            _loaded(shared),
            _loaded(notes),
            verdict,
            reason,
            provenance,
        )
    return found


def apart(said: str) -> tuple[str, str]:
    """Return a machine and the releases on it, of what a record keeps of both."""
    there, _, releases = said.partition("; ")
    return there, releases


@functools.lru_cache(64)
def _loaded(text: str | None) -> dict[str, Any]:
    """Return what a text holds, which many units share: not to be changed."""
    return json.loads(text or "{}")


def rows(
    store: Store, units: Mapping[int, Record], quantity: str | None, application: int | str | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (unit, row) of these units, in their order; of one quantity and at one application
    where these are said.

    application: a number, or 'last', which is each unit's own. Raises ``InputError`` for a quantity
    that no row has.
    """
    names = dict(store.ask("SELECT id, name FROM names"))
    conditions, values = [], []
    if application not in (None, LAST):
        if isinstance(application, bool) or not isinstance(application, numbers.Integral):
            raise InputError(f"application={application!r}; accepted: a number from 0 on, or last")
        application = int(application)
    if quantity is not None:
        known = {names[number]: number for number in _quantities(store)}
        if quantity not in known:
            raise InputError(f"quantity={quantity!r}{near_miss(quantity, known)}")
        conditions.append("quantity = ?")
        values.append(known[quantity])
    if isinstance(application, int):
        conditions.append("application = ?")
        values.append(application)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    found = store.ask(
        f"SELECT unit, number, quantity, application, columns, document FROM rows{where}", *values
    )
    last: dict[tuple[int, int], int] = {}
    if application == LAST:
        for unit, _, of, at, _, _ in found:
            last[unit, of] = max(at, last.get((unit, of), NOWHERE))
    place = {unit: k for k, unit in enumerate(units)}
    wanted = [
        line
        for line in found
        if line[0] in place and (application != LAST or line[3] == last[line[0], line[2]])
    ]
    wanted.sort(key=lambda line: (place[line[0]], line[1]))
    columns: dict[int, list[str]] = {}
    for unit, _, _, _, of, document in wanted:
        if of not in columns:
            columns[of] = json.loads(names[of])
        own = dict(zip(columns[of], json.loads(document), strict=True))
        yield unit, {**own, **units[unit].shared}


def quantities(store: Store) -> list[str]:
    """Return the quantities that rows have."""
    names = dict(store.ask("SELECT id, name FROM names"))
    return sorted(names[number] for number in _quantities(store))


def _quantities(store: Store) -> list[int]:
    """Return the numbers of the quantities, each found by one look into the index."""
    found: list[int] = []
    at = -1
    while True:
        ((at,),) = store.ask("SELECT min(quantity) FROM rows WHERE quantity > ?", at)
        if at is None:
            return found
        found.append(at)


def failed(store: Store, keep: Keep, source: int | None) -> dict[int, Record]:
    """Return the units of a source (None: of any) that have failed; keep: as in ``finished``."""
    return _records(store, keep, f"status = {FAILED}", source)


def finished(store: Store, keep: Keep, source: int | None) -> dict[int, Record]:
    """Return the units of a source (None: of any) that have rows, by number: those that are done,
    and those that are to have more networks than the rows are of.

    keep: of a cell's varied values, whether it is wanted.
    """
    return _records(store, keep, "shared IS NOT NULL", source)

"""Units taken one after another and given back with their rows: many processes on one store never
take the same one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sigprop.studies.store.schema import DONE, FAILED, NOWHERE, RUNNING, WAITING
from sigprop.studies.store.store import Store, Unit, as_text

FREE = (
    "SELECT bunch FROM unit u WHERE source = :source AND status = :waiting AND bunch >= :bunch AND "
    "NOT EXISTS (SELECT 1 FROM unit r WHERE r.source = :source AND r.status = :running AND "
    "r.bunch = u.bunch) ORDER BY bunch LIMIT 1"
)
ANY = (
    "SELECT bunch FROM unit WHERE source = :source AND status = :waiting AND bunch >= :bunch "
    "ORDER BY bunch LIMIT 1"
)


MOST_UNSURE = 0.5
"""Seconds of work whose rows the system may still hold back from the disk: a machine that loses
its power loses these. Waiting for the disk (milliseconds) is for longer units, and once for many
short ones."""


class Outcome(NamedTuple):
    """What came of a unit: rows and their notes, or the line that says why there are none.

    moments: what a measurement continues from; seconds: of the run; machine: what ran it; samples:
    to how many networks.
    """

    rows: Sequence[Mapping[str, Any]] = ()
    notes: Mapping[str, Any] = {}
    verdict: str | None = None
    moments: Mapping[str, Any] | None = None
    failed: str | None = None
    seconds: float = 0.0
    machine: str = ""
    ended: str = ""
    samples: int | None = None

    @staticmethod
    def now() -> str:
        """Return the time as a record keeps it."""
        return datetime.now(UTC).isoformat(timespec="seconds")


def take(store: Store, source: int, bunch: int, count: int = 1) -> list[Unit]:
    """Take the next units: of the bunch that was worked on last, else of the next that nobody
    works on, else of any. Empty where none waits."""
    with store.change() as connection:
        return _taken(connection, store, source, bunch, count)


def put(store: Store, unit: int, outcome: Outcome, *, taken: bool = True) -> None:
    """Keep what came of a unit, in the place of what it had.

    taken: whether this process took it; one that another has by now, or that is done, is left as it
    is.
    """
    _weigh(store, outcome.seconds)
    with store.change() as connection:
        if not taken or _mine(connection, store, unit):
            write_outcome(connection, unit, outcome)


def _weigh(store: Store, seconds: float) -> None:
    """Let the next change wait for the disk where much would be lost with it."""
    store.unsure += seconds
    sure = store.unsure >= MOST_UNSURE
    if sure:
        store.unsure = 0.0
    store.ask(f"PRAGMA synchronous = {'FULL' if sure else 'NORMAL'}")


def _mine(connection: sqlite3.Connection, store: Store, unit: int) -> bool:
    """Tell if this process has a unit."""
    found = connection.execute("SELECT status, owner FROM unit WHERE id = ?", (unit,)).fetchone()
    return found == (RUNNING, store.owner)


def exchange(store: Store, source: int, done: Unit, outcome: Outcome) -> Unit | None:
    """Keep what came of a unit and take the next, in one step."""
    _weigh(store, outcome.seconds)
    with store.change() as connection:
        if _mine(connection, store, done.id):
            write_outcome(connection, done.id, outcome)
        return next(iter(_taken(connection, store, source, done.bunch, 1)), None)


def _taken(
    connection: sqlite3.Connection, store: Store, source: int, bunch: int, count: int
) -> list[Unit]:
    """Mark waiting units of one bunch as this process's."""
    at = {"source": source, "waiting": WAITING, "running": RUNNING, "bunch": bunch}
    found = _same(connection, at, count)
    for query, start in ((FREE, bunch), (FREE, -1), (ANY, bunch), (ANY, -1)):
        if found:
            break
        other = connection.execute(query, at | {"bunch": start}).fetchone()
        if other is not None:
            found = _same(connection, at | {"bunch": other[0]}, count)
    connection.executemany(
        "UPDATE unit SET status = ?, owner = ? WHERE id = ?",
        [(RUNNING, store.owner, row[0]) for row in found],
    )
    return [
        Unit(number, key, of, json.loads(cell), samples, moments and json.loads(moments))
        for number, key, of, cell, samples, moments in found
    ]


def _same(connection: sqlite3.Connection, at: Mapping[str, int], count: int) -> list[Any]:
    """Return the first units of a bunch that wait."""
    return connection.execute(
        "SELECT id, key, bunch, cell, samples, moments FROM unit WHERE source = :source AND status "
        "= :waiting AND bunch = :bunch ORDER BY place LIMIT :count",
        {**at, "count": count},
    ).fetchall()


def write_outcome(connection: sqlite3.Connection, unit: int, outcome: Outcome) -> None:
    """Write a unit's rows and what is said of them; of one that failed the line, beside the rows
    that a smaller measurement left."""
    connection.execute("INSERT OR IGNORE INTO machine (said) VALUES (?)", (outcome.machine,))
    made = (outcome.machine, outcome.seconds, outcome.ended)
    if outcome.failed is not None:
        connection.execute(
            "UPDATE unit SET status = ?, owner = NULL, attempts = 0, reason = ? WHERE id = ?",
            (FAILED, outcome.failed, unit),
        )
        connection.execute(f"UPDATE unit SET {MADE} WHERE id = ? AND shared IS NULL", (*made, unit))
        return
    shared, columns, own = _apart(outcome.rows)
    connection.executemany(  # a unit has the same rows whenever it is run
        "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?)",
        [
            (
                _name(connection, str(row.get("quantity", ""))),
                NOWHERE if row.get("application") is None else row["application"],
                unit,
                number,
                _name(connection, as_text(names)),
                as_text(values),
            )
            for number, (row, names, values) in enumerate(
                zip(outcome.rows, columns, own, strict=True)
            )
        ],
    )
    said = (outcome.verdict, as_text(shared), as_text(outcome.notes))
    moments = None if outcome.moments is None else as_text(outcome.moments)
    connection.execute(
        # one that was asked for more networks meanwhile goes on
        "UPDATE unit SET status = CASE WHEN samples > ? THEN ? ELSE ? END, owner = NULL, attempts "
        f"= 0, reason = NULL, verdict = ?, shared = ?, notes = ?, moments = ?, {MADE} WHERE id = ?",
        (outcome.samples, WAITING, DONE, *said, moments, *made, unit),
    )


MADE = "machine = (SELECT id FROM machine WHERE said = ?), seconds = ?, ended = ?"


def _apart(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, Any], list[list[str]], list[list[Any]]]:
    """Split rows into what they all share, and the names and values of what each has itself."""
    first = rows[0] if rows else {}
    shared = {
        name: value
        for name, value in first.items()
        if name not in ("quantity", "application")
        and len(rows) > 1
        and all(name in row and _same_value(row[name], value) for row in rows)
    }
    columns = [[name for name in row if name not in shared] for row in rows]
    values = [[row[name] for name in names] for row, names in zip(rows, columns, strict=True)]
    return shared, columns, values


def _same_value(one: Any, other: Any) -> bool:
    """Tell if two values are one: 1 and 1.0 are not."""
    return type(one) is type(other) and one == other


def _name(connection: sqlite3.Connection, name: str) -> int:
    """Return the number of a name, given to it where it is new."""
    found = connection.execute("SELECT id FROM names WHERE name = ?", (name,)).fetchone()
    if found is None:
        cursor = connection.execute("INSERT INTO names (name) VALUES (?)", (name,))
        return int(cursor.lastrowid or 0)
    return int(found[0])

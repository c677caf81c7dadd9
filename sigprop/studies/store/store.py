"""One study's file: its units, which of them are done, their rows. Every change is one transaction,
so that a process may end at any moment."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sigprop.errors import InputError
from sigprop.studies.store.owners import Owners
from sigprop.studies.store.schema import DONE, FAILED, RUNNING, WAITING, connect, said

MOST_DEATHS = 2
"""Processes that may die over a unit before it counts as failed."""
MOST_OWNERS = 1000
"""Owners that other processes may be, of stores that had the name before."""


class Unit(NamedTuple):
    """One unit of work as the store has it. kept: moments of an earlier, smaller measurement."""

    id: int
    key: str
    bunch: int
    cell: Mapping[str, Any]
    samples: int | None
    kept: Mapping[str, Any] | None


class Asked(NamedTuple):
    """A unit that a study asks for: its key, its place among the units, the bunch that shares
    compiled programs, what is to be run, and to how many networks (None: no accumulating unit)."""

    key: str
    place: int
    bunch: int
    cell: Mapping[str, Any]
    samples: int | None


class Counts(NamedTuple):
    """How many units of a source are what."""

    waiting: int
    running: int
    done: int
    failed: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


class Store:
    """A study's file, open for reading or (``write``) for work."""

    def __init__(self, path: str | os.PathLike[str], *, write: bool = False):
        self.path, self.write = Path(path), write
        self.connection = connect(self.path, write=write)
        self.owners = Owners(self.path) if write else None
        self.owner: int | None = None
        self.unsure = 0.0  # seconds of work that the disk may not have yet

    def close(self) -> None:
        """Let go of the file, and of what this process has of it."""
        self.connection.close()
        if self.owners is not None and self.owner is not None:
            self.owners.leave(self.owner)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.excuse()
        self.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """All of what is done inside, or nothing; raises ``InputError`` where it cannot be
        written."""
        with said(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def ask(self, query: str, *values: object) -> list[Any]:
        """Return a query's rows."""
        with said(self.path):
            return self.connection.execute(query, values).fetchall()

    def stream(self, query: str) -> Iterator[Any]:
        """Yield a query's rows, of which not all are at hand at once."""
        with said(self.path):
            yield from self.connection.execute(query)

    def about(self) -> dict[str, Any]:
        """Return what the store says of its study; empty of a new one."""
        return {name: json.loads(text) for name, text in self.ask("SELECT * FROM about")}

    def say(self, **about: Any) -> None:
        """Keep what the study is."""
        with self.change() as connection:
            say(connection, about)

    def source(self, digest: str) -> int:
        """Return the number of what numbers come from (``fingerprint.origin``)."""
        with self.change() as connection:
            connection.execute("INSERT OR IGNORE INTO source (digest) VALUES (?)", (digest,))
            (found,) = connection.execute(
                "SELECT id FROM source WHERE digest = ?", (digest,)
            ).fetchone()
        return int(found)

    def begin(self, owner: int | None = None) -> int:
        """Be one of those who work on the store, and give back to all what dead ones had.

        owner: what ``enrol`` gave; a new one where there is none, or another process is it.
        """
        assert self.owners is not None
        for _ in range(MOST_OWNERS):
            if self.owner is not None:
                break
            owner = self.enrol() if owner is None else owner
            if self.owners.hold(owner):
                self.owner = owner
            owner = None
        else:
            raise InputError(
                f"store={str(self.path)!r}: {self.owners.path.name} is locked; accepted: a store "
                f"that no other program holds"
            )
        self.give_back()
        return self.owner

    def enrol(self) -> int:
        """Return the number of one more process that will work on the store."""
        process = f"{platform.node()} {os.getpid()}"
        with self.change() as connection:
            cursor = connection.execute("INSERT INTO owner (process) VALUES (?)", (process,))
            return int(cursor.lastrowid or 0)

    def excuse(self, *others: int) -> None:
        """Let the end of this process, or of others that it started, be no fault of the units that
        they have: they just wait again. Raises nothing."""
        if self.owners is not None:
            self.owners.excuse(*others, *(() if self.owner is None else (self.owner,)))

    def give_back(self) -> int:
        """Let the units of processes that have died wait again, and return how many units that
        were; those that took ``MOST_DEATHS`` processes with them have failed."""
        assert self.owners is not None
        busy = self.ask("SELECT DISTINCT owner FROM unit WHERE status = ?", RUNNING)
        dead = [owner for (owner,) in busy if not self.owners.alive(owner)]
        if not dead:
            return 0
        reason = (
            f"its process was killed {MOST_DEATHS} times (for want of memory?); accepted: --retry, "
            f"or smaller sizes"
        )
        changed = 0
        with self.change() as connection:
            for owner in dead:
                changed += connection.execute(
                    "UPDATE unit SET attempts = attempts + :blamed, owner = NULL, status = CASE "
                    "WHEN attempts + :blamed >= :most THEN :failed ELSE :waiting END, reason = "
                    "CASE WHEN attempts + :blamed >= :most THEN :reason END WHERE status = "
                    ":running AND owner = :owner",
                    {
                        "blamed": 0 if self.owners.excused(owner) else 1,
                        "most": MOST_DEATHS,
                        "failed": FAILED,
                        "waiting": WAITING,
                        "reason": reason,
                        "running": RUNNING,
                        "owner": owner,
                    },
                ).rowcount
        return changed

    def request(self, asked: Sequence[Asked], source: int, retry: bool = False) -> None:
        """Let these units be worked on: those that are not there wait; those with fewer networks
        than asked wait, with what they have kept.

        retry: failed ones wait again, too.
        """
        with self.change() as connection:
            request(connection, asked, source)
            if retry:
                connection.execute(
                    "UPDATE unit SET status = ?, attempts = 0, reason = NULL WHERE status = ? AND "
                    "source = ?",
                    (WAITING, FAILED, source),
                )

    def supersede(self, asked: Sequence[Asked], source: int, digest: str) -> None:
        """Set units of a source apart that are no longer asked for, as where a file that they were
        made from has changed: rows of older sources, from now on."""
        past = self.source(f"{digest}, superseded")
        with self.change() as connection:
            connection.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (key TEXT PRIMARY KEY)")
            connection.execute("DELETE FROM wanted")
            connection.executemany("INSERT INTO wanted VALUES (?)", [(unit.key,) for unit in asked])
            connection.execute(
                "UPDATE unit SET source = ? WHERE source = ? AND key NOT IN (SELECT key FROM "
                "wanted)",
                (past, source),
            )

    def bunches(self, source: int) -> list[int]:
        """Return the bunches of units that wait, in order."""
        found = self.ask(
            "SELECT DISTINCT bunch FROM unit WHERE source = ? AND status = ? ORDER BY bunch",
            source,
            WAITING,
        )
        return [bunch for (bunch,) in found]

    def counts(self, source: int) -> Counts:
        """Return how many units of a source are what."""
        found = dict(
            self.ask("SELECT status, count(*) FROM unit WHERE source = ? GROUP BY status", source)
        )
        return Counts(*(found.get(status, 0) for status in (WAITING, RUNNING, DONE, FAILED)))


def say(connection: sqlite3.Connection, about: Mapping[str, Any]) -> None:
    """Write what a store says of itself, inside a change."""
    connection.executemany(
        "INSERT OR REPLACE INTO about VALUES (?, ?)",
        [(name, as_text(value)) for name, value in about.items()],
    )


def request(connection: sqlite3.Connection, asked: Sequence[Asked], source: int) -> None:
    """Write units that are asked for, inside a change."""
    connection.executemany(
        "INSERT INTO unit (key, source, place, bunch, cell, status, samples) VALUES "
        "(?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET source = excluded.source, "
        "place = excluded.place, "
        "bunch = excluded.bunch, samples = max(samples, excluded.samples), status = CASE "
        f"WHEN status = {DONE} AND excluded.samples > samples THEN {WAITING} ELSE status END",
        [
            (unit.key, source, unit.place, unit.bunch, as_text(unit.cell), WAITING, unit.samples)
            for unit in asked
        ],
    )


def put_aside(path: Path) -> Path:
    """Rename a store to the first NAME.K.db that is free, and return that; raises ``InputError``
    while a process works on it."""
    with Store(path, write=True) as store:
        assert store.owners is not None
        at_work = store.ask("SELECT id FROM owner")
        if any(store.owners.alive(owner) for (owner,) in at_work):
            raise InputError(f"new: a process works on {path}; accepted: its end")
        store.ask("PRAGMA wal_checkpoint(TRUNCATE)")
    number = 1
    while (aside := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
        number += 1
    with said(path):
        for ending in ("", "-wal", "-shm"):
            if os.path.exists(f"{path}{ending}"):
                os.rename(f"{path}{ending}", f"{aside}{ending}")
    return aside


def as_text(value: Any) -> str:
    """Write plain data as JSON, shortly and exactly."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)

"""What a study has found: its rows as a table, its state in a few lines."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sigprop.errors import InputError
from sigprop.runtime import fingerprint
from sigprop.studies.running.watching import duration
from sigprop.studies.store import reading
from sigprop.studies.store.owners import at_work
from sigprop.studies.store.store import Counts, Store
from sigprop.studies.where import Where
from sigprop.tables.table import Table

SHOWN = 8  # reasons of failures that a status lists


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Say which rows: of a quantity, at an application (a number, or 'last' of each unit), of cells
    with these values; older: those of older sources, too; provenance: where each comes from."""

    quantity: str | None = None
    application: int | str | None = None
    where: Mapping[str, Any] = field(default_factory=dict[str, Any])
    older: bool = False
    provenance: bool = True


def results(path: Path, wanted: Wanted) -> Table:
    """Return the rows of a store's finished units; raises ``InputError``."""
    with Store(path) as store:
        study, source = _study(store), reading.newest(store)
        where = Where(store, wanted.where)
        units = reading.finished(store, where.of_cell, None if wanted.older else source)
        rows = reading.rows(store, units, wanted.quantity, wanted.application)
        lines = [(unit, row) for unit, row in rows if where.of_row(row)]
        names = _shown_as(units, lines)
        newest = _digest(store, source)
        found = []
        for unit, row in lines:
            of = units[unit]
            line = {names[name]: value for name, value in of.varied.items()} | row
            if wanted.older:
                line["older"] = of.provenance["source"] != newest
            found.append(line | (of.provenance if wanted.provenance else {}))
        said = remarks(store, source, wanted.older)
    notes = {"study": study, "varied": list(names.values()), "remarks": said}
    fixed = {**study.get("parameters", {}), **study.get("options", {})}
    return Table(_title(study), fixed, found, "study", notes=notes)


def _shown_as(
    units: Mapping[int, reading.Record], lines: Sequence[tuple[int, Mapping[str, Any]]]
) -> dict[str, str]:
    """Return the column of everything that is varied: its name, or options.NAME where rows have a
    column of that name that says something else, as ``slope`` of verify."""
    names = dict.fromkeys(name for unit in units.values() for name in unit.varied)
    other = {
        name
        for unit, row in lines
        for name, value in units[unit].varied.items()
        if name in row and row[name] != value
    }
    return {name: f"options.{name}" if name in other else name for name in names}


def overview(path: Path, wanted: Wanted) -> Table:
    """Return a row a unit: its cell, its verdict or why it failed, its seconds."""
    with Store(path) as store:
        study, source = _study(store), reading.newest(store)
        keep, of = Where(store, wanted.where).of_cell, None if wanted.older else source
        done = reading.finished(store, keep, of)
        failed = reading.failed(store, keep, of)
        found = [
            {
                **record.varied,
                "status": "failed" if number in failed else "done",
                "verdict": record.verdict,
                "reason": record.reason or _said(record.notes),
                **(record.provenance if wanted.provenance else {}),
            }
            for number, record in sorted({**done, **failed}.items())
        ]
        notes = {"study": study, "remarks": remarks(store, source, wanted.older)}
    return Table(_title(study), {}, found, "study", notes=notes)


def _said(notes: Mapping[str, Any]) -> str | None:
    """Return what a verdict or a measurement says of itself."""
    return notes.get("reason") or notes.get("diverged")


def _title(study: Mapping[str, Any]) -> str:
    """Return what a study's table is called."""
    return f"{study['name']}: {study['command']}"


def _study(store: Store) -> dict[str, Any]:
    """Return what the store says it is; raises ``InputError`` of one that says nothing."""
    about = store.about()
    if "study" not in about:
        raise InputError(f"store={str(store.path)!r}: empty; accepted: a study that was run")
    return about["study"]


def _digest(store: Store, source: int | None) -> str | None:
    """Return a source's digest."""
    found = store.ask("SELECT digest FROM source WHERE id = ?", source)
    return found[0][0] if found else None


def remarks(store: Store, source: int | None, older: bool) -> list[str]:
    """Say what a reader of the rows has to know: that there are older ones, or none newer."""
    if source is None:
        return []
    said = []
    ((before,),) = store.ask("SELECT count(*) FROM unit WHERE source <> ?", source)
    if before and not older:
        said.append(f"{before} units of older sources are left out (--older shows them, marked)")
    if _digest(store, source) != fingerprint.origin():
        said.append("computed by other sources than these; study run does the units again")
    return said


class Failure(NamedTuple):
    """Units that failed for one reason: how many, the first of them, the line."""

    count: int
    cell: str
    reason: str


@dataclass(frozen=True)
class Status:
    """How far a study is. mean: seconds of a unit so far; left: seconds, by that, on what works on
    it now."""

    name: str
    command: str
    shard: str | None
    counts: Counts
    older: int
    mean: float | None
    left: float | None
    working: int
    failures: list[Failure]
    remarks: list[str]
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        failures = [failure._asdict() for failure in self.failures]
        return {**self.__dict__, "counts": self.counts._asdict(), "failures": failures}

    def __str__(self) -> str:
        counts, part = self.counts, f", shard {self.shard}" if self.shard else ""
        lines = [
            f"{self.name} ({self.command}{part}): {counts.done} of {counts.total} units done, "
            f"{counts.failed} failed, {counts.running} running, {counts.waiting} waiting",
        ]
        if self.mean is not None:
            ahead = "" if self.left is None else f", about {duration(self.left)} left"
            lines.append(f"{self.mean:.3g} s a unit, {self.working} at work{ahead}")
        for count, cell, reason in self.failures[:SHOWN]:
            others = f" and {count - 1} more" if count > 1 else ""
            lines.append(f"failed: {cell}{others}: {reason}")
        if len(self.failures) > SHOWN:
            lines.append(f"... and for {len(self.failures) - SHOWN} other reasons")
        return "\n".join([*lines, *self.remarks])


def status(path: Path) -> Status:
    """Return how far a study is, also while others work on it."""
    with Store(path) as store:
        study = _study(store)
        source = reading.newest(store)
        counts, working = _counts(store, source)
        ((mean,),) = store.ask(
            "SELECT avg(seconds) FROM unit WHERE source = ? AND status = 2", source
        )
        ((older,),) = store.ask("SELECT count(*) FROM unit WHERE source <> ?", source)
        left = (counts.waiting + counts.running) * mean / max(working, 1) if mean else None
        failed = store.ask(
            "SELECT count(*), reason, json_extract(cell, '$.varied'), min(place) FROM unit WHERE "
            "source = ? AND status = 3 GROUP BY reason ORDER BY min(place)",
            source,
        )
        return Status(
            study["name"],
            study["command"],
            store.about().get("shard"),
            counts,
            older,
            mean,
            left if counts.waiting + counts.running else None,
            working,
            [Failure(count, _cell(cell), reason) for count, reason, cell, _ in failed],
            remarks(store, source, older=False),
            os.path.getsize(path),
        )


def _counts(store: Store, source: int | None) -> tuple[Counts, int]:
    """Return how many units are what, and how many processes are at work; those of processes that
    have died wait."""
    if source is None:
        return Counts(0, 0, 0, 0), 0
    counts = store.counts(source)
    running = dict(
        store.ask(
            "SELECT owner, count(*) FROM unit WHERE source = ? AND status = 1 GROUP BY owner",
            source,
        )
    )
    living = at_work(store.path, running)
    dead = sum(count for owner, count in running.items() if owner not in living)
    return counts._replace(running=counts.running - dead, waiting=counts.waiting + dead), len(
        living
    )


def _cell(text: str) -> str:
    """Write a cell's varied values in a line."""
    return ", ".join(f"{name}={value}" for name, value in json.loads(text).items()) or "the cell"

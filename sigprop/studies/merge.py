"""Stores joined: those of shards into the study's own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sigprop.errors import InputError
from sigprop.runtime import fingerprint
from sigprop.studies.plan import document
from sigprop.studies.store.queue import Outcome, put
from sigprop.studies.store.schema import DONE, FAILED, RUNNING, WAITING
from sigprop.studies.store.store import Asked, Store


@dataclass(frozen=True)
class Merged:
    """What a merge did: units taken, units that both had, of which the larger stays."""

    taken: int
    both: int


def merge(into: Path, parts: Sequence[Path], asked: Mapping[str, Any]) -> Merged:
    """Take the finished and failed units of other stores of one study into one store; a unit that
    is in both stays as it is, unless the other has more networks of it, or did what failed here.

    asked: the study's keys. Raises ``InputError`` for a store of another study, before anything is
    written.
    """
    if any(part.resolve() == into.resolve() for part in parts):
        raise InputError(f"merge: {str(into)!r} into itself; accepted: other stores")
    studies = [_study(part) for part in parts]
    if not studies:
        raise InputError("merge: no store; accepted: the stores of a study's shards")
    kept = _study(into) if into.exists() else asked
    for part, study in zip(parts, studies, strict=True):
        found = document.changes(kept, study)
        if found:
            raise InputError(
                f"merge: {str(part)!r} is of another study: {found[0]}; accepted: stores of one "
                f"study"
            )
    with Store(into, write=True) as store:
        store.say(study=kept, shard=store.about().get("shard"))
        done = [_take(store, part) for part in parts]
    return Merged(sum(d.taken for d in done), sum(d.both for d in done))


def _study(part: Path) -> dict[str, Any]:
    """Return a part's study; raises ``InputError`` of a store that has none."""
    with Store(part) as other:
        about = other.about()
    if "study" not in about:
        raise InputError(f"store={str(part)!r}: empty; accepted: a study that was run")
    return about["study"]


def _take(store: Store, part: Path) -> Merged:
    """Take one store's units."""
    taken = both = 0
    with Store(part) as other:
        theirs = other.about().get("source")
        if "source" not in store.about() or theirs == fingerprint.origin():
            store.say(source=theirs)
        sources = {
            number: store.source(digest)
            for number, digest in other.ask("SELECT id, digest FROM source ORDER BY id")
        }
        for source, asked, outcome in _ended(other):
            status = DONE if outcome.failed is None else FAILED
            better, own = _better(store, asked.key, status, asked.samples)
            if own is not None and not better:
                both += status == DONE
                continue
            store.request([asked], sources[source])
            ((own,),) = store.ask("SELECT id FROM unit WHERE key = ?", asked.key)
            put(store, own, outcome, taken=False)
            taken += 1
    return Merged(taken, both)


def _ended(other: Store) -> Iterator[tuple[int, Asked, Outcome]]:
    """Yield (source, unit, what came of it) of a store's units that have ended."""
    names = dict(other.ask("SELECT id, name FROM names"))
    machines = dict(other.ask("SELECT id, said FROM machine"))
    lines = other.stream("SELECT unit, columns, document FROM rows ORDER BY unit, number")
    rows = itertools.groupby(lines, key=lambda line: line[0])
    of, own = next(rows, (None, iter(())))
    for unit in other.ask(
        "SELECT id, key, source, place, bunch, cell, samples, status, reason, verdict, shared, "
        "notes, moments, machine, seconds, ended FROM unit WHERE status IN (?, ?) OR shared IS NOT "
        "NULL ORDER BY id",
        DONE,
        FAILED,
    ):
        number, key, source, place, bunch, cell, samples, status, reason, verdict, *rest = unit
        shared, notes, moments, machine, seconds, ended = rest
        while of is not None and of < number:
            of, own = next(rows, (None, iter(())))
        alike = json.loads(shared or "{}")
        found = [
            dict(zip(json.loads(names[columns]), json.loads(text), strict=True)) | alike
            for _, columns, text in (own if of == number else ())
        ]
        if found and status != DONE and samples is not None:
            samples = found[0].get("samples", samples)  # of the rows, not what was asked for
        outcome = Outcome(
            found,
            json.loads(notes or "{}"),
            verdict,
            None if moments is None else json.loads(moments),
            reason if status == FAILED and shared is None else None,
            seconds,
            machines.get(machine, ""),
            ended,
            samples,
        )
        yield source, Asked(key, place, bunch, json.loads(cell), samples), outcome


def _better(store: Store, key: str, status: int, samples: int | None) -> tuple[bool, int | None]:
    """Return if another store's unit is to be taken, and the number of the unit here, if any."""
    found = store.ask(
        "SELECT id, status, samples, json_extract(moments, '$.every.count') FROM unit "
        "WHERE key = ?",
        key,
    )
    if not found:
        return True, None
    number, here, own, kept = found[0]
    if here in (WAITING, RUNNING):  # with fewer networks than are asked for, perhaps
        return kept is None or (status == DONE and (samples or 0) > kept), number
    if here == FAILED:
        return status == DONE, number
    return status == DONE and (samples or 0) > (own or 0), number

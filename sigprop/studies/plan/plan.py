"""A study as it was asked for: what its file says, its cells and its units."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.studies.plan import document
from sigprop.studies.store.store import Asked


@dataclass(frozen=True)
class Shard:
    """Say which part of a study's units a machine works on: part ``index`` of ``count``."""

    index: int = 1
    count: int = 1

    @classmethod
    def read(cls, text: str) -> Shard:
        """Read ``i/n``; raises ``InputError``."""
        first, slash, second = text.partition("/")
        whole = first.strip().isdecimal() and second.strip().isdecimal() and len(text) < 16
        found = cls(int(first), int(second)) if slash and whole else None
        if found is None or not 1 <= found.index <= found.count:
            raise InputError(f"shard={text!r}; accepted: i/n with i from 1 to n, such as 3/8")
        return found

    def of(self, units: Sequence[Asked]) -> list[Asked]:
        """Return this part of the units: neighbours, which share compiled programs."""
        order = sorted(units, key=lambda unit: (unit.bunch, unit.place))
        ends = [len(order) * k // self.count for k in (self.index - 1, self.index)]
        return order[ends[0] : ends[1]]


@dataclass(frozen=True)
class Plan:
    """Hold a study's keys as plain data, and architectures that its cells call by a name of
    theirs. Raises ``InputError`` for keys that say no study."""

    document: Mapping[str, Any]
    described: Mapping[str, Architecture] = field(default_factory=dict[str, Architecture])

    @property
    def name(self) -> str:
        """Return what the study is called."""
        return str(self.document["name"])

    @functools.cached_property
    def units(self) -> list[Asked]:
        """Return its units, in their order; raises ``InputError`` of a store alone, whose networks
        were described in Python."""
        missing = [
            name for name in self.document.get("described", ()) if name not in self.described
        ]
        if missing:
            raise InputError(
                f"study: {missing[0]!r} was described in Python; accepted: the script that made it "
                f"(status, results, plot, view and export need the store alone)"
            )
        # theory and engines are imported for these alone
        from sigprop.studies.plan.cells import cells
        from sigprop.studies.plan.commands import command
        from sigprop.studies.plan.units import units

        runs = command(self.document["command"])
        return units(cells(self.document, runs, self.described), runs, self.described)

    def check_same(self, kept: Mapping[str, Any], store: str) -> None:
        """Raise ``InputError`` where a store's study is another one, or was asked for otherwise."""
        if not kept:
            return
        if kept.get("name") != self.name:
            raise InputError(
                f"store={store!r}: of the study {kept.get('name')!r}; accepted: of {self.name!r}"
            )
        found = document.changes(kept, self.document)
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise InputError(
                f"store={store!r}: the study changed since it was made: {found[0]}{more}; "
                f"accepted: the study as it was, or --new, which starts another store"
            )

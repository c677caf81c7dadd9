"""The description of a network: sub-blocks, the application table, numbers, stem and read-out. It
validates itself.

Everything else in sigprop is a function of an ``Architecture``: theory derives and predicts from
it, simulations build finite networks from it, the verdict compares the two. Neither engine ever
asks for its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sigprop.description.checks import MOST_APPLICATIONS, check
from sigprop.description.family import Family
from sigprop.description.structure import Structure
from sigprop.description.sub_block import stem_parts, total
from sigprop.errors import InputError
from sigprop.language.formula import resolved


@dataclass(frozen=True, eq=False)
class Architecture(Structure):
    """A network of D applications; fields as in ``Structure``, where each is said. Raises
    ``InputError`` for the first that is wrong."""

    family: Family[Architecture] | None = None

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        put("stem_parts", stem_parts(self.input_gram, self.stem_parts))
        put("input_gram", total(self.stem_parts))
        tables = (
            self.slots if isinstance(self.slots, Mapping) else dict.fromkeys(self.drawn, self.slots)
        )
        missing = set(self.drawn) - set(tables)
        if missing:
            raise InputError(
                f"slots: no table for weight {sorted(missing)[0]!r}; accepted: a table, or one "
                f"per weight"
            )
        slots = {weight: tuple(int(s) for s in tables[weight]) for weight in self.drawn}
        put("slots", slots)
        lengths = {len(table) for table in slots.values()}
        depth = len(self.kinds) if self.kinds is not None else max(lengths, default=0)
        if lengths != {depth} or not 1 <= depth <= MOST_APPLICATIONS:
            raise InputError(
                f"slots: tables of lengths {sorted(lengths)}; accepted: one entry per "
                f"application, 1 to 10^6 of them"
            )
        kinds = (
            self.kinds
            if self.kinds is not None
            else [a % len(self.sub_blocks) for a in range(depth)]
        )
        put("kinds", tuple(int(k) for k in kinds))
        found = resolved(self.numbers, self.formulas, self.sizes, depth)
        put("numbers", found.values)
        put("formulas", found.formulas)
        if self.parameters and found.changed:  # tables say what the numbers are, not what they were
            put(
                "parameters",
                {**self.parameters, **{name: found.values[name] for name in found.changed}},
            )
        put(
            "readout",
            replace(self.readout, at=tuple(sorted({a % (depth + 1) for a in self.readout.at}))),
        )
        check(self)

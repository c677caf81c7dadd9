"""The description of a network: sub-blocks, the application table, numbers, stem and read-out. It
validates itself.

Everything else in sigprop is a function of an ``Architecture``: theory derives and predicts from
it, simulations build finite networks from it, the verdict compares the two. Neither engine ever
asks for its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from sigprop.description.checks import MOST_APPLICATIONS, check
from sigprop.description.family import Family
from sigprop.description.structure import Structure
from sigprop.description.sub_block import SubBlock, stem_parts, total
from sigprop.errors import InputError, short
from sigprop.language.formula import resolved


@dataclass(frozen=True, eq=False)
class Architecture(Structure):
    """Describe a network of D applications; fields as in ``Structure``, where each is said. Raises
    ``InputError`` for the first that is wrong."""

    family: Family[Architecture] | None = None

    def __post_init__(self) -> None:
        if not _are_sub_blocks(self.sub_blocks):
            raise InputError(
                f"sub_blocks={short(repr(self.sub_blocks))}; accepted: a tuple of SubBlocks, of "
                f"one (block,)"
            )
        self._put("stem_parts", stem_parts(self.input_gram, self.stem_parts))
        self._put("input_gram", total(self.stem_parts))
        self._put("slots", self._slot_tables())
        depth = self._length_of_tables()
        in_turn = (a % len(self.sub_blocks) for a in range(depth))
        kinds = in_turn if self.kinds is None else self.kinds
        self._put("kinds", tuple(int(kind) for kind in kinds))
        numbers = resolved(self.numbers, self.formulas, self.sizes, depth)
        self._put("numbers", numbers.values)
        self._put("formulas", numbers.formulas)
        # tables say what the numbers are, not what they were
        if self.parameters and numbers.changed:
            changed = {name: numbers.values[name] for name in numbers.changed}
            self._put("parameters", {**self.parameters, **changed})
        at = tuple(sorted({a % (depth + 1) for a in self.readout.at}))
        self._put("readout", replace(self.readout, at=at))
        check(self)

    def _put(self, name: str, value: object) -> None:
        """Set a field of this frozen record while it is made."""
        object.__setattr__(self, name, value)

    def _slot_tables(self) -> dict[str, tuple[int, ...]]:
        """Return every weight's table of slots; raise ``InputError`` where one has none."""
        slots, drawn = self.slots, self.drawn
        tables = slots if isinstance(slots, Mapping) else dict.fromkeys(drawn, slots)
        missing = set(drawn) - set(tables)
        if missing:
            raise InputError(
                f"slots: no table for weight {sorted(missing)[0]!r}; accepted: a table, or one "
                f"per weight"
            )
        return {weight: tuple(int(s) for s in tables[weight]) for weight in drawn}

    def _length_of_tables(self) -> int:
        """Return the number of applications; raise ``InputError`` where tables differ in it."""
        assert isinstance(self.slots, Mapping)
        lengths = {len(table) for table in self.slots.values()}
        depth = len(self.kinds) if self.kinds is not None else max(lengths, default=0)
        if lengths != {depth} or not 1 <= depth <= MOST_APPLICATIONS:
            raise InputError(
                f"slots: tables of lengths {sorted(lengths)}; accepted: one entry per "
                f"application, 1 to 10^6 of them"
            )
        return depth


def _are_sub_blocks(given: object) -> bool:
    """Tell if this is a tuple of one sub-block or more."""
    blocks = cast("tuple[object, ...]", given) if isinstance(given, tuple | list) else ()
    return bool(blocks) and all(isinstance(block, SubBlock) for block in blocks)


def check_described(arch: object) -> None:
    """Raise ``InputError`` for what is no description: a registered name, a builder, a model.

    What holds one, as a reading of a model does, is told where.
    """
    if isinstance(arch, Structure):
        return
    accepted = (
        "a sigprop.Architecture, such as sigprop.architectures.looped_mlp() builds (a model: "
        "sigprop.read)"
    )
    if isinstance(getattr(arch, "architecture", None), Structure):
        accepted = f"{type(arch).__name__.lower()}.architecture"
    raise InputError(f"arch={short(repr(arch))}; accepted: {accepted}")

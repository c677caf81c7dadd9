"""Kinds of steps of a network: a sub-block with its spaces, the steps that are of it, and what each
is given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from sigprop.description.architecture import Architecture
from sigprop.description.structure import READOUT
from sigprop.description.sub_block import SubBlock
from sigprop.errors import no_rule
from sigprop.theory.first_step.coordinates.linear import Linear
from sigprop.theory.first_step.coordinates.spaces import Spaces
from sigprop.theory.recursion.program import structure_of


@dataclass(frozen=True, eq=False)
class Kind:
    """index: its place among the kinds, the last being the read-out's tap; steps [U]: those of
    this kind; application [U]: of each (a tap's: of the state it sees)."""

    arch: Architecture
    index: int
    block: SubBlock
    steps: Int[np.ndarray, " U"]
    application: Int[np.ndarray, " U"]

    @cached_property
    def spaces(self) -> Spaces:
        """Which vectors have their coordinates in common."""
        return Spaces(self.block)

    def numbers(self, i: int) -> dict[str, float]:
        """Every named number at the i-th step."""
        return {name: table[self._at(i)] for name, table in self.arch.number_tables.items()}

    def given(self, i: int) -> dict[str, np.ndarray]:
        """Every named number and token table at the i-th step."""
        tables = self.arch.number_tables | self.arch.tables_by_application
        return {name: np.asarray(table[self._at(i)]) for name, table in tables.items()}

    def table(self, name: str, i: int) -> np.ndarray:
        """A token table at the i-th step."""
        return self.arch.tables_by_application[name][self._at(i)]

    def _at(self, i: int) -> int:
        return min(int(self.application[i]), self.arch.depth - 1)

    def same(self, weight: str) -> Bool[np.ndarray, "U U"]:
        """Which of the steps share a slot of a weight."""
        slots = (
            np.zeros(len(self.steps), dtype=np.int64)
            if weight == READOUT
            else np.asarray(self.arch.slot_tables[weight])[self.application]
        )
        return slots[:, None] == slots[None]

    def tied(self, weight: str) -> bool:
        """Whether any two of the steps share a slot of a weight."""
        return int(self.same(weight).sum()) > len(self.steps)

    def sharing(self, weight: str, i: int) -> list[int]:
        """The steps that share the i-th one's slot of a weight, in order."""
        return [int(j) for j in np.flatnonzero(self.same(weight)[i])]


def kinds_of(arch: Architecture, linear: Linear) -> tuple[Kind, ...]:
    """The kinds that occur. Raises ``NoRule`` where two kinds share a weight."""
    blocks = structure_of(arch).blocks
    names = [name for block in arch.sub_blocks for name in block.weights]
    for name in names:
        if names.count(name) > 1:
            raise no_rule(name, "kinds of sub-blocks share it", "a weight of one kind")
    found = []
    for index, block in enumerate(blocks):
        steps = np.flatnonzero(linear.kinds == index)
        if len(steps):
            found.append(Kind(arch, index, block, steps, linear.application[steps]))
    return tuple(found)

"""From the steps of a scan to the averages of a description, in the order in which they stand in
one list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sigprop.description.architecture import Architecture
from sigprop.description.averages import INPUTS, layout, matrices
from sigprop.theory.recursion.program import Program

Averages = dict[str, Any]
"""By the names of ``description.averages``; matrices' inputs by those of ``Sources``."""


class Use(NamedTuple):
    """A matrix's use at a step: its slot, which of the slot's uses it is."""

    step: int
    slot: int
    use: int


class Ordering:
    """Where the steps of an architecture's program stand among its averages."""

    def __init__(self, arch: Architecture, program: Program):
        self.arch, self.program = arch, program
        tap = len(program.structure.blocks) - 1
        self.steps = np.flatnonzero(program.kinds != tap)  # of applications
        before = np.concatenate([[0], np.cumsum(program.kinds != tap)])
        self.state = np.minimum(before, arch.depth)  # at every boundary
        self.layout = layout(arch, program.structure.lanes)

    def expected(self, seen: Averages) -> Float[np.ndarray, " K"]:
        """Return the averages as one list. seen: of the scan's steps and boundaries."""
        at = self.program.boundary
        columns = at if self.program.coupled else np.arange(len(at))
        found = {
            "states": seen["states"][at],
            "crossed": seen["crossed"][at][:, columns],
            "overlaps": seen["overlaps"][self.steps],
            "writes": seen["writes"][self.steps],
            "stem": seen["stem"],
        }
        found["crossed"] = found["crossed"] + _upper(found["crossed"])
        for name in matrices(self.arch):
            found[INPUTS + name] = self.given(name, seen)
        return np.concatenate([np.ravel(found[name]) for name in self.layout])

    def given(self, name: str, seen: Averages) -> Float[np.ndarray, "slots U T U T"]:
        """Return the Gram of what a matrix's slots are given."""
        own, pairs = seen["inputs"][name], seen["pairs"].get(name)
        gram = np.zeros(self.layout[INPUTS + name])
        for use, blocks in self._blocks(name, own, pairs):
            for other, block in blocks:
                gram[use.slot, use.use, :, other.use] = block
                gram[use.slot, other.use, :, use.use] = block.T
        return gram

    def derivatives(self, back: Any, crossed: Float[np.ndarray, "R A C T"]) -> np.ndarray:
        """Return derivatives by averages as one list [R, K]. back: those by sources, each array
        once a row; crossed: those by overlaps of states, which no step sees."""
        count = len(crossed)
        found = {name: np.zeros((count, *shape)) for name, shape in self.layout.items()}
        for boundary, state in enumerate(self.state):  # one more at every tap, of the same state
            found["states"][:, state] += back.states[:, boundary]
        found["crossed"][:, :, : crossed.shape[2]] = crossed
        found["overlaps"] += back.overlaps[:, self.steps]
        found["writes"] += back.writes[:, self.steps]
        found["stem"] += back.stem
        for name in matrices(self.arch):
            rows = found[INPUTS + name]
            own = np.moveaxis(back.inputs[name], 0, -1)
            pairs = np.moveaxis(back.pairs[name], 0, -1) if back.pairs else None
            for use, blocks in self._blocks(name, own, pairs):
                for other, block in blocks:
                    rows[:, use.slot, use.use, :, other.use] += np.moveaxis(block, -1, 0)
        return np.concatenate([found[name].reshape(count, -1) for name in self.layout], axis=1)

    def _blocks(
        self, name: str, own: Any, pairs: Any
    ) -> Iterator[tuple[Use, list[tuple[Use, Any]]]]:
        """Go through a matrix's uses, with the blocks of each and of what shares its slot."""
        uses = {use.step: use for use in self._uses(name)}
        for step, use in uses.items():
            blocks = [(use, own[step])]
            for j, partner in enumerate(self.program.partners[step]):
                if partner in uses and self.program.ties[name][step, j]:
                    blocks.append((uses[partner], pairs[step, j]))
            yield use, blocks

    def _uses(self, name: str) -> Iterator[Use]:
        """Go through the uses of a matrix."""
        for slot, applications in enumerate(self.arch.applications_of(name).values()):
            for use, application in enumerate(applications):
                yield Use(int(self.steps[application]), slot, use)


def _upper(crossed: Float[np.ndarray, "A C T"]) -> Float[np.ndarray, "A C T"]:
    """Return the entries above the diagonal, from those below."""
    square = np.swapaxes(crossed, 0, 1)
    return np.triu(np.moveaxis(square, -1, 0), 1).transpose(1, 2, 0)

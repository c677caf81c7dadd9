"""From the steps of a scan to the averages of a description, in the order in which they stand in
one list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sigprop.description.architecture import Architecture
from sigprop.description.averages import COTANGENTS, INPUTS, layout, matrices, pulled
from sigprop.description.structure import READOUT
from sigprop.theory.recursion.program import Program

Averages = dict[str, Any]
"""By the names of ``description.averages``; matrices' inputs by those of ``Sources``."""


class Use(NamedTuple):
    """A weight's use at a step: its slot, which of the slot's uses it is."""

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
            "write_crossed": self._write_crossed(seen.get("write_pairs")),
            "stem": seen["stem"],
        }
        found["crossed"] = found["crossed"] + _upper(found["crossed"])
        for name in matrices(self.arch):
            found[INPUTS + name] = self.given(name, seen)
        if "gradients" in seen:
            last = np.flatnonzero(self.program.taps)[-1]
            found |= {
                "gradients": seen["gradients"][at],
                "gradient_stem": seen["gradient_stem"],
                "outputs": seen["writes"][last],
            }
            found |= {COTANGENTS + name: self.back(name, seen) for name in pulled(self.arch)}
        blank = {name: np.zeros(shape) for name, shape in self.layout.items()}
        return np.concatenate([np.ravel((blank | found)[name]) for name in self.layout])

    def _write_crossed(self, pairs: Any) -> Float[np.ndarray, "D D T"]:
        """Return overlaps of writes: 0 where they share no weight. pairs [P, U, T]."""
        found = np.zeros(self.layout["write_crossed"])
        if pairs is None:
            return found
        application = {int(step): a for a, step in enumerate(self.steps)}
        for late, a in application.items():
            for u, early in enumerate(self.program.partners[late]):
                if early in application:
                    found[a, application[early]] = pairs[late, u]
        return found

    def given(self, name: str, seen: Averages) -> Float[np.ndarray, "slots U T U T"]:
        """Return the Gram of what a matrix's slots are given."""
        return self._gram(name, seen["inputs"][name], seen["pairs"].get(name), False)

    def back(self, name: str, seen: Averages) -> Float[np.ndarray, "slots U T U T"]:
        """Return the Gram of what comes back to a weight's outputs."""
        return self._gram(name, seen["cotangents"][name], seen["later"].get(name), True)

    def _gram(self, name: str, own: Any, pairs: Any, back: bool) -> Any:
        """Return the Gram over all uses of a slot from each one's with itself and with others'."""
        gram = np.zeros(self.layout[(COTANGENTS if back else INPUTS) + name])
        for use, blocks in self._blocks(name, own, pairs, back):
            for other, block in blocks:
                gram[use.slot, use.use, :, other.use] = block
                gram[use.slot, other.use, :, use.use] = block.T
        return gram

    def derivatives(self, back: Any, read: dict[str, Any], readout: Any) -> np.ndarray:
        """Return derivatives by averages as one list [R, K]. back: those by sources, each array
        once a row; read: by what rows are read off, some of which no step sees (overlaps of
        states, gradients, what the read-out is given); readout: its Gram [T, T]."""
        crossed, count = read["crossed"], len(read["crossed"])
        found = {name: np.zeros((count, *shape)) for name, shape in self.layout.items()}
        for boundary, state in enumerate(self.state):  # one more at every tap, of the same state
            found["states"][:, state] += back.states[:, boundary]
        found["crossed"][:, :, : crossed.shape[2]] = crossed
        found["overlaps"] += back.overlaps[:, self.steps]
        found["writes"] += back.writes[:, self.steps]
        found["stem"] += back.stem
        found["write_crossed"] += read["write_crossed"]
        for name in matrices(self.arch):
            rows = found[INPUTS + name]
            self._add(rows, name, back.inputs[name], back.pairs.get(name), False)
        if "gradients" in read:
            found["gradients"] += read["gradients"]
            found["gradient_stem"] += read["gradient_stem"]
            if self.program.taps.sum() == 1:
                found["outputs"] += read["groups"][READOUT].sum(axis=1) * readout
            for name in pulled(self.arch):
                rows = found[COTANGENTS + name]
                self._add(rows, name, back.cotangents[name], back.later.get(name), True)
        return np.concatenate([found[name].reshape(count, -1) for name in self.layout], axis=1)

    def _add(self, rows: np.ndarray, name: str, own: Any, pairs: Any, back: bool) -> None:
        """Add derivatives [R, P, ...] by what a weight's uses have to those by its slots' Gram."""
        own = np.moveaxis(own, 0, -1)
        pairs = None if pairs is None else np.moveaxis(pairs, 0, -1)
        for use, blocks in self._blocks(name, own, pairs, back):
            for other, block in blocks:
                rows[:, use.slot, use.use, :, other.use] += np.moveaxis(block, -1, 0)

    def _blocks(
        self, name: str, own: Any, pairs: Any, back: bool
    ) -> Iterator[tuple[Use, list[tuple[Use, Any]]]]:
        """Go through a weight's uses, with the blocks of each and of what shares its slot: earlier
        uses, or on the way back later ones."""
        uses, program = {use.step: use for use in self._uses(name)}, self.program
        partners = program.later if back else program.partners
        ties = (program.ties_later if back else program.ties)[name]
        for step, use in uses.items():
            blocks = [(use, own[step])]
            for j, partner in enumerate(partners[step]):
                if partner in uses and ties[step, j]:
                    blocks.append((uses[partner], pairs[step, j]))
            yield use, blocks

    def _uses(self, name: str) -> Iterator[Use]:
        """Go through the uses of a weight."""
        for slot, applications in enumerate(self.arch.applications_of(name).values()):
            for use, application in enumerate(applications):
                yield Use(int(self.steps[application]), slot, use)


def _upper(crossed: Float[np.ndarray, "A C T"]) -> Float[np.ndarray, "A C T"]:
    """Return the entries above the diagonal, from those below."""
    square = np.swapaxes(crossed, 0, 1)
    return np.triu(np.moveaxis(square, -1, 0), 1).transpose(1, 2, 0)

"""The steps that a Gram scan runs over: applications and read-out taps in order, and which steps
share a weight.

A read-out tap is a step like any other whose rule leaves the state alone and whose output meets the
read-out vector v; so taps at several depths share the slot "readout", and the backward scan meets v
at each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.structure import READOUT
from sigprop.description.sub_block import SubBlock
from sigprop.language.expression import Activate, Attend, Scale, State, Stem, Vector
from sigprop.language.scalar import Constant
from sigprop.language.traversal import walk
from sigprop.theory.attention.draws import Law, law
from sigprop.theory.calculus.means import acting, expressions, takes_means
from sigprop.theory.gaussian.closed import has_closed_form
from sigprop.theory.recursion import footprint


class Room(NamedTuple):
    """Steps and partners that a program has at least: members of a family then have one shape,
    and compile once. What is left over does nothing."""

    steps: int = 0
    partners: int = 0


# up to here sizes are rounded up to powers of two, beyond to multiples of COARSE: what is left over
# takes time there
FINE = 256
COARSE = 64


def shared(size: int) -> int:
    """Return the size that programs of ``size`` are compiled at, so that depths 5 to 8 (9 to 16,
    ...) are one program; 0 stays 0."""
    if size > FINE:
        return -(-size // COARSE) * COARSE
    return 1 << (size - 1).bit_length() if size else 0


@dataclass(frozen=True)
class Structure:
    """Everything that one compilation depends on: the expressions, never the numbers.
    ``blocks[-1]`` is the read-out tap."""

    blocks: tuple[SubBlock, ...]
    initial: tuple[Vector, ...]
    bands: int
    weights: tuple[tuple[str, ...], ...]  # per block

    @property
    def lanes(self) -> int:
        """Lanes of the scan: the states', and the stem's own where a rule or read injects it."""
        return len(self.initial) + self.injects

    @cached_property
    def injects(self) -> bool:
        """Tell if the stem enters after application 0."""
        return any(
            isinstance(node, Stem)
            for b in self.blocks
            for e in (*b.reads, *b.rule)
            for node in walk(e)
        )

    @property
    def reads(self) -> int:
        """The most reads that a kind of step has."""
        return max(len(b.reads) for b in self.blocks)

    @cached_property
    def heads(self) -> tuple[Law, ...]:
        """The laws of attention's heads that occur."""
        return tuple(
            dict.fromkeys(
                law(node)
                for b in self.blocks
                for node in walk(b.branch)
                if isinstance(node, Attend)
            )
        )

    @cached_property
    def kinked(self) -> bool:
        """Tell if an activation has a closed form that, at some scale, moves as the root of 1 -
        rho^2."""
        activations = (
            node.activation
            for b in self.blocks
            for node in walk(b.branch)
            if isinstance(node, Activate)
        )
        return any(
            has_closed_form(activation) and activation.name != "linear"
            for activation in activations
        )

    @cached_property
    def layered(self) -> bool:
        """Tell if LayerNorm, or what takes means away as it does, comes before a read-out."""
        blocks = (expression for b in self.blocks[:-1] for expression in expressions(b))
        return takes_means((*self.initial, *blocks))

    def shifted(self, index: int) -> bool:
        """Tell if activations of a kind of step act on what LayerNorm may have left a mean in."""
        block = self.blocks[index]
        layered = self.layered or self.taps(index) and takes_means(expressions(block))
        return layered and any(acting(block.branch))

    def taps(self, index: int) -> bool:
        """Tell if a kind of step is the read-out's tap."""
        return index == len(self.blocks) - 1

    @property
    def stem_lane(self) -> int | None:
        """The lane that holds the stem's write, if it has one."""
        return len(self.initial) if self.injects else None


@dataclass(frozen=True, eq=False)
class Program:
    """An architecture as P steps.

    kinds [P]; application [P] (the tap at state a: a); boundary [D+1]: the step boundary at which
    state a is found; taps [P] bool; partners [P, U]: earlier steps that share a weight, ascending,
    padded with P; row, column [P, U]: for the *later* partners of step p, in order, where the pair
    stands in the forward tables; ties {weight: [P, U]}.
    """

    structure: Structure
    kinds: np.ndarray
    application: np.ndarray
    boundary: np.ndarray
    taps: np.ndarray
    partners: np.ndarray
    later: np.ndarray
    row: np.ndarray
    column: np.ndarray
    ties: dict[str, np.ndarray]
    ties_later: dict[str, np.ndarray]
    numbers: dict[str, np.ndarray]

    @property
    def steps(self) -> int:
        """P."""
        return len(self.kinds)

    @property
    def coupled(self) -> bool:
        """Tell if any two steps share a weight, so that writes overlap."""
        return self.partners.shape[1] > 0


def needed(arch: Architecture, room: Room = Room()) -> Room:  # noqa: B008 (a tuple)
    """Steps and partners that the architecture has, or ``room`` where that is more."""
    return Room(
        max(arch.depth + len(arch.readout.at), room.steps),
        max(footprint.partners(arch), room.partners),
    )


def shared_program(arch: Architecture, room: Room = Room()) -> Program:  # noqa: B008 (a tuple)
    """``compile_program`` with sizes rounded up as ``shared`` says: the same numbers
    (tests/theory/recursion/test_program_size.py)."""
    return compile_program(arch, Room(*map(shared, needed(arch, room))))


def compile_program(arch: Architecture, room: Room = Room()) -> Program:  # noqa: B008 (a tuple)
    """The step table of an architecture; steps left over in ``room`` leave the state alone and are
    seen by nothing.

    Raises ``InputError`` where the tables of a tied network need more memory than there is.
    """
    steps, most = needed(arch, room)
    footprint.require(arch, footprint.table_bytes(arch, steps, most))
    structure = structure_of(arch)
    order = _order(arch, room)
    taps = order.taps
    used = {
        w: np.isin(order.kinds, [k for k, names in enumerate(structure.weights) if w in names])
        for w in (*arch.drawn, READOUT)
    }
    tables = arch.number_tables | arch.tables_by_application
    numbers = {
        name: np.concatenate([table, table[-1:]])[order.application]
        for name, table in tables.items()
    }
    pairs = (
        _pairs(_slots(arch, order), used, footprint.coupling(arch), room.partners)
        if footprint.tied(arch) or taps.sum() > 1
        else _no_pairs(len(order.kinds), used)
    )
    kinds, application, boundary, _ = order
    return Program(structure, kinds, application, boundary, taps, *pairs, numbers=numbers)


def structure_of(arch: Architecture) -> Structure:
    """Return the expressions of the sub-blocks and of the read-out's tap."""
    readout, taps = arch.readout, len(arch.readout.at)
    output = readout.branch if taps == 1 else Scale(Constant(Fraction(1, taps)), readout.branch)
    tap = SubBlock(readout.read, output, tuple(State(i) for i in range(arch.lanes)))
    weights = (*(tuple(b.drawn) for b in arch.sub_blocks), (READOUT,))
    return Structure((*arch.sub_blocks, tap), arch.initial, len(arch.bands), weights)


class _Order(NamedTuple):
    """The steps in turn: kinds, application, boundary and taps as ``Program`` has them."""

    kinds: np.ndarray
    application: np.ndarray
    boundary: np.ndarray
    taps: np.ndarray


def _order(arch: Architecture, room: Room) -> _Order:
    """Put the taps between the applications, and idle ones at the end."""
    tap = len(arch.sub_blocks)
    kinds, application, boundary = [], [], []
    for a in range(arch.depth + 1):
        boundary.append(len(kinds))
        if a in arch.readout.at:
            kinds.append(tap)
            application.append(a)
        if a < arch.depth:
            kinds.append(arch.kind_table[a])
            application.append(a)
    idle = max(room.steps - len(kinds), 0)
    every = np.array(kinds + [tap] * idle)
    taps = (every == tap) & (np.arange(len(every)) < len(kinds))
    return _Order(every, np.array(application + [arch.depth] * idle), np.array(boundary), taps)


def _slots(arch: Architecture, order: _Order) -> dict[str, np.ndarray]:
    """Return the slot of every weight that a step uses: no two alike where it uses none."""
    slots = {
        w: np.where(order.kinds == len(arch.sub_blocks), -1, np.append(table, 0)[order.application])
        for w, table in arch.slot_tables.items()
    }
    slots[READOUT] = np.where(order.taps, 0, -1 - np.arange(len(order.kinds)))
    return slots


class _Partners(NamedTuple):
    """Which steps share a weight, as ``Program`` has it."""

    partners: np.ndarray
    later: np.ndarray
    row: np.ndarray
    column: np.ndarray
    ties: dict[str, np.ndarray]
    ties_later: dict[str, np.ndarray]


def _no_pairs(steps: int, used: dict[str, np.ndarray]) -> _Partners:
    """Return tables of no partners."""
    none = np.zeros((steps, 0), dtype=np.int32)
    empty = {w: np.zeros((steps, 0)) for w in used}
    return _Partners(none, none, none, none, empty, empty)


def _pairs(
    slots: dict[str, np.ndarray],
    used: dict[str, np.ndarray],
    coupling: tuple[str, ...],
    least: int,
) -> _Partners:
    """Make partner tables from 'same slot of some weight' that couples, earlier and later, with
    each pair's place in the forward table."""
    steps = len(next(iter(used.values())))
    same = {
        w: (slots[w][:, None] == slots[w][None, :]) & used[w][:, None] & used[w][None, :]
        for w in used
    }
    shared = np.any([same[w] for w in (*coupling, READOUT)], axis=0)
    earlier, place = np.tril(shared, -1), np.cumsum(np.tril(shared, -1), axis=1) - 1
    most = max(int(earlier.sum(axis=1).max()), least)
    partners = _listed(earlier, most, steps)
    later = _listed(np.triu(shared, 1), most, steps)
    valid = later < steps
    row = np.where(valid, later, 0).astype(np.int32)
    column = np.where(valid, place[row, np.arange(steps)[:, None]], 0).astype(np.int32)
    ties = {w: _looked_up(same[w], partners) for w in used}
    ties_later = {w: _looked_up(same[w], later) for w in used}
    return _Partners(partners, later, row, column, ties, ties_later)


def _listed(mask: np.ndarray, most: int, steps: int) -> np.ndarray:
    """Column indices where the mask holds, row by row, padded with ``steps``."""
    table = np.full((steps, max(most, int(mask.sum(axis=1).max()))), steps, dtype=np.int32)
    rows, columns = np.nonzero(mask)
    table[rows, (np.cumsum(mask, axis=1) - 1)[rows, columns]] = columns
    return table


def _looked_up(same: np.ndarray, partners: np.ndarray) -> np.ndarray:
    """Return 1.0 where a step and its partner share the weight, else 0."""
    steps = len(same)
    inside = np.minimum(partners, steps - 1)
    return np.where(partners < steps, same[np.arange(steps)[:, None], inside], False).astype(
        np.float64
    )

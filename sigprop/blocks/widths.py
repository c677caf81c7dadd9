"""Widths of the blocks of a variable-width network: the V schedule, and a network made narrower
block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sigprop.description.architecture import Architecture
from sigprop.description.sub_block import SubBlock
from sigprop.errors import InputError
from sigprop.language.expression import Attend, Linear, Normalise, Read, State, Stem, Vector, Write
from sigprop.language.formula import Formula
from sigprop.language.nodes import Truncate
from sigprop.language.scalar import Constant, Number
from sigprop.language.traversal import mapped

WIDTH, REFERENCE = Number("nu", r"\nu"), Number("nu_d", r"\nu_d")
"""d_l and d, as shares of the widest block's coordinates."""
HALF = Constant(Fraction(1, 2))


def vee(
    reference: int,
    depth: int,
    bottleneck: float,
    position: float,
    round_to: int,
    matrix: float = 16.0,
    idle: tuple[float, float] = (3.0, 4.0),
) -> tuple[int, ...]:
    """Return d_1 > ... > d_l* < ... < d_L, geometric on both sides of block l* = position L, d_l* =
    bottleneck d, d_1 = d_L, with the parameters of ``depth`` blocks of width d: matrix sum_l d_l^2
    - first (d_1 - d) d_1 - last (d_L - d) d_L = matrix L d^2, then rounded.

    reference: d; round_to: widths are multiples of it; matrix: parameters of a block over d_l^2;
    idle: (first, last), those of the end points that read zeros or write what the head does not
    see, each over (d_1 - d) d_1. Fewer than three blocks are all of width d. Raises ``InputError``.
    Source: 2606.18246 (released solver), its integers in
    tests/theory/recursion/test_variable_width.py.
    """
    if depth < 3:
        return (reference,) * depth  # two ends, or one, and nothing between them
    turn = int(position * depth)
    if not 0 < bottleneck < 1:
        raise InputError(
            f"bottleneck={bottleneck:g}: not narrower than the ends; accepted: a share of "
            f"reference_width above 0 and below 1"
        )
    if not 1 < turn < depth:
        raise InputError(
            f"position={position:g} of depth={depth}: the turn is block {turn}; accepted: one "
            f"between the first and the last"
        )
    shape = _Vee(reference, depth, turn, bottleneck)
    first = shape.first(matrix, sum(idle))
    # rounded first, then scaled: what gives the released solver's integers
    whole = shape.widths(first) * (round(first) / first)
    return tuple(int(max(1, round(d / round_to)) * round_to) for d in whole)


class _Vee(NamedTuple):
    """Widths that fall to bottleneck * reference at block ``turn`` and rise again."""

    reference: int
    depth: int
    turn: int
    bottleneck: float

    def widths(self, first: float) -> NDArray[np.float64]:
        """Return d_1 ... d_L that begin and end with ``first``."""
        depth, turn = self.depth, self.turn
        ratio = first / (self.bottleneck * self.reference)
        down = ratio ** -(np.arange(turn) / (turn - 1))
        up = ratio ** (np.arange(1, depth - turn + 1) / (depth - turn) - 1)
        return first * np.concatenate([down, up])

    def first(self, matrix: float, idle: float) -> float:
        """Return the first width at which the parameters are those of blocks of width
        ``reference``."""
        from scipy.optimize import root_scalar

        reference, depth = self.reference, self.depth

        def excess(first: float) -> float:
            widths = self.widths(first)
            return float(
                matrix * (widths @ widths - depth * reference**2)
                - idle * (first - reference) * first
            )

        return root_scalar(excess, bracket=(reference, reference * depth), xtol=1e-9).root


def narrowed(
    arch: Architecture, widths: Sequence[int], reference: int, resize: str
) -> Architecture:
    """Return the network whose block l reads and writes the first d_l coordinates of a stream as
    wide as the widest block; others pass by.

    arch: blocks with additive rules that read State(0), normed or not; widths [L]: d_l, of which
    each block's branches are; reference: d, coordinates of stem and read-out; resize: 'carry',
    coordinates that come back are as they were left, or 'zero'. Entries of matrices have variance
    C/d_l times what they multiply. Source: 2606.18246, docs/systems/variable-width.md.
    """
    widest = max(*widths, reference)
    ends = sorted({*widths, reference})
    repeated = np.repeat(np.asarray(widths, dtype=np.float64), arch.depth // len(widths))
    return replace(
        arch,
        sub_blocks=tuple(
            SubBlock(tuple(map(_resized, b.reads)), _narrow(b.branch), (_rule(b.rule[0], resize),))
            for b in arch.sub_blocks
        ),
        initial=(Truncate(Stem(), REFERENCE),),
        readout=replace(
            arch.readout, read=Truncate(_resized(arch.readout.read), REFERENCE) / REFERENCE**HALF
        ),
        numbers={
            **arch.numbers,
            "nu": share("nu", *repeated / widest),
            "nu_d": share("nu_d", reference / widest),
        },
        bands=tuple((high - low) / widest for low, high in zip([0, *ends[:-1]], ends, strict=True)),
    )


def share(name: str, *values: float) -> Formula:
    """Return shares of the coordinates, which another depth has others of: of order one whatever
    the sizes."""
    return Formula(name, tuple(Constant(float(value)) for value in values), order=Constant(1))


def _resized(read: Vector) -> Vector:
    """Return what a block reads: its coordinates, norms being means over them alone."""
    if isinstance(read, Normalise):
        return WIDTH**HALF * replace(read, of=_resized(read.of) / WIDTH**HALF)
    return Truncate(read, WIDTH) if isinstance(read, State) else mapped(read, _resized)


def _rule(rule: Vector, resize: str) -> Vector:
    """Return a residual rule of the coordinates a block owns."""
    if resize == "zero":
        return Truncate(rule, WIDTH)
    return (
        Truncate(rule, WIDTH)
        if isinstance(rule, Write)
        else mapped(rule, lambda u: _rule(u, resize))
    )


def _narrow(branch: Vector) -> Vector:
    """Return the branch of d_l coordinates: what its matrices are applied to is truncated, their
    variance is over that many."""
    if isinstance(branch, Linear):
        of = (
            branch.of
            if isinstance(branch.of, Read)
            else Truncate(_narrow(branch.of), WIDTH, _parts(branch.of))
        )
        return replace(branch, of=of, variance=branch.variance / WIDTH)
    if isinstance(branch, Attend) and _parts(branch) > 1:
        inside = mapped(branch, _narrow)
        # scores are over the coordinates that are left
        return replace(inside, query=Truncate(inside.query, WIDTH, _parts(branch)) / WIDTH)
    return mapped(branch, _narrow)


def _parts(u: Vector) -> int:
    """Return in how many runs its coordinates are cut: heads whose number stays; one where whole
    heads go."""
    return u.scores.heads or 1 if isinstance(u, Attend) and u.scores.scale == "linear" else 1

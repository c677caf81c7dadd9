"""The bytes that a prediction takes, from its sizes alone: refused before they are spent.

The tables of a program (``program.compile_program``) say which of P steps share a weight; the
passes (``passes``) keep Grams of T tokens at every step, and where steps share weights those of all
pairs. What is beyond this file, sampled heads and reverse mode through attention, is known when the
program is compiled (``compiling``).
"""

from __future__ import annotations

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.language.expression import PositionBias
from sigprop.runtime import memory
from sigprop.theory.attention.draws import Amount, coordinates, law, points
from sigprop.theory.gaussian.field import samples

# of each of P x P pairs while partners are looked for: two int64 tables, index arrays, masks
PAIR_BYTES = 34
DRAWN = 3  # copies of sampled points while they are made
FLOAT = 8


def coupling(arch: Architecture) -> tuple[str, ...]:
    """The weights whose sharing makes writes, or gradients, of two applications overlap: all but
    drawn biases on scores. What these act on leaves its branch through a matrix, and reaches it
    from a matrix on the way back; where those are their own, nothing overlaps."""
    return tuple(name for name, node in arch.drawn.items() if not isinstance(node, PositionBias))


def tied(arch: Architecture) -> bool:
    """Whether any two applications share a weight that couples them."""
    return arch.tied and any(
        len(used) > 1 for name in coupling(arch) for used in arch.applications_of(name).values()
    )


def partners(arch: Architecture) -> int:
    """U, the most steps that share a weight with one, itself not counted."""
    uses = (
        [
            np.unique(np.asarray(arch.slot_tables[name]), return_counts=True)[1].max()
            for name in coupling(arch)
        ]
        if tied(arch)
        else [1]
    )
    return max(int(max(uses)), len(arch.readout.at)) - 1


def table_bytes(arch: Architecture, steps: int, most: int) -> float:
    """Of the tables of a program of ``steps`` steps and ``most`` partners while they are made."""
    weights = len(arch.drawn) + 1
    return (
        float(steps) ** 2 * (PAIR_BYTES + weights)
        + float(steps) * most * (20 + 2 * FLOAT * weights)
        if most
        else 0.0
    )


def pass_bytes(arch: Architecture, steps: int, most: int, columns: int, backward: int) -> float:
    """Of both passes. columns: tracked states; backward: passes back, 0, 1, or 2 with the tangent
    kernel.

    The coefficients are those of compiled programs over widths, tokens and depths
    (tests/theory/recursion/test_footprint.py).
    """
    weights, squares, lanes = (
        len(arch.drawn) + 1,
        float(arch.tokens) ** 2,
        (arch.lanes**2) * len(arch.bands),
    )
    own = steps * squares * (3 + 2 * lanes + backward * (2 + 2 * lanes + 2 * weights))
    pairs = steps * squares * (columns + most) * (1 + 1.35 * backward) + steps * most * (
        3 + (5 + weights) * (backward > 0)
    )
    return FLOAT * (own + (pairs if most else steps * squares * columns))


def amount(arch: Architecture, finer: int = 1) -> Amount:
    """How many heads of its attention are sampled, and of how many applications each."""
    most = partners(arch)
    if arch.scored:  # what is finer is how many draws of scores there are
        return Amount(2 if most else 1, most, 1, samples(arch))
    return Amount(2 if most else 1, most, finer)


def draw_bytes(arch: Architecture, finer: int = 1) -> float:
    """Of the points that attention's scores are averaged over while they are drawn, and of one
    application's scores."""
    heads = amount(arch, finer)
    laws = {law(node) for block in arch.sub_blocks for node in block.attention}
    entries = [
        points(found, arch.tokens, heads)
        * found.kinds
        * heads.places
        * arch.tokens
        * (2 * coordinates(found.scores, arch.tokens, heads.places) + arch.tokens)
        for found in laws
        if not found.certain
    ]
    return DRAWN * FLOAT * float(sum(entries))


def require(arch: Architecture, need: float) -> None:
    """Raise ``InputError`` where there is less memory than ``need`` bytes; the message names the
    sizes."""
    names = {
        "depth": arch.sizes.get("L", arch.depth),
        "loops": arch.sizes.get("N", 1),
        "tokens": arch.tokens,
    }
    memory.require(
        need, ", ".join(f"{name}={size}" for name, size in names.items() if size > 1) or "depth=1"
    )

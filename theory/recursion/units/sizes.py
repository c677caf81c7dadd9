"""How long what a unit has is: coordinates of a unit, and lengths relative to the width."""

from __future__ import annotations

from fractions import Fraction

from sigprop.description.structure import READOUT
from sigprop.language.expression import (
    Attend,
    Bias,
    Linear,
    Product,
    Rescale,
    Scale,
    Sum,
    Vector,
)
from sigprop.language.nodes import Gate, Mix, Truncate
from sigprop.language.traversal import children, group_of, rows_of, walk
from sigprop.theory.calculus.transpose import AttendTransposed, Divide, Transposed


def coordinates(branch: Vector) -> dict[str, tuple[int, int]]:
    """Return {weight or bias: coordinates of a unit (of its output, of its input)}: those of a head
    within attention over random scores (of keys, and of all queries that share them), else 1."""
    found: dict[str, tuple[int, int]] = {}

    def note(u: Vector, inside: int) -> None:
        """Note what stands in u, whose own coordinates are ``inside``."""
        if isinstance(u, Gate):
            found[u.weight] = (inside, inside)
        if isinstance(u, (Linear, Bias)):
            of = size(u.of) if isinstance(u, Linear) else 1
            found[u.weight] = (inside, of)
            inside = of
        if isinstance(u, Attend) and not u.scores.uniform:
            note(u.query, size(u))
            note(u.key, size(u) // group_of(u))
            note(u.value, size(u) // group_of(u))
            return
        for child in children(u):
            note(child, size(u) if isinstance(u, Attend) else inside)

    note(branch, size(branch))
    return found


def size(u: Vector) -> int:
    """Return the coordinates of a unit of u."""
    if isinstance(u, Attend) and not u.scores.uniform:
        return int(u.scores.head_dim) * group_of(u)
    if isinstance(u, (Linear, Bias)):
        return 1
    return max(map(size, children(u)), default=1)


def rows(u: Vector) -> Fraction:
    """Return the length of u, or of a cotangent, as a multiple of the width."""
    match u:
        case Transposed(of=of, ratio=ratio):
            return rows(of) / Fraction(ratio.value)
        case AttendTransposed(attend, _, leg):
            return rows_of(getattr(attend, leg))
        case Product(_, right):
            return rows(right)
        case (
            Divide(of=of)
            | Scale(of=of)
            | Gate(of=of)
            | Rescale(of=of)
            | Mix(of=of)
            | Truncate(of=of)
        ):
            return rows(of)
        case Sum(terms):
            return rows(terms[0])
    return rows_of(u)


def inputs(branch: Vector, readout: bool) -> dict[str, Vector]:
    """Return {weight: what it is given}; readout: whether the branch is what the read-out sees."""
    found = {u.weight: u.of for u in walk(branch) if isinstance(u, (Linear, Gate))}
    return found | ({READOUT: branch} if readout else {})

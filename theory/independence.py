"""What vectors are random through, and which inner products that makes zero (rule 2)."""

from __future__ import annotations

from sigprop.errors import NoRule
from sigprop.expression import Bias, Dropout, Linear, Normalise, Read, Rescale, Scale, Sum, Vector
from sigprop.mixing import Mix
from sigprop.theory.transpose import Cotangent, Transposed
from sigprop.traversal import children
from sigprop.truncation import Truncate


def roots(u: Vector) -> frozenset[object]:
    """What a vector's coordinates are random through: the outermost matrices, or the bare read or cotangent."""
    match u:
        case Linear(weight=weight) | Bias(weight=weight):
            return frozenset((weight,))
        case Transposed(weight=weight):
            return frozenset(((weight, "transposed"),))
        case Read() | Cotangent():
            return frozenset((type(u),))
    return frozenset().union(*(roots(child) for child in children(u)))


def independent(u: Vector, v: Vector) -> bool:
    """Rule 2's zero: one of the two is zero-mean through a matrix of its own that the other does not depend on.

    A read holds earlier writes, so it may depend on any matrix; a cotangent likewise on any transposed one.
    """
    for x, y in ((u, v), (v, u)):
        if isinstance(x, (Linear, Bias)) and not roots(y) & (roots(x) | {Read}):
            return True
        if isinstance(x, Transposed) and not roots(y) & (roots(x) | {Cotangent}):
            return True
    return False


def require_fresh(branch: Vector) -> None:
    """Raise unless the branch's output is zero-mean through its last matrix (so its overlap with older writes is 0)."""
    match branch:
        case Linear() | Bias():
            return
        case Scale(of=of) | Normalise(of=of) | Dropout(of=of) | Rescale(of=of) | Truncate(of=of) | Mix(of=of):
            return require_fresh(of)
        case Sum(terms):
            for term in terms:
                require_fresh(term)
            return
    raise NoRule(f"the write {branch!r} does not end in a zero-mean matrix: its overlap with older writes has no rule")

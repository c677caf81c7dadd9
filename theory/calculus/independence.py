"""What vectors are random through, and what follows of it: which inner products are zero (rule
2), which vectors are Gaussian."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.errors import no_rule
from sigprop.language.expression import (
    Activate,
    Attend,
    Bias,
    Dropout,
    Linear,
    Normalise,
    Product,
    Read,
    Rescale,
    Scale,
    Sum,
    Vector,
)
from sigprop.language.nodes import Experts, Gate, Mix, Sampled, Truncate
from sigprop.language.scalar import evaluate
from sigprop.language.traversal import children, walk
from sigprop.theory.calculus.transpose import AttendTransposed, Cotangent, Divide, Transposed


def roots(u: Vector) -> frozenset[object]:
    """What a vector's coordinates are random through: the outermost matrices, or the bare read
    or cotangent."""
    match u:
        case Linear(weight=weight) | Bias(weight=weight):
            return frozenset((weight,))
        case Transposed(weight=weight):
            return frozenset(((weight, "transposed"),))
        case Read() | Cotangent():
            return frozenset((type(u),))
        case Divide(of=of):
            return roots(of)  # a norm is a number
    return frozenset().union(*(roots(child) for child in children(u)))


def independent(u: Vector, v: Vector) -> bool:
    """Rule 2's zero: one of the two is zero-mean through a matrix of its own that the other does
    not depend on.

    A read holds earlier writes, so it may depend on any matrix; a cotangent likewise on any
    transposed one.
    """
    for x, y in ((u, v), (v, u)):
        if isinstance(x, (Linear, Bias)) and not roots(y) & (roots(x) | {Read}):
            return True
        if isinstance(x, Transposed) and not roots(y) & (roots(x) | {Cotangent}):
            return True
    return False


def not_gaussian(u: Vector) -> Vector | None:
    """The first part of a forward vector whose coordinates are not Gaussian in the wide limit; None
    where all are (they are zero-mean then).

    A matrix's output is Gaussian whatever it is applied to, and numbers, norms and given tables
    leave it so. An activation, a product, a mask of dropout or truncation, and attention whose
    weights are random (one draw a head) do not.
    """
    match u:
        case Read() | Linear() | Bias():
            return None
        case (
            Scale(of=of)
            | Gate(of=of)
            | Normalise(of=of)
            | Rescale(of=of)
            | Mix(of=of)
            | Experts(of=of)  # given what the router chose
        ):
            return not_gaussian(of)
        case Sum(terms):
            return next((part for part in map(not_gaussian, terms) if part is not None), None)
        case Attend(value=value):
            return not_gaussian(value) if u.uniform and u.rate is None else u
    return u


def not_centred(u: Vector) -> Vector | None:
    """The first part of a vector whose mean over coordinates does not vanish with the width;
    None where it vanishes."""
    match u:
        case Read() | Linear() | Bias() | Transposed() | Cotangent() | AttendTransposed():
            return None
        case (
            Scale(of=of)
            | Gate(of=of)
            | Normalise(of=of)
            | Divide(of=of)
            | Rescale(of=of)
            | Mix(of=of)
            | Dropout(of=of)
            | Truncate(of=of)
            | Experts(of=of)
        ):
            return not_centred(of)
        case Sum(terms):
            return next((part for part in map(not_centred, terms) if part is not None), None)
        case Product(left, right):
            return None if not_centred(left) is None or not_centred(right) is None else u
        case Attend(value=value):
            return not_centred(value)
    return u


def not_alike(u: Vector) -> Vector | None:
    """The first part of a vector, outside of matrices, whose coordinates may have laws of their own
    (what a function without a rule returns); None where all have one."""
    if isinstance(u, Sampled):
        return u
    if isinstance(u, (Linear, Bias, Read, Cotangent, Transposed)):
        return None
    return next((part for part in map(not_alike, children(u)) if part is not None), None)


def masks(u: Vector) -> frozenset[object]:
    """What sets a vector's own coordinates to zero: names of dropout, and truncation."""
    match u:
        case Linear() | Bias() | Transposed() | Read() | Cotangent():
            return frozenset()
        case Divide(of=of) | Attend(value=of):
            return masks(of)
        case AttendTransposed(leg="bias"):
            return frozenset()
        case AttendTransposed(attend, of, leg):
            return masks({"value": of, "query": attend.key, "key": attend.query}[leg])
    own: frozenset[object] = (
        frozenset((u.name,))
        if isinstance(u, Dropout)
        else frozenset((Truncate,))
        if isinstance(u, Truncate)
        else frozenset()
    )
    return own.union(*map(masks, children(u)))


def check_writes(arch: Architecture) -> None:
    """Raise ``NoRule`` unless every branch's output is zero-mean through its last matrix, so
    that its overlap with older writes is 0, and states are Gaussian where an activation acts on
    a read itself, and queries that are said to be zero are."""
    for block in arch.sub_blocks:
        _require_fresh(block.branch)
        for node in (node for node in block.attention if node.scores.scale == "zero_query"):
            _require_zero(arch, node)
    dropped: Vector | None = None
    for kind in (*arch.kind_table, -1):
        branch = arch.readout.branch if kind < 0 else arch.sub_blocks[kind].branch
        for node in walk(branch) if dropped is not None else ():
            if isinstance(node, Activate) and Read in roots(node.of):
                raise no_rule(
                    node,
                    f"states are not Gaussian, {dropped} was added to them",
                    "an activation of a matrix's output, or no dropout of writes",
                )
        if kind >= 0 and dropped is None:
            dropped = next((node for node in _outermost(branch) if isinstance(node, Dropout)), None)


def _require_zero(arch: Architecture, node: Attend) -> None:
    """Scores of 'zero_query' are taken to be zero: their queries' matrices must be."""
    for leg in (leg for leg in walk(node.query) if isinstance(leg, Linear)):
        if np.any(np.asarray(evaluate(leg.variance, arch.number_tables)) != 0):
            raise no_rule(
                node,
                f"score_scale=zero_query, and the variance of {leg.weight} is not 0",
                "0, or scores of another scale",
            )


def _outermost(branch: Vector) -> Iterator[Vector]:
    """The nodes around a branch's last matrices."""
    yield branch
    if not isinstance(branch, (Linear, Bias)):
        for child in children(branch):
            yield from _outermost(child)


def ends_in_matrix(u: Vector) -> bool:
    """Tell whether a vector's last step is a zero-mean matrix or bias, or sums of such."""
    return _stale(u) is None


def _require_fresh(branch: Vector) -> None:
    if (part := _stale(branch)) is not None:
        raise no_rule(
            branch,
            f"{part} does not end in a zero-mean matrix, so its overlap with older writes has no "
            f"rule",
            "a branch whose last step is a matrix",
        )


def _stale(u: Vector) -> Vector | None:
    """The first part of a vector that does not end in a zero-mean matrix or bias."""
    match u:
        case Linear() | Bias():
            return None
        case (
            Scale(of=of)
            | Gate(of=of)
            | Normalise(of=of)
            | Dropout(of=of)
            | Rescale(of=of)
            | Truncate(of=of)
            | Mix(of=of)
            | Experts(of=of)
        ):
            return _stale(of)
        case Sum(terms):
            return next((part for part in map(_stale, terms) if part is not None), None)
    return u

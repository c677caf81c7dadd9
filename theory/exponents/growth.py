"""How a description's states grow, read off its expressions: what a rule keeps, what it adds, and whether writes grow with the state.

    additive   h' = lambda h + eps f        (f or f / norm(f))     kept lambda, added eps
    rotation   h' = norm(h + a f / norm f)  with its norm in a lane apart: added a, log norm += log sqrt(1 + a^2)
    other      post-norm, skipless, several lanes: bounded states, no law of gradients here

A write's degree is the power of the state's scale that it carries: 0 behind a norm, 1 for branches that are homogeneous, none otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from sigprop.architecture import Architecture
from sigprop.expression import Activate, Attend, Bias, Normalise, Product, Read, Scale, State, Sum, Vector, Write
from sigprop.rotation import Modulate, Project
from sigprop.scalar import Constant, Scalar
from sigprop.traversal import children, walk

ADDITIVE, ROTATION, OTHER = "additive", "rotation", "other"


@dataclass(frozen=True)
class Growth:
    """form: one of the three above; kept, added: scalars of the rule (one for all sub-blocks); degree: of the writes, None: no power."""

    form: str
    kept: Scalar = Constant(1)
    added: Scalar = Constant(1)
    degree: int | None = None
    learned: bool = False


def growth(arch: Architecture) -> Growth:
    """What the rules and branches of ``arch`` say of its growth; rules that differ between sub-blocks are 'other'."""
    found = {_rule(block.rule[0]) for block in arch.sub_blocks}
    if len(found) > 1 or arch.lanes > 1 or len(arch.bands) > 1 or any(isinstance(node, Write) for b in arch.sub_blocks for node in walk(b.read)):
        return Growth(OTHER)
    rule = found.pop()
    if rule is None:
        return Growth(OTHER)
    form, kept, added, normed = rule
    degrees = {0 if normed else degree(block.branch, degree(block.read, 1)) for block in arch.sub_blocks}
    learned = any(isinstance(node, Modulate) for block in arch.sub_blocks for node in walk(block.rule[0]))
    return Growth(form, kept, added, degrees.pop() if len(degrees) == 1 else None, learned)


def _rule(rule: Vector) -> tuple[str, Scalar, Scalar, bool] | None:
    """(form, kept, added, whether the write is normalised) of one lane's rule."""
    turned = isinstance(rule, Normalise)
    terms = rule.of if turned else rule
    if not isinstance(terms, Sum) or len(terms.terms) != 2:
        return None
    (kept, state), (added, write) = (_scaled(term) for term in terms.terms)
    normed = isinstance(write, Normalise)
    inside = write.of if normed else write
    tangent = isinstance(inside, Project) and inside.along == State(0)
    if state != State(0) or not (tangent or inside == Write()):
        return None
    if turned:
        return (ROTATION, kept, added, True) if tangent and normed and kept == Constant(1) else None
    return None if tangent else (ADDITIVE, kept, added, normed)


def _scaled(term: Vector) -> tuple[Scalar, Vector]:
    """(factor, what it multiplies); modulators learned by the network count as 1, their power beside the fixed gain is not a size's."""
    factor: Scalar = Constant(1)
    while isinstance(term, (Scale, Modulate)):
        if isinstance(term, Scale):
            factor = term.factor if factor == Constant(1) else factor * term.factor
        term = term.of
    return factor, term


def degree(expression: Vector, of_read: int | None) -> int | None:
    """The power of the state's scale in a read (leaves: states, ``of_read`` = 1) or branch (leaf: its read); None where it has none."""
    match expression:
        case State() | Read():
            return of_read
        case Normalise():
            return 0
        case Bias():
            return 0
        case Activate(activation, of, order):
            inner = degree(of, of_read)
            homogeneous = inner is not None and _homogeneous(activation)
            return 0 if inner == 0 else (inner if order == 0 else 0) if homogeneous else None
        case Product(left, right):
            both = degree(left, of_read), degree(right, of_read)
            return None if None in both else sum(part for part in both if part is not None)
        case Attend(query, key, value):
            scores = degree(query, of_read), degree(key, of_read)
            return degree(value, of_read) if scores == (0, 0) else None
    found = {degree(child, of_read) for child in children(expression)}
    return found.pop() if len(found) == 1 else None


def _homogeneous(activation: object) -> bool:
    """phi(k x) = k phi(x) for k > 0, seen at both signs."""
    import numpy as np

    x = np.array([-2.0, -0.5, 0.7, 3.0], dtype=np.float32)
    return bool(np.allclose(np.asarray(activation.function(8 * x)), 8 * np.asarray(activation.function(x)), rtol=1e-5, atol=1e-6))  # type: ignore[attr-defined]

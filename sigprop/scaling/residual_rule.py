"""The residual rule, read once off a description's expressions: what it keeps of the state, what it
adds, whether writes grow with the state.

    additive   h' = lambda h + eps f        (f or f / norm(f))     kept lambda, added eps, one for
               each kind of sub-block
    rotation   h' = norm(h + a f / norm f)  with its norm in a lane apart: added a, log norm += log
               sqrt(1 + a^2)
    other      post-norm, skipless, several lanes, coordinates that come and go: no count of pairs,
               ``why`` says it

A write's homogeneity is the power of the state's scale that it carries: 0 behind a norm, 1 for
branches that are homogeneous, none otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from sigprop.description.architecture import Architecture
from sigprop.language.activation import Activation
from sigprop.language.expression import (
    Activate,
    Attend,
    Bias,
    Normalise,
    Product,
    Read,
    Scale,
    State,
    Sum,
    Vector,
    Write,
)
from sigprop.language.nodes import Modulate, Ones, Project
from sigprop.language.scalar import Constant, Scalar
from sigprop.language.traversal import children, walk

ADDITIVE, ROTATION, OTHER = "additive", "rotation", "other"


@dataclass(frozen=True)
class ResidualRule:
    """form: one of the three above; kept: the skip's factor; added, normed: of each kind of
    sub-block, the write's factor and whether a norm stands between; homogeneity: of the writes,
    None: no one power; learned: whether a modulator is; why: of 'other', the reason."""

    form: str
    kept: Scalar = Constant(1)
    added: tuple[Scalar, ...] = ()
    normed: tuple[bool, ...] = ()
    homogeneity: int | None = None
    learned: bool = False
    why: str = ""


def residual_rule(arch: Architecture) -> ResidualRule:
    """What the rules and branches of ``arch`` say; forms or skips that differ between sub-blocks
    are 'other'."""
    if len(arch.bands) > 1:
        return ResidualRule(OTHER, why="coordinates come and go")
    if arch.lanes > 1:
        return ResidualRule(OTHER, why="several lanes")
    if any(len(block.reads) > 1 for block in arch.sub_blocks):
        return ResidualRule(OTHER, why="several reads")
    found = [_rule(block.rule[0]) for block in arch.sub_blocks]
    if any(rule is None for rule in found):
        return ResidualRule(OTHER, why="the rule is neither h + eps f nor a rotation")
    rules = [rule for rule in found if rule is not None]
    if len({(rule[0], rule[1]) for rule in rules}) > 1:
        return ResidualRule(OTHER, why="different rules in one network")
    form, kept = rules[0][:2]
    powers = {
        0 if rule[3] else homogeneity(block.branch, homogeneity(block.reads[0], 1))
        for rule, block in zip(rules, arch.sub_blocks, strict=True)
    }
    learned = any(
        isinstance(node, Modulate) for block in arch.sub_blocks for node in walk(block.rule[0])
    )
    one = powers.pop() if len(powers) == 1 else None
    return ResidualRule(
        form, kept, tuple(rule[2] for rule in rules), tuple(rule[3] for rule in rules), one, learned
    )


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
    """(factor, what it multiplies); modulators learned by the network count as 1, their power
    beside the fixed gain is not a size's."""
    factor: Scalar = Constant(1)
    while isinstance(term, (Scale, Modulate)):
        if isinstance(term, Scale):
            factor = term.factor if factor == Constant(1) else factor * term.factor
        term = term.of
    return factor, term


def homogeneity(expression: Vector, of_read: int | None) -> int | None:
    """The power of the state's scale in a read (leaves: states, ``of_read`` = 1) or branch
    (leaf: its read); None where it has none."""
    match expression:
        case State() | Read():
            return of_read
        case Normalise():
            return 0
        case Bias() | Ones():
            return 0
        case Activate(activation, of, order):
            inner = homogeneity(of, of_read)
            plain = inner is not None and homogeneous(activation)
            return 0 if inner == 0 else (inner if order == 0 else 0) if plain else None
        case Product(left, right):
            both = homogeneity(left, of_read), homogeneity(right, of_read)
            return None if None in both else sum(part for part in both if part is not None)
        case Attend(query, key, value):
            scores = homogeneity(query, of_read), homogeneity(key, of_read)
            return (
                homogeneity(value, of_read)
                if scores == (0, 0) or expression.scores.uniform
                else None
            )
    found = {homogeneity(child, of_read) for child in children(expression)}
    return found.pop() if len(found) == 1 else None


def homogeneous(activation: Activation) -> bool:
    """phi(k x) = k phi(x) for k > 0, seen at both signs."""
    import numpy as np

    x = np.array([-2.0, -0.5, 0.7, 3.0], dtype=np.float32)
    scaled, plain = np.asarray(activation.function(8 * x)), np.asarray(activation.function(x))
    return bool(np.allclose(scaled, 8 * plain, rtol=1e-5, atol=1e-6))

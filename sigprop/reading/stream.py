"""The residual stream of a module: the chain of sums from its output down to the stem.

At every sum one side is the stream and all others are computed from it: those are the writes. A
norm that the chain passes through belongs to the sum below it (post-norm), to the read-out (the
last one of a network whose branches read norms), or to the stem (the first).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sigprop.errors import InputError
from sigprop.modules.pointwise import Expression, X
from sigprop.modules.terms import (
    Fixed,
    Gain,
    Matrix,
    Norm,
    Part,
    Plus,
    Pointwise,
    Shift,
    Softmax,
    Term,
    Unknown,
    Weight,
)
from sigprop.reading.stem import where

WRAPS = (Norm, Gain, Shift)
"""What a norm is made of: itself, its parameters."""


@dataclass(frozen=True)
class Step:
    """One application. state: the stream before it; factor: what the sum multiplies it with;
    writes: its other sides; total: the sum; after: the stream after it, which a norm may have
    passed (outermost first in ``norms``)."""

    state: Term
    factor: float
    writes: tuple[Term, ...]
    total: Term
    after: Term
    norms: tuple[Term, ...]


@dataclass(frozen=True)
class Stream:
    """stem: the state before the first application; steps: first one first; readout: from the
    output to the last state, outermost first."""

    stem: Term
    steps: tuple[Step, ...]
    readout: tuple[Term, ...]


def stream(output: Term) -> Stream:
    """Find the stream below a module's output; raises ``InputError`` where there is none."""
    head, term = _to_the_stream(output)
    steps: list[Step] = []
    norms: list[Term] = []
    after = term
    while True:
        if isinstance(term, WRAPS):
            norms.append(term)
            term = term.of
            continue
        found = _split(term)
        if found is None:
            break
        state, factor, writes = found
        steps.append(Step(state, factor, writes, term, after, tuple(norms)))
        term = after = state
        norms = []
    unknown = next((of for of in (term, *reversed(head)) if isinstance(of, Unknown)), None)
    if not steps and unknown is not None:
        raise InputError(
            f"{where(unknown)}: operation {unknown.operation} has no rule, and the residual stream "
            f"ends there; accepted: sums, norms and a head above it"
        )
    if not steps:
        raise InputError(
            "model: no residual stream below its output (no sum of a state and what is computed "
            "from it); accepted: a module with residual connections"
        )
    ordered = (*reversed(steps),)
    stem = ordered[0].state
    last = ordered[-1]
    if last.norms and not _post(ordered):
        ordered = (
            *ordered[:-1],
            Step(last.state, last.factor, last.writes, last.total, last.total, ()),
        )
        head = (*head, *last.norms)
    return Stream(stem, ordered, head)


def check_outputs(outputs: Sequence[Term]) -> None:
    """Raise ``InputError`` for several outputs, unless all are computed from the first, or are on
    the way to it (pooled states, caches, earlier states)."""
    first = outputs[0]
    for place, other in enumerate(outputs[1:], 2):
        if other is not first and not depends(other, first) and not depends(first, other):
            raise InputError(
                f"model: {len(outputs)} outputs, and output {place} at {where(other)} is no part "
                f"of the first one's stream; accepted: one output, or others on the way to it"
            )


def _post(steps: tuple[Step, ...]) -> bool:
    """Tell whether the norm after the last sum is one of a norm after every sum, not the
    read-out's."""
    *before, last = steps
    if before:
        return bool(before[-1].norms)
    return not any(_reads_a_norm(write, last.state) for write in last.writes)


def _reads_a_norm(term: Term, state: Term) -> bool:
    """Tell whether a norm of the state stands in a branch."""
    seen: set[int] = set()
    below = [term]
    while below:
        node = below.pop()
        if id(node) in seen or node is state:
            continue
        seen.add(id(node))
        if isinstance(node, Norm) and _below(node.of) is state:
            return True
        below.extend(node.inside)
    return False


def unwrapped(term: Term) -> Term:
    """Return a norm without its parameters, any other term as it is."""
    while isinstance(term, (Gain, Shift)):
        term = term.of
    return term


def _below(term: Term) -> Term:
    while isinstance(term, WRAPS):
        term = term.of
    return term


def _multiple(term: Term) -> bool:
    """Tell whether a term is a number times another."""
    return isinstance(term, Pointwise) and term.function.factor is not None


def _to_the_stream(output: Term) -> tuple[tuple[Term, ...], Term]:
    """Walk from the output through a head (whatever is computed from one thing alone: matrices,
    activations, pooled or chosen tokens) to the first norm or sum."""
    passed: list[Term] = []
    term = output
    while isinstance(term, (Matrix, Pointwise, Part, Gain, Shift, Softmax, Unknown)):
        if isinstance(term, (Gain, Shift)) and isinstance(_below(term), Plus):
            break
        if isinstance(term, Pointwise) and _multiple(term) and isinstance(term.of, Plus):
            break
        below = [of for of in term.inside if not isinstance(of, (Fixed, Weight))]
        if len(below) != 1:
            break
        passed.append(term)
        term = below[0]
    return tuple(passed), term


def addends(total: Term) -> list[tuple[float, Term]]:
    """The terms of a sum and their factors, inner sums opened that nothing else uses."""
    parts: list[tuple[float, Term]] = []
    open_terms = [(1.0, total)]
    while open_terms:
        factor, term = open_terms.pop(0)
        scale = term.function.factor if isinstance(term, Pointwise) else None
        if scale is not None and (term is total or term.uses <= 1):
            assert isinstance(term, Pointwise)
            open_terms.insert(0, (factor * scale, term.of))
        elif isinstance(term, Plus) and (term is total or term.uses <= 1):
            open_terms = [(factor, term.left), (factor, term.right), *open_terms]
        else:
            parts.append((factor, term))
    return parts


def _split(total: Term) -> tuple[Term, float, tuple[Term, ...]] | None:
    """The state, its factor and the writes of a sum, or of a multiple of one; None where no side is
    the state."""
    if not isinstance(total, Plus) and not _multiple(total):
        return None
    parts = addends(total)
    for factor, state in parts:
        others = [(f, t) for f, t in parts if t is not state]
        if others and all(depends(term, state) for _, term in others):
            if isinstance(state, (Fixed, Weight)):
                return None
            return state, factor, tuple(scaled(f, t) for f, t in others)
    return None


def scaled(factor: float, term: Term) -> Term:
    """Return factor times a term."""
    return term if factor == 1.0 else Pointwise(term.node, term, Expression("mul", (X, factor)))


def depends(term: Term, on: Term) -> bool:
    """Tell whether a term is computed from another (and is not it)."""
    seen: set[int] = set()
    below = list(term.inside)
    while below:
        node = below.pop()
        if node is on:
            return True
        if id(node) not in seen:
            seen.add(id(node))
            below.extend(node.inside)
    return False

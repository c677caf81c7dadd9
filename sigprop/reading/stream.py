"""The residual stream of a module: the chain of sums from its output down to the stem.

At every sum one side is the stream and all others are computed from it: those are the writes. A
norm that the chain passes through belongs to the sum below it (post-norm), to the read-out (the
last one of a network whose branches read norms), or to the stem (the first).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TypeGuard

from sigprop.errors import InputError
from sigprop.modules.pointwise import Expression, X
from sigprop.modules.terms import (
    Fixed,
    Gain,
    Matrix,
    Norm,
    Plus,
    Pointwise,
    Shift,
    Term,
    Unknown,
    Weight,
)
from sigprop.reading.stem import where
from sigprop.reading.streams.waists import waists

WRAPS = (Norm, Gain, Shift)
"""What a norm is made of: itself, its parameters."""


def wraps(term: Term) -> TypeGuard[Norm | Gain | Shift | Pointwise]:
    """Tell whether a term is a part of a norm, or a multiple of one."""
    return isinstance(term, WRAPS) or (_multiple(term) and isinstance(term.of, WRAPS))


@dataclass(frozen=True)
class Step:
    """One application. state: the stream before it; factor: what the sum multiplies it with, 0
    where there is no sum; writes: its other sides; total: the sum; after: the stream after it,
    which a norm may have passed (outermost first in ``norms``)."""

    state: Term
    factor: float
    writes: tuple[Term, ...]
    total: Term
    after: Term
    norms: tuple[Term, ...]


@dataclass(frozen=True)
class Stream:
    """stem: the state before the first application; steps: first one first; readout: the norm
    above the last state, outermost first; head: what stands above that, which is no part of the
    description."""

    stem: Term
    steps: tuple[Step, ...]
    readout: tuple[Term, ...]
    head: tuple[Term, ...] = ()


def stream(output: Term) -> Stream:
    """Find the stream below a module's output, or the layers of a network without skip connections;
    raises ``InputError`` where there is neither."""
    passed = list(waists(output))
    top = next((place for place, term in enumerate(passed) if _is_top(term)), None)
    if top is None:
        return skipless(passed)
    steps, readout = _steps(passed[top]), ()
    last = steps[-1]
    if last.norms and not _post(steps):
        own = Step(last.state, last.factor, last.writes, last.total, last.total, ())
        steps, readout = (*steps[:-1], own), last.norms
    return Stream(steps[0].state, steps, readout, (*passed[:top],))


def _is_top(term: Term) -> bool:
    """Tell whether a term is a sum of a state and its writes, or a norm of one."""
    return _split(_below(term)) is not None


def _steps(top: Term) -> tuple[Step, ...]:
    """The chain of sums from the last one down, first one first."""
    steps: list[Step] = []
    norms: list[Term] = []
    term = after = top
    while True:
        if wraps(term):
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
    return (*reversed(steps),)


def skipless(passed: Sequence[Term]) -> Stream:
    """Find the layers of a network without sums: the outputs of matrices that everything passes
    through, of one width from the first one on. passed: what everything passes through, outermost
    first. Raises ``InputError`` for fewer than two."""
    every = [term for term in reversed(passed) if isinstance(term, Matrix)]
    states = [term for term in every if term.rows == every[0].rows]
    if len(states) < 2:
        raise _no_stream(passed, [term.rows for term in every])
    steps = tuple(
        Step(state, 0.0, (after,), after, after, ())
        for state, after in zip(states, states[1:], strict=False)
    )
    above = passed[: passed.index(states[-1])]
    norms = [*takewhile(wraps, reversed(above))][::-1]
    return Stream(states[0], steps, (*norms,), (*above[: len(above) - len(norms)],))


def _no_stream(passed: Sequence[Term], widths: Sequence[int]) -> InputError:
    """Return the error for a module without a stream."""
    unknown = next((of for of in reversed(passed) if isinstance(of, Unknown)), None)
    if unknown is not None:
        return InputError(
            f"{where(unknown)}: operation {unknown.operation} has no rule, and the residual stream "
            f"ends there; accepted: sums, norms and a head above it"
        )
    if len(widths) > 1:
        return InputError(
            f"model: no skip connections, and layers of {', '.join(map(str, widths))} features; "
            f"accepted: residual connections, or layers of the first one's width"
        )
    return InputError(
        "model: no residual stream below its output (no sum of a state and what is computed "
        "from it); accepted: a module with residual connections, or layers of one width"
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
    while wraps(term):
        term = term.of
    return term


def _multiple(term: Term) -> TypeGuard[Pointwise]:
    """Tell whether a term is a number times another."""
    return isinstance(term, Pointwise) and term.function.factor is not None


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

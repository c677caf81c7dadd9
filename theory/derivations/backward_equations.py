"""The equations of the way back through one kind of sub-block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy

from sigprop.theory.calculus.linear import WRITE, advance, overlap
from sigprop.theory.calculus.rules import inner
from sigprop.theory.calculus.transpose import transpose
from sigprop.theory.derivations.reading import A, B, Deriver, Named, S, T


def backward(d: Deriver, kind: int) -> Iterator[Named]:
    """Cotangent, its way through the branch, and the gradients by the states, of one kind of
    sub-block."""
    yield _cotangent(d, kind)
    yield from _through_branch(d, kind)
    yield from _overlaps(d, kind)
    yield from _states(d, kind)


def _cotangent(d: Deriver, kind: int) -> Named:
    """The Gram of the gradients by the branch's output."""
    left, right = (
        {i: c for (i, _), c in d.rule(kind, place, token)[1].items()}
        for place, token in ((A, T), (B, S))
    )
    gram = overlap(left, right, lambda i, j: d.function(d.lane("H", i, j), A + 1, B + 1))
    return (
        d.label("cotangent", kind),
        sympy.Eq(d.function(d.named("Delta", kind), A, B), d.over_bands(gram)),
    )


def _through_branch(d: Deriver, kind: int) -> Iterator[Named]:
    """The Grams of the gradients by what the branch reads."""
    gradient, environment = transpose(d.structure.blocks[kind].branch), d.environment(kind)
    reads = range(len(d.structure.blocks[kind].reads))
    for k in reads:
        for m in reads:
            left, right = gradient.by_read(k), gradient.by_read(m)
            value = (
                sympy.Integer(0)
                if left is None or right is None
                else d.masked(inner(left, "a", right, "b", environment))
            )
            yield (
                d.label(d.by_read("backward_write", kind, k, m), kind),
                sympy.Eq(d.function(d.by_read("Y", kind, k, m), A, B), value + _modulated(d, kind)),
            )


def _overlaps(d: Deriver, kind: int) -> Iterator[Named]:
    """The overlaps of gradients by the reads with earlier states' gradients."""
    transition, back = _transposed(d.rule(kind, B, S)[0]), d.turned(kind, B, S)
    reads = range(len(d.structure.blocks[kind].reads))
    for k in reads:
        later = [d.function(d.by_read(d.lane("Z", i), kind, k), A, B + 1) for i in d.lanes]
        writes = [d.function(d.by_read("Y", kind, k, m), A, B) for m in reads]
        for i, value in enumerate(advance(transition, back, later, writes)):
            yield (
                d.label(d.by_read(d.lane("backward_overlap", i), kind, k), kind),
                sympy.Eq(d.function(d.by_read(d.lane("Z", i), kind, k), A, B), value),
            )


def _states(d: Deriver, kind: int) -> Iterator[Named]:
    """The Grams of the gradient by the state before with every other."""
    transition, back = _transposed(d.rule(kind, A, T)[0]), d.turned(kind, A, T)
    reads = range(len(d.structure.blocks[kind].reads))
    for j in d.lanes:
        later = [d.function(d.lane("H", i, j), A + 1, B) for i in d.lanes]
        writes = [d.function(d.by_read(d.lane("Z", j), kind, k), A, B) for k in reads]
        for i, value in enumerate(advance(transition, back, later, writes)):
            yield (
                d.label(d.lane("gradient", i, j), kind),
                sympy.Eq(d.function(d.lane("H", i, j), A, B), value + d.tapped(i, j)),
            )


def _transposed(transition: dict[tuple[int, int], Any]) -> dict[tuple[int, int], Any]:
    """Return the transition between lanes, backwards."""
    return {(j, i): c for (i, j), c in transition.items()}


def _modulated(d: Deriver, kind: int) -> Any:
    """Return what comes back through a modulator: dz/dm = sqrt(n) <g', dh'/dm> is of order one at
    every width; mu = n |dm/dr|^2."""
    (transition, into), form, result = d.rule(kind, A, T), d.form(A, T), sympy.Integer(0)
    for node in d.structure.blocks[kind].modulators.values():
        m = form.modulate(node)
        turned = {j: sympy.diff(c, m) for (_, j), c in transition.items()} | {
            WRITE: sympy.diff(into[0, 0], m)
        }
        same = sympy.KroneckerDelta(A, B) * (sympy.KroneckerDelta(T, S) if d.arch.tokens > 1 else 1)
        mu, later = sympy.Function("mu")(*m.args), d.function("H", A + 1, A + 1, T, T)
        result += same * mu * later * sympy.simplify(form.overlap(turned, turned))
    return result

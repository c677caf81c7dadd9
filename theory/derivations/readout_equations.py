"""The equations of the read-out: its output, and the gradient it hands to the states it sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy

from sigprop.theory.calculus.linear import advance, overlap
from sigprop.theory.calculus.rules import inner
from sigprop.theory.calculus.transpose import transpose
from sigprop.theory.derivations.reading import TAP, A, B, D, Deriver, Named, S, T


def readout(d: Deriver) -> Iterator[Named]:
    """The gradient that the read-out hands to the states it sees; P(t, s): the Gram of its
    vectors; tap(a): 1 where it looks."""
    (left,), (right,) = (
        d.reads(len(d.arch.sub_blocks), place, token) for place, token in ((A, T), (B, S))
    )
    gram = overlap(left, right, lambda i, j: d.state(i, j, A, B))
    yield "readout_read", sympy.Eq(d.function("Rv", A, B), d.over_bands(gram))
    yield from _branch(d)
    for i in d.lanes:
        yield from _boundary(d, i, left, right)
    if d.pooled:
        for kind in range(len(d.arch.sub_blocks)):
            yield from _earlier(d, kind, right)


def _branch(d: Deriver) -> Iterator[Named]:
    """The Grams of the read-out's output, and of the gradient by what it reads."""
    last = len(d.arch.sub_blocks)
    environment = d.environment(last, tied=False)
    environment.cotangents = dict.fromkeys(environment.cotangents, d.readout_gram())
    branch = d.structure.blocks[last].branch
    y = transpose(branch).by_read()
    assert y is not None
    tap = TAP(A) * TAP(B) if d.pooled else 1
    for name, head, u in (("readout_write", "V", y), ("readout_output", "O", branch)):
        yield name, sympy.Eq(d.function(head, A, B), tap * inner(u, "a", u, "b", environment))


def _boundary(d: Deriver, i: int, left: dict[int, Any], right: dict[int, Any]) -> Iterator[Named]:
    """What the way back begins with in one lane, at the last state."""
    for suffix in d.read_suffixes:
        yield (
            d.lane("backward_boundary", i) + suffix,
            sympy.Eq(d.function(d.lane("Z", i) + suffix, A, D), sympy.Integer(0)),
        )
    for j in d.lanes:
        value = left.get(i, 0) * right.get(j, 0) * d.function("V", A, B)
        yield (
            d.lane("gradient_boundary", i, j),
            sympy.Eq(d.function(d.lane("H", i, j), D, D), value.subs({A: D, B: D})),
        )
    if d.pooled:
        value = right.get(i, 0) * d.function("V", A, B)
        yield (
            d.lane("readout_boundary", i),
            sympy.Eq(d.function(d.lane("U", i), A, D), value.subs(B, D)),
        )


def _earlier(d: Deriver, kind: int, right: dict[int, Any]) -> Iterator[Named]:
    """The overlaps of the read-out's gradient with those of earlier states."""
    transition = {(j, i): c for (i, j), c in d.rule(kind, B, S)[0].items()}
    later = [d.function(d.lane("U", i), A, B + 1) for i in d.lanes]
    into = {(i, 0): c for i, c in right.items()}
    for i, value in enumerate(advance(transition, into, later, [d.function("V", A, B)])):
        yield (
            d.label(d.lane("readout_overlap", i), kind),
            sympy.Eq(d.function(d.lane("U", i), A, B), value),
        )

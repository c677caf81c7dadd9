"""The equations behind ``derive``: what reads, writes, rules and their transposes say of two
applications a and b."""

from __future__ import annotations

from collections.abc import Iterator

import sympy

from sigprop.theory.calculus.linear import advance, overlap
from sigprop.theory.calculus.rules import inner
from sigprop.theory.derivations.backward_equations import backward
from sigprop.theory.derivations.gradient_equations import gradients
from sigprop.theory.derivations.reading import A, B, Deriver, Named, S, T
from sigprop.theory.derivations.readout_equations import readout


def equations(d: Deriver) -> Iterator[Named]:
    """All equations, forward then (where the way back has rules) backward."""
    kinds = range(len(d.arch.sub_blocks))
    for kind in kinds:
        yield from forward(d, kind)
    yield from boundary(d)
    if not d.arch.gradients_known:
        return
    for kind in kinds:
        yield from backward(d, kind)
    yield from readout(d)
    yield from gradients(d)


def forward(d: Deriver, kind: int) -> Iterator[Named]:
    """Read, write, the write's overlap with states, and the states, of one kind of sub-block."""
    yield from _reads(d, kind)
    branch = d.structure.blocks[kind].branch
    write = d.masked(inner(branch, "a", branch, "b", d.environment(kind)))
    yield d.label("write", kind), sympy.Eq(d.function("Gamma", A + 1, B + 1), write)
    yield from _overlaps(d, kind)
    yield from _states(d, kind)
    if d.arch.norm_lane:
        gain = d.form(A, T).gain(d.structure.blocks[kind].rule[0])
        yield d.label("log_norm", kind), sympy.Eq(d.log_norm(A + 1), d.log_norm(A) + gain)


def _reads(d: Deriver, kind: int) -> Iterator[Named]:
    """The Grams of what the branch reads."""
    for k, left in enumerate(d.reads(kind, A, T)):
        for m, right in enumerate(d.reads(kind, B, S)):
            gram = overlap(left, right, lambda i, j: d.state(i, j, A, B))
            yield (
                d.label(d.by_read("read", kind, k, m), kind),
                sympy.Eq(
                    d.function(d.by_read(d.named("R", kind), kind, k, m), A, B),
                    d.over_bands(gram),
                ),
            )


def _overlaps(d: Deriver, kind: int) -> Iterator[Named]:
    """The overlaps of the write with later states."""
    transition, into = d.rule(kind, B, S)
    overlaps = [d.function(d.lane("X", i), A + 1, B) for i in d.lanes]
    writes = [d.function("Gamma", A + 1, B + 1)]
    for i, value in enumerate(advance(transition, into, overlaps, writes)):
        yield (
            d.label(d.lane("overlap", i), kind),
            sympy.Eq(d.function(d.lane("X", i), A + 1, B + 1), value),
        )


def _states(d: Deriver, kind: int) -> Iterator[Named]:
    """The Grams of the next state with every other."""
    transition, into = d.rule(kind, A, T)
    for j in d.lanes:
        before = [d.state(i, j, A, B) for i in d.lanes]
        writes = [d.function(d.lane("X", j), A + 1, B)]
        for i, value in enumerate(advance(transition, into, before, writes)):
            yield d.label(d.lane("state", i, j), kind), sympy.Eq(d.state(i, j, A + 1, B), value)


def boundary(d: Deriver) -> Iterator[Named]:
    """The stem: Grams of the first lanes, and no overlap of any later write with it."""
    left, right = d.first(T), d.first(S)
    for i in d.lanes:
        for j in d.lanes:
            yield d.lane("stem", i, j), sympy.Eq(d.state(i, j, 0, 0), left[i] * right[j] * d.stem)
        yield (
            d.lane("stem_overlap", i),
            sympy.Eq(d.function(d.lane("X", i), A + 1, 0), sympy.Integer(0)),
        )

"""The equations behind ``derive``: what reads, writes, rules and their transposes say of two
applications a and b."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy

from sigprop.description.structure import READOUT
from sigprop.theory.calculus.algebra import exact
from sigprop.theory.calculus.linear import WRITE, advance, overlap
from sigprop.theory.calculus.rules import inner
from sigprop.theory.calculus.transpose import transpose
from sigprop.theory.derivations.reading import TAP, A, B, D, Deriver, S, T

Named = tuple[str, Any]  # a sympy.Eq, which sympy's constructor is not typed to return


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
    for k, left in enumerate(d.reads(kind, A, T)):
        for m, right in enumerate(d.reads(kind, B, S)):
            yield (
                d.label(d.by_read("read", kind, k, m), kind),
                sympy.Eq(
                    d.function(d.by_read(d.named("R", kind), kind, k, m), A, B),
                    d.over_bands(overlap(left, right, lambda i, j: d.state(i, j, A, B))),
                ),
            )
    branch = d.structure.blocks[kind].branch
    yield (
        d.label("write", kind),
        sympy.Eq(
            d.function("Gamma", A + 1, B + 1),
            d.masked(inner(branch, "a", branch, "b", d.environment(kind))),
        ),
    )
    overlaps = [d.function(d.lane("X", i), A + 1, B) for i in d.lanes]
    transition, into = d.rule(kind, B, S)
    for i, value in enumerate(
        advance(transition, into, overlaps, [d.function("Gamma", A + 1, B + 1)])
    ):
        yield (
            d.label(d.lane("overlap", i), kind),
            sympy.Eq(d.function(d.lane("X", i), A + 1, B + 1), value),
        )
    transition, into = d.rule(kind, A, T)
    for j in d.lanes:
        old = [d.state(i, j, A, B) for i in d.lanes]
        for i, value in enumerate(
            advance(transition, into, old, [d.function(d.lane("X", j), A + 1, B)])
        ):
            yield d.label(d.lane("state", i, j), kind), sympy.Eq(d.state(i, j, A + 1, B), value)
    if d.arch.norm_lane:
        gain = d.form(A, T).gain(d.structure.blocks[kind].rule[0])
        yield d.label("log_norm", kind), sympy.Eq(d.log_norm(A + 1), d.log_norm(A) + gain)


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


def backward(d: Deriver, kind: int) -> Iterator[Named]:
    """Cotangent, its way through the branch, and the gradients by the states, of one kind of
    sub-block."""
    (ma, ba), (mb, bb) = d.rule(kind, A, T), d.rule(kind, B, S)
    ra, rb = d.turned(kind, A, T), d.turned(kind, B, S)
    reads = range(len(d.structure.blocks[kind].reads))

    def later(i, j):
        return d.function(d.lane("H", i, j), A + 1, B + 1)

    yield (
        d.label("cotangent", kind),
        sympy.Eq(
            d.function(d.named("Delta", kind), A, B),
            d.over_bands(
                overlap(
                    {i: c for (i, _), c in ba.items()}, {i: c for (i, _), c in bb.items()}, later
                )
            ),
        ),
    )
    gradient, environment = transpose(d.structure.blocks[kind].branch), d.environment(kind)
    for k in reads:
        for m in reads:
            y, other = gradient.by_read(k), gradient.by_read(m)
            value = (
                sympy.Integer(0)
                if y is None or other is None
                else d.masked(inner(y, "a", other, "b", environment))
            )
            yield (
                d.label(d.by_read("backward_write", kind, k, m), kind),
                sympy.Eq(d.function(d.by_read("Y", kind, k, m), A, B), value + _modulated(d, kind)),
            )
    turned = {(j, i): c for (i, j), c in mb.items()}
    for k in reads:
        old = [d.function(d.by_read(d.lane("Z", i), kind, k), A, B + 1) for i in d.lanes]
        new = [d.function(d.by_read("Y", kind, k, m), A, B) for m in reads]
        for i, value in enumerate(advance(turned, rb, old, new)):
            yield (
                d.label(d.by_read(d.lane("backward_overlap", i), kind, k), kind),
                sympy.Eq(d.function(d.by_read(d.lane("Z", i), kind, k), A, B), value),
            )
    turned = {(j, i): c for (i, j), c in ma.items()}
    for j in d.lanes:
        rows = [d.function(d.lane("H", i, j), A + 1, B) for i in d.lanes]
        new = [d.function(d.by_read(d.lane("Z", j), kind, k), A, B) for k in reads]
        for i, value in enumerate(advance(turned, ra, rows, new)):
            yield (
                d.label(d.lane("gradient", i, j), kind),
                sympy.Eq(d.function(d.lane("H", i, j), A, B), value + d.tapped(i, j)),
            )


def _modulated(d: Deriver, kind: int) -> Any:
    """What comes back through a modulator: dz/dm = sqrt(n) <g', dh'/dm> is of order one at every
    width; mu = n |dm/dr|^2."""
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


def readout(d: Deriver) -> Iterator[Named]:
    """The gradient that the read-out hands to the states it sees; P(t, s): the Gram of its
    vectors; tap(a): 1 where it looks."""
    kind = len(d.arch.sub_blocks)
    (left,), (right,) = d.reads(kind, A, T), d.reads(kind, B, S)
    yield (
        "readout_read",
        sympy.Eq(
            d.function("Rv", A, B),
            d.over_bands(overlap(left, right, lambda i, j: d.state(i, j, A, B))),
        ),
    )
    environment = d.environment(kind, tied=False)
    environment.cotangents = dict.fromkeys(environment.cotangents, d.readout_gram())
    branch = d.structure.blocks[kind].branch
    y = transpose(branch).by_read()
    assert y is not None
    seen = TAP(A) * TAP(B) if d.pooled else 1
    yield (
        "readout_write",
        sympy.Eq(d.function("V", A, B), seen * inner(y, "a", y, "b", environment)),
    )
    yield (
        "readout_output",
        sympy.Eq(d.function("O", A, B), seen * inner(branch, "a", branch, "b", environment)),
    )
    for i in d.lanes:
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
            own = right.get(i, 0) * d.function("V", A, B)
            yield (
                d.lane("readout_boundary", i),
                sympy.Eq(d.function(d.lane("U", i), A, D), own.subs(B, D)),
            )
    if d.pooled:
        for kind in range(len(d.arch.sub_blocks)):
            turned = {(j, i): c for (i, j), c in d.rule(kind, B, S)[0].items()}
            old = [d.function(d.lane("U", i), A, B + 1) for i in d.lanes]
            into = {(i, 0): c for i, c in right.items()}
            for i, value in enumerate(advance(turned, into, old, [d.function("V", A, B)])):
                yield (
                    d.label(d.lane("readout_overlap", i), kind),
                    sympy.Eq(d.function(d.lane("U", i), A, B), value),
                )


def gradients(d: Deriver) -> Iterator[Named]:
    """Weight gradients of a slot, and the NTK (its Delta and H are those of one read-out vector
    shared by all tokens).

    Where attention mixes tokens the NTK is given by sum_ts P(t, s) Theta(t, s) for every read-out
    Gram P.
    """
    total: Any = 0
    mixes = bool(d.structure.scores) and d.arch.tokens > 1

    def both_tokens(amount):
        return d.over_tokens(amount) if mixes else amount

    slot = sympy.Symbol("sigma", integer=True)
    for kind, block in enumerate(d.arch.sub_blocks):
        environment = d.environment(kind, tied=False)
        for weight, uses in transpose(block.branch).uses.items():
            amount: Any = 0
            for x, cotangent in uses:
                for x2, cotangent2 in uses:
                    cotangents = inner(cotangent, "a", cotangent2, "b", environment)
                    amount += (
                        cotangents
                        * (1 if x is None or x2 is None else inner(x, "a", x2, "b", environment))
                        if cotangents != 0
                        else 0
                    )
            both = sympy.KroneckerDelta(d.slot(weight)(A), slot) * sympy.KroneckerDelta(
                d.slot(weight)(B), slot
            )
            yield (
                f"weight_gradient[{weight}]",
                sympy.Eq(
                    sympy.Function("W_" + weight)(slot), summed(d, both * amount, tokens=True)
                ),
            )
            total += (
                d.sgd_factor(weight)
                * exact(block.weights[weight].rows)
                * summed(d, d.tie(weight) * amount, tokens=mixes)
            )
    first = [d.first(token) for token in (T, S)]
    at_stem = d.over_bands(
        sum(
            first[0][i] * first[1][j] * d.function(d.lane("H", i, j), 0, 0)
            for i in d.lanes
            for j in d.lanes
        )
    )
    for part in d.arch.stem_parts:
        inputs = d.stem_inputs(part)
        yield (
            f"weight_gradient[{part}]",
            sympy.Eq(sympy.Symbol(f"W_{part}"), _over_tokens(d, inputs * at_stem)),
        )
        total += d.sgd_factor(part) * both_tokens(inputs * at_stem)
    shared = d.readout_gram() if mixes else sympy.Integer(1)

    def outputs(amount):
        return sympy.Sum(amount, (A, 0, D), (B, 0, D)) if d.pooled else amount.subs({A: D, B: D})

    yield (
        f"weight_gradient[{READOUT}]",
        sympy.Eq(
            sympy.Symbol(f"W_{READOUT}"),
            outputs(_over_tokens(d, d.readout_gram() * d.function("O", A, B))),
        ),
    )
    total += d.sgd_factor(READOUT) * outputs(both_tokens(shared * d.function("O", A, B)))
    yield "ntk", sympy.Eq(both_tokens(shared * d.function("Theta", D, D)), total)


def summed(d: Deriver, amount: Any, tokens: bool) -> Any:
    """Over all applications (and tokens)."""
    amount = sympy.Sum(amount, (A, 0, D - 1), (B, 0, D - 1))
    return _over_tokens(d, amount) if tokens else amount


def _over_tokens(d: Deriver, amount: Any) -> Any:
    return d.over_tokens(amount) if d.arch.tokens > 1 else amount

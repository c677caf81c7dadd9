"""The equations behind ``derive``: rules, reads and branches of a description expanded on symbols."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import sympy

from sigprop.architecture import Architecture
from sigprop.scalar import Scalar, evaluate
from sigprop.theory.algebra import exact
from sigprop.theory.calculus import inner, require_fresh
from sigprop.theory.environment import Environment
from sigprop.theory.linear import WRITE, Coefficients, Form, advance, overlap
from sigprop.theory.program import Structure, compile_program
from sigprop.theory.transpose import transpose

A, B, D = sympy.symbols("a b D", integer=True, nonnegative=True)
T, S = sympy.symbols("t s", integer=True, nonnegative=True)
SLOT, TAP = sympy.Function("slot"), sympy.Function("tap")
Named = tuple[str, Any]  # a sympy.Eq, which sympy's constructor is not typed to return


class Deriver:
    """Symbolic reading of one architecture; ``equations`` yields (name, Eq)."""

    def __init__(self, arch: Architecture):
        self.arch = arch
        self.program = compile_program(arch)
        self.structure: Structure = self.program.structure
        self.lanes = range(self.structure.lanes)
        for block in arch.sub_blocks:
            require_fresh(block.branch)

    def symbol(self, name: str) -> sympy.Symbol:
        """The symbol of a named number (positive: it is a scale or a variance)."""
        return sympy.Symbol(name, positive=True)

    def number(self, place: Any) -> Callable[[Scalar], Any]:
        """Named numbers at an application: 0 where the value is 0, f(a) where they vary, else a symbol."""

        def value(name: str) -> Any:
            table = self.arch.number_tables[name]
            if not table.any():
                return sympy.Integer(0)
            return self.symbol(name) if (table == table[0]).all() else sympy.Function(name)(place)

        return lambda scalar: evaluate(scalar, {name: value(name) for name in self.arch.numbers}, exact)

    def function(self, name: str, a: Any, b: Any, t: Any = T, s: Any = S) -> Any:
        """name(a, b), with tokens where there are several."""
        return sympy.Function(name)(a, b, t, s) if self.arch.tokens > 1 else sympy.Function(name)(a, b)

    def lane(self, name: str, *lanes: int) -> str:
        """G, or G_01 with several lanes."""
        return name if len(self.lanes) == 1 else f"{name}_{''.join(map(str, lanes))}"

    def state(self, i: int, j: int, a: Any, b: Any, t: Any = T, s: Any = S) -> Any:
        """<S_a[i], S_b[j]>."""
        return self.function(self.lane("G", i, j), a, b, t, s)

    def form(self, place: Any, token: Any) -> Form:
        """Linear forms at one application and token."""

        def gram(i: int, j: int) -> Any:
            if i == WRITE and j == WRITE:
                return self.function("Gamma", place + 1, place + 1, token, token)
            if WRITE in (i, j):
                return self.function(self.lane("X", max(i, j)), place + 1, place, token, token)
            return self.state(i, j, place, place, token, token)

        return Form(gram, lambda leaf: 0, self.number(place), self.structure.stem_lane)

    def rule(self, kind: int, place: Any, token: Any) -> tuple[dict[tuple[int, int], Any], dict[int, Any]]:
        """M and B of a kind at one application and token."""
        forms = [self.form(place, token)(lane)[0] for lane in self.structure.blocks[kind].rule[: self.arch.lanes]]
        if self.structure.stem_lane is not None:
            forms.append({self.structure.stem_lane: sympy.Integer(1)})
        transition = {(i, j): c for i, form in enumerate(forms) for j, c in form.items() if j != WRITE and c != 0}
        return transition, {i: form[WRITE] for i, form in enumerate(forms) if form.get(WRITE, 0) != 0}

    def read(self, kind: int, place: Any, token: Any) -> Coefficients:
        """rho of a kind at one application and token."""
        return self.form(place, token)(self.structure.blocks[kind].read)[0]

    def environment(self, kind: int, tied: bool = True) -> Environment:
        """The calculus at applications a (token t) and b (token s)."""
        places = {"a": (A, T), "b": (B, S)}
        name = self.named("R", kind)
        pair = lambda head: {(i, j): self.function(head, p, q, t, s) for i, (p, t) in places.items() for j, (q, s) in places.items()}  # noqa: E731
        ties = self.tie if tied and not self.uniform else lambda weight: sympy.Integer(1)
        environment = Environment(pair(name), pair(self.named("Delta", kind)), {}, ties)
        environment.number = lambda scalar, i: self.number(places[i][0])(scalar)  # type: ignore[method-assign]
        environment.per_token = environment.number  # type: ignore[method-assign]
        return environment

    @property
    def uniform(self) -> bool:
        """Whether all weights share one slot table: then every product carries the same indicator, written once in front."""
        return len(set(self.arch.slots.values())) <= 1  # type: ignore[union-attr]

    def tie(self, weight: str) -> Any:
        """1 where a and b use the same slot of a weight, else 0."""
        return sympy.KroneckerDelta(self.slot(weight)(A), self.slot(weight)(B))

    def masked(self, value: Any) -> Any:
        """The indicator in front, where it is the same for all weights."""
        return self.tie("") * value if self.uniform else value

    def slot(self, weight: str) -> Any:
        """slot(a); slot_w(a) where weights have tables of their own."""
        return SLOT if self.uniform else sympy.Function(f"slot_{weight}")

    def named(self, head: str, kind: int) -> str:
        """The head, with the kind's number where there are several."""
        last = len(self.structure.blocks) - 1
        return head if len(self.arch.sub_blocks) == 1 and kind != last else f"{head}{'v' if kind == last else kind}"

    def equations(self) -> Iterator[Named]:
        """All equations, forward then backward."""
        kinds = range(len(self.arch.sub_blocks))
        for kind in kinds:
            yield from self.forward(kind)
        yield from self.boundary()
        for kind in kinds:
            yield from self.backward(kind)
        yield from self.readout()
        yield from self.gradients()

    def label(self, name: str, kind: int) -> str:
        """An equation's name, with the kind's number where there are several."""
        return name if len(self.arch.sub_blocks) == 1 else f"{name}|{kind}"

    def forward(self, kind: int) -> Iterator[Named]:
        """Read, write, the write's overlap with states, and the states, of one kind of sub-block."""
        left, right = self.read(kind, A, T), self.read(kind, B, S)
        yield self.label("read", kind), sympy.Eq(self.function(self.named("R", kind), A, B), overlap(left, right, lambda i, j: self.state(i, j, A, B)))
        branch = self.structure.blocks[kind].branch
        yield self.label("write", kind), sympy.Eq(self.function("Gamma", A + 1, B + 1), self.masked(inner(branch, "a", branch, "b", self.environment(kind))))
        overlaps = [self.function(self.lane("X", i), A + 1, B) for i in self.lanes]
        transition, into = self.rule(kind, B, S)
        for i, value in enumerate(advance(transition, into, overlaps, self.function("Gamma", A + 1, B + 1))):
            yield self.label(self.lane("overlap", i), kind), sympy.Eq(self.function(self.lane("X", i), A + 1, B + 1), value)
        transition, into = self.rule(kind, A, T)
        for j in self.lanes:
            old = [self.state(i, j, A, B) for i in self.lanes]
            for i, value in enumerate(advance(transition, into, old, self.function(self.lane("X", j), A + 1, B))):
                yield self.label(self.lane("state", i, j), kind), sympy.Eq(self.state(i, j, A + 1, B), value)

    @property
    def stem(self) -> Any:
        """<w_0[t], w_0[s]>."""
        return sympy.Function("q")(T, S) if self.arch.tokens > 1 else sympy.Symbol("q_0", positive=True)

    def first(self, token: Any) -> list[Any]:
        """The lanes before application 0 (and the stem's own), as multiples of the stem."""
        own = self.stem.subs(S, T).subs(T, token)
        form = Form(lambda i, j: own, lambda leaf: 0, self.number(sympy.Integer(0)), 0)
        return [form(lane)[0].get(0, sympy.Integer(0)) for lane in self.arch.initial] + [sympy.Integer(1)] * self.structure.injects

    def boundary(self) -> Iterator[Named]:
        """The stem: Grams of the first lanes, and no overlap of any later write with it."""
        left, right = self.first(T), self.first(S)
        for i in self.lanes:
            for j in self.lanes:
                yield self.lane("stem", i, j), sympy.Eq(self.state(i, j, 0, 0), left[i] * right[j] * self.stem)
            yield self.lane("stem_overlap", i), sympy.Eq(self.function(self.lane("X", i), A + 1, 0), sympy.Integer(0))

    def backward(self, kind: int) -> Iterator[Named]:
        """Cotangent, its way through the branch, and the gradients by the states, of one kind of sub-block."""
        (ma, ba), (mb, bb) = self.rule(kind, A, T), self.rule(kind, B, S)
        ra, rb = self.read(kind, A, T), self.read(kind, B, S)
        later = lambda i, j: self.function(self.lane("H", i, j), A + 1, B + 1)  # noqa: E731
        yield self.label("cotangent", kind), sympy.Eq(self.function(self.named("Delta", kind), A, B), overlap(ba, bb, later))
        y = transpose(self.structure.blocks[kind].branch).total
        value = self.masked(inner(y, "a", y, "b", self.environment(kind))) if y is not None else sympy.Integer(0)
        yield self.label("backward_write", kind), sympy.Eq(self.function("Y", A, B), value)
        turned = {(j, i): c for (i, j), c in mb.items()}
        old = [self.function(self.lane("Z", i), A, B + 1) for i in self.lanes]
        for i, value in enumerate(advance(turned, rb, old, self.function("Y", A, B))):
            yield self.label(self.lane("backward_overlap", i), kind), sympy.Eq(self.function(self.lane("Z", i), A, B), value)
        turned = {(j, i): c for (i, j), c in ma.items()}
        for j in self.lanes:
            rows = [self.function(self.lane("H", i, j), A + 1, B) for i in self.lanes]
            for i, value in enumerate(advance(turned, ra, rows, self.function(self.lane("Z", j), A, B))):
                yield self.label(self.lane("gradient", i, j), kind), sympy.Eq(self.function(self.lane("H", i, j), A, B), value + self.tapped(i, j))

    @property
    def pooled(self) -> bool:
        """Whether the read-out sees other states than the last."""
        return self.arch.readout.at != (self.arch.depth,)

    def tapped(self, i: int, j: int) -> Any:
        """What the read-out at state a adds to H(a, b): nothing unless it sees states before the last."""
        return self.read(len(self.arch.sub_blocks), A, T).get(i, 0) * self.function(self.lane("U", j), A, B) if self.pooled else 0

    def readout(self) -> Iterator[Named]:
        """The gradient that the read-out hands to the states it sees; P(t, s): the Gram of its vectors; tap(a): 1 where it looks."""
        kind = len(self.arch.sub_blocks)
        left, right = self.read(kind, A, T), self.read(kind, B, S)
        yield "readout_read", sympy.Eq(self.function("Rv", A, B), overlap(left, right, lambda i, j: self.state(i, j, A, B)))
        environment = self.environment(kind, tied=False)
        environment.cotangents = dict.fromkeys(environment.cotangents, sympy.Function("P")(T, S) if self.arch.tokens > 1 else sympy.Integer(1))
        branch = self.structure.blocks[kind].branch
        y = transpose(branch).total
        assert y is not None
        seen = TAP(A) * TAP(B) if self.pooled else 1
        yield "readout_write", sympy.Eq(self.function("V", A, B), seen * inner(y, "a", y, "b", environment))
        yield "readout_output", sympy.Eq(self.function("O", A, B), seen * inner(branch, "a", branch, "b", environment))
        for i in self.lanes:
            yield self.lane("backward_boundary", i), sympy.Eq(self.function(self.lane("Z", i), A, D), sympy.Integer(0))
            for j in self.lanes:
                value = left.get(i, 0) * right.get(j, 0) * self.function("V", A, B)
                yield self.lane("gradient_boundary", i, j), sympy.Eq(self.function(self.lane("H", i, j), D, D), value.subs({A: D, B: D}))
            if self.pooled:
                own = right.get(i, 0) * self.function("V", A, B)
                yield self.lane("readout_boundary", i), sympy.Eq(self.function(self.lane("U", i), A, D), own.subs(B, D))
        if self.pooled:
            for kind in range(len(self.arch.sub_blocks)):
                turned = {(j, i): c for (i, j), c in self.rule(kind, B, S)[0].items()}
                old = [self.function(self.lane("U", i), A, B + 1) for i in self.lanes]
                for i, value in enumerate(advance(turned, right, old, self.function("V", A, B))):
                    yield self.label(self.lane("readout_overlap", i), kind), sympy.Eq(self.function(self.lane("U", i), A, B), value)

    def gradients(self) -> Iterator[Named]:
        """Weight gradients of a slot, and the NTK (its Delta and H are those of one read-out vector shared by all tokens)."""
        total: Any = 0
        slot = sympy.Symbol("sigma", integer=True)
        for kind, block in enumerate(self.arch.sub_blocks):
            environment = self.environment(kind, tied=False)
            for weight, uses in transpose(block.branch).uses.items():
                amount: Any = 0
                for x, d in uses:
                    for x2, d2 in uses:
                        cotangents = inner(d, "a", d2, "b", environment)
                        amount += cotangents * (1 if x is None or x2 is None else inner(x, "a", x2, "b", environment)) if cotangents != 0 else 0
                both = sympy.KroneckerDelta(self.slot(weight)(A), slot) * sympy.KroneckerDelta(self.slot(weight)(B), slot)
                yield f"weight_gradient[{weight}]", sympy.Eq(sympy.Function("W_" + weight)(slot), self.summed(both * amount, tokens=True))
                total += exact(block.weights[weight].rows) * self.summed(self.tie(weight) * amount, tokens=False)
        first = [self.first(token) for token in (T, S)]
        total += self.stem * sum(first[0][i] * first[1][j] * self.function(self.lane("H", i, j), 0, 0) for i in self.lanes for j in self.lanes)
        output = self.function("O", A, B)
        total += sympy.Sum(output, (A, 0, D), (B, 0, D)) if self.pooled else output.subs({A: D, B: D})
        yield "ntk", sympy.Eq(self.function("Theta", D, D), total)

    def summed(self, amount: Any, tokens: bool) -> Any:
        """Over all applications (and tokens)."""
        amount = sympy.Sum(amount, (A, 0, D - 1), (B, 0, D - 1))
        return sympy.Sum(amount, (T, 0, self.arch.tokens - 1), (S, 0, self.arch.tokens - 1)) if tokens and self.arch.tokens > 1 else amount

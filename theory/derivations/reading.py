"""A description read on symbols: names for its Grams and numbers, its reads and rules as linear
forms, its calculus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy

from sigprop.description.architecture import Architecture
from sigprop.description.sub_block import STEM
from sigprop.language.scalar import Scalar, evaluate
from sigprop.theory.calculus.algebra import exact
from sigprop.theory.calculus.independence import check_writes
from sigprop.theory.calculus.linear import WRITE, Coefficients, Form
from sigprop.theory.derivations.environment import SymbolicEnvironment
from sigprop.theory.recursion.program import Structure, compile_program

A, B, D = sympy.symbols("a b D", integer=True, nonnegative=True)
T, S = sympy.symbols("t s", integer=True, nonnegative=True)
BAND = sympy.Symbol("k", integer=True, positive=True)
BANDED = ("G", "X", "H", "Z", "U")
"""Heads of what has a value for every band of coordinates, where there are several."""
Named = tuple[str, Any]  # a sympy.Eq, which sympy's constructor is not typed to return
SLOT, TAP = sympy.Function("slot"), sympy.Function("tap")


class theta(sympy.Function):
    """theta(x, k): 1 where band k lies within the first share x of all coordinates, else 0."""

    nargs = 2

    def _eval_power(self, exponent: Any) -> Any:
        return self if exponent.is_positive else None


class Deriver:
    """Symbolic reading of one architecture."""

    def __init__(self, arch: Architecture):
        self.arch = arch
        self.program = compile_program(arch)
        self.structure: Structure = self.program.structure
        self.lanes = range(self.structure.lanes)
        check_writes(arch)

    def symbol(self, name: str) -> sympy.Symbol:
        """The symbol of a named number (positive: it is a scale or a variance)."""
        return sympy.Symbol(name, positive=True)

    def numbers(self, place: Any) -> dict[str, Any]:
        """Named numbers at an application: 0 where the value is 0, f(a) where they vary, else a
        symbol."""

        def value(name: str) -> Any:
            table = self.arch.number_tables[name]
            if not table.any():
                return sympy.Integer(0)
            return self.symbol(name) if (table == table[0]).all() else sympy.Function(name)(place)

        return {name: value(name) for name in self.arch.numbers}

    def number(self, place: Any) -> Callable[[Scalar], Any]:
        """A scalar's value at an application."""
        return lambda scalar: evaluate(scalar, self.numbers(place), exact)

    def function(self, name: str, a: Any, b: Any, t: Any = T, s: Any = S) -> Any:
        """name(a, b), with tokens where there are several, and of a band where states have
        several."""
        band = (BAND,) if len(self.arch.bands) > 1 and name.split("_")[0] in BANDED else ()
        return sympy.Function(name)(a, b, *((t, s) if self.arch.tokens > 1 else ()), *band)

    def over_bands(self, value: Any) -> Any:
        """The sum over bands, each by its share of the coordinates."""
        bands = len(self.arch.bands)
        return (
            value
            if bands == 1
            else sympy.Sum(sympy.Function("width")(BAND) * value, (BAND, 1, bands))
        )

    def lane(self, name: str, *lanes: int) -> str:
        """G, or G_01 with several lanes."""
        return name if len(self.lanes) == 1 else f"{name}_{''.join(map(str, lanes))}"

    def state(self, i: int, j: int, a: Any, b: Any, t: Any = T, s: Any = S) -> Any:
        """<S_a[i], S_b[j]>."""
        return self.function(self.lane("G", i, j), a, b, t, s)

    def log_norm(self, a: Any) -> Any:
        """s_a: log of what norms have divided the state by."""
        return sympy.Function("s")(a, T) if self.arch.tokens > 1 else sympy.Function("s")(a)

    def form(self, place: Any, token: Any) -> Form:
        """Linear forms at one application and token."""

        def gram(i: int, j: int) -> Any:
            if i == WRITE and j == WRITE:
                return self.function("Gamma", place + 1, place + 1, token, token)
            if WRITE in (i, j):
                return self.function(self.lane("X", max(i, j)), place + 1, place, token, token)
            if i == j == 0 and self.arch.norm_lane:
                return sympy.Integer(1)
            return self.state(i, j, place, place, token, token)

        def modulate(node):
            return (
                sympy.Function("m")(place, token)
                if self.arch.tokens > 1
                else sympy.Function("m")(place)
            )

        tidy = sympy.simplify if self.arch.norm_lane else lambda x: x
        options = {
            "over_bands": self.over_bands,
            "modulate": modulate,
            "within": self.within(place),
            "tidy": tidy,
        }
        return Form(gram, lambda leaf: 0, self.number(place), self.structure.stem_lane, **options)

    def within(self, place: Any) -> Callable[[Scalar], Any]:
        """Which bands lie within a share of the coordinates, at an application."""
        return lambda fraction: theta(self.number(place)(fraction), BAND)

    def rule(
        self, kind: int, place: Any, token: Any
    ) -> tuple[dict[tuple[int, int], Any], dict[tuple[int, int], Any]]:
        """M and B of a kind at one application and token."""
        forms = [
            self.form(place, token)(lane)[0]
            for lane in self.structure.blocks[kind].rule[: self.arch.lanes]
        ]
        if self.structure.stem_lane is not None:
            forms.append({self.structure.stem_lane: sympy.Integer(1)})
        transition = {
            (i, j): c
            for i, form in enumerate(forms)
            for j, c in form.items()
            if j != WRITE and c != 0
        }
        return transition, {
            (i, 0): form[WRITE] for i, form in enumerate(forms) if form.get(WRITE, 0) != 0
        }

    def reads(self, kind: int, place: Any, token: Any) -> list[Coefficients]:
        """rho of every read of a kind at one application and token."""
        form = self.form(place, token)
        return [form(read)[0] for read in self.structure.blocks[kind].reads]

    def turned(self, kind: int, place: Any, token: Any) -> dict[tuple[int, int], Any]:
        """rho of a kind as the way back has it: {(lane, read): what the lane is given}."""
        reads = enumerate(self.reads(kind, place, token))
        return {(lane, k): c for k, read in reads for lane, c in read.items()}

    @property
    def read_suffixes(self) -> list[str]:
        """Return what ``by_read`` puts behind names of one read, over all kinds of sub-block."""
        return sorted(
            {
                self.by_read("", kind, k)
                for kind, block in enumerate(self.arch.sub_blocks)
                for k in range(len(block.reads))
            }
        )

    def by_read(self, name: str, kind: int, *reads: int) -> str:
        """R; R_r01 of the pair of reads 0 and 1, where a kind has several."""
        several = len(self.structure.blocks[kind].reads) > 1
        return f"{name}_r{''.join(map(str, reads))}" if several else name

    def environment(self, kind: int, tied: bool = True) -> SymbolicEnvironment:
        """The calculus at applications a (token t) and b (token s)."""
        places = {"a": (A, T), "b": (B, S)}
        name, reads = self.named("R", kind), range(len(self.structure.blocks[kind].reads))

        def pair(head: str) -> dict[tuple[str, str], Any]:
            return {
                (i, j): self.function(head, p, q, t, s)
                for i, (p, t) in places.items()
                for j, (q, s) in places.items()
            }

        every = [[pair(self.by_read(name, kind, k, m)) for m in reads] for k in reads]

        ties = self.tie if tied and not self.uniform else lambda weight: sympy.Integer(1)
        return SymbolicEnvironment(
            {at: [[grams[at] for grams in row] for row in every] for at in every[0][0]},
            pair(self.named("Delta", kind)),
            {i: self.numbers(place) for i, (place, _) in places.items()},
            ties,
            places,
            self.arch.tokens,
        )

    @property
    def uniform(self) -> bool:
        """Tell if all weights share one slot table: then every product carries the same
        indicator, written once in front."""
        return len(set(self.arch.slot_tables.values())) <= 1

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
        return (
            head
            if len(self.arch.sub_blocks) == 1 and kind != last
            else f"{head}{'v' if kind == last else kind}"
        )

    def label(self, name: str, kind: int) -> str:
        """An equation's name, with the kind's number where there are several."""
        return name if len(self.arch.sub_blocks) == 1 else f"{name}|{kind}"

    @property
    def stem(self) -> Any:
        """<w_0[t], w_0[s]>."""
        return (
            sympy.Function("q")(T, S)
            if self.arch.tokens > 1
            else sympy.Symbol("q_0", positive=True)
        )

    def stem_inputs(self, part: str) -> Any:
        """The Gram of what a part of the stem embeds."""
        return (
            self.stem
            if part == STEM
            else sympy.Function(f"K_{part}")(T, S)
            if self.arch.tokens > 1
            else sympy.Symbol(f"K_{part}", positive=True)
        )

    def sgd_factor(self, group: str) -> Any:
        """Lambda of a group: a symbol where it is set, else 1."""
        return (
            sympy.Symbol(f"Lambda_{group}", positive=True)
            if group in self.arch.sgd_factors
            else sympy.Integer(1)
        )

    def own_stem(self, token: Any) -> Any:
        """<w_0[t], w_0[t]>."""
        return self.stem.subs(S, T).subs(T, token)

    def readout_gram(self) -> Any:
        """P(t, s), the Gram of the read-out's vectors."""
        return sympy.Function("P")(T, S) if self.arch.tokens > 1 else sympy.Integer(1)

    def over_tokens(self, amount: Any) -> Any:
        """The sum over all pairs of tokens."""
        return sympy.Sum(amount, (T, 0, self.arch.tokens - 1), (S, 0, self.arch.tokens - 1))

    def first(self, token: Any) -> list[Any]:
        """The lanes before application 0 (and the stem's own), as multiples of the stem."""
        own = self.own_stem(token)
        form = Form(
            lambda i, j: own,
            lambda leaf: 0,
            self.number(sympy.Integer(0)),
            0,
            over_bands=self.over_bands,
            within=self.within(sympy.Integer(0)),
        )
        return [form(lane)[0].get(0, sympy.Integer(0)) for lane in self.arch.initial] + [
            sympy.Integer(1)
        ] * self.structure.injects

    @property
    def pooled(self) -> bool:
        """Tell if the read-out sees other states than the last."""
        return self.arch.readout.at != (self.arch.depth,)

    def tapped(self, i: int, j: int) -> Any:
        """Return what the read-out at state a adds to H(a, b): nothing unless it sees states
        before the last."""
        return (
            self.reads(len(self.arch.sub_blocks), A, T)[0].get(i, 0)
            * self.function(self.lane("U", j), A, B)
            if self.pooled
            else 0
        )

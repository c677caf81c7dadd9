"""The calculus on symbols: every value is one sympy expression, of one pair of tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sympy

from sigprop.errors import no_rule
from sigprop.language.activation import Activation
from sigprop.language.expression import Attend, TokenTable, Vector
from sigprop.language.nodes import Experts, Sampled
from sigprop.language.scalar import Scalar, evaluate
from sigprop.theory.attention import symbols
from sigprop.theory.calculus.algebra import exact
from sigprop.theory.calculus.environment import Environment
from sigprop.theory.calculus.log_scale import log_scale
from sigprop.theory.calculus.rules import variance
from sigprop.theory.gaussian import dual


class SymbolicEnvironment(Environment):
    """Symbols: logs are 0; places: {place: (application, token)}; tokens: T; the rest as in
    ``Environment``."""

    def __init__(
        self,
        reads: Mapping[tuple[str, str], Any],
        cotangents: Mapping[tuple[str, str], Any],
        numbers: Mapping[str, Mapping[str, Any]],
        ties: Callable[[str], Any],
        places: Mapping[str, tuple[Any, Any]] = {},
        tokens: int = 1,
    ):
        super().__init__(reads, cotangents, numbers, ties)
        self.places, self.tokens = places, tokens

    def tied(self, weight: str, i: str, j: str) -> Any:
        return 1 if i == j else self.ties(weight)

    def number(self, scalar: Scalar, i: str) -> Any:
        return evaluate(scalar, self.numbers[i], exact)

    per_token = number

    def table(self, table: TokenTable, i: str) -> Any:
        return sympy.Function(table.name)(*self.places[i])

    def matrix(self, table: TokenTable, i: str, turned: bool) -> Any:
        return symbols.table_sum(table, self.places[i][0], turned)

    def weights(self, node: Attend, i: str, turned: bool) -> Any:
        return symbols.mean_sum(node, self.places[i][0], turned)

    def routed(self, node: Experts, i: str, j: str) -> Any:
        """A function of the two places: pi_router(a, t, b, s)."""
        return sympy.Function(f"pi_{node.weight}")(*self.places[i], *self.places[j])

    def sampled(self, node: Sampled, i: str, j: str) -> Any:
        raise no_rule(node, "it has no formula, only draws", "predict, which tries it")

    def mix(self, matrix: Any, value: Callable[[Any], Any], side: str) -> Any:
        dummy = sympy.Symbol("r_1" if side == "left" else "r_2", integer=True, nonnegative=True)
        token = self.places["a" if side == "left" else "b"][1]
        return matrix(
            token, dummy, lambda s: (sympy.Integer(0) + value(self)).subs(token, s), self.tokens
        )

    def log(self, leaf: Vector, i: str) -> Any:
        return 0

    def features(self, activation: Activation, of: Vector, i: str) -> Any:
        return self.once(
            (activation, of, i),
            lambda: dual.features(activation, self.variance(of, i), log_scale(of, i, self)),
        )

    def variance(self, of: Vector, i: str) -> Any:
        return self.once((None, of, i), lambda: variance(of, i, self))

    def dual(
        self, activation: Activation, order: int, left: Any, cross: Any, right: Any, gap: Any = None
    ) -> Any:
        return dual.dual(activation, order, left, cross, right)

    def gap(self, u: Vector, i: str, v: Vector, j: str) -> Any:
        return None

    def ones(self, i: str, j: str) -> Any:
        return 1

    def same(self, i: str, j: str) -> Any:
        (a, t), (b, s) = self.places[i], self.places[j]
        return sympy.KroneckerDelta(a, b) * sympy.KroneckerDelta(t, s)

    def block(self, value: Any, i: str, j: str) -> Any:
        return value

    @staticmethod
    def left(value: Any) -> Any:
        return value

    @staticmethod
    def right(value: Any) -> Any:
        return value

    @staticmethod
    def diagonal(value: Any) -> Any:
        return value

    @staticmethod
    def maximum(values: list[Any]) -> Any:
        return values[0]

    @staticmethod
    def widest(log: Any) -> Any:
        return log

    def attention(
        self, node: Attend, i: str, j: str, values: Any, cotangents: Any, of: Vector | None = None
    ) -> dict[str, Any]:
        (a, t), (b, s) = self.places[i], self.places[j]
        rate = 0 if node.rate is None else self.number(node.rate, i)
        return symbols.attention(
            node,
            self.tokens,
            (a, b),
            (t, s),
            values=values,
            cotangents=cotangents,
            odds=rate / (1 - rate),
        )

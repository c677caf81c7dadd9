"""What the calculus needs to know about its two places: Grams of the leaves, numbers, ties; here on symbols."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sigprop.activation import Activation
from sigprop.expression import Attend, TokenTable, Vector
from sigprop.scalar import Scalar, evaluate


class Environment:
    """Symbols: every value is one sympy expression (one pair of tokens), logs are 0.

    reads, cotangents: {(i, j): <r_i, r_j>}; numbers: {place: {name: symbol}}; ties: weight -> indicator that the two
    places use the same slot (1 within one place); places: {place: (application, token)}; tokens: T.
    """

    def __init__(
        self,
        reads: Mapping[tuple[str, str], Any],
        cotangents: Mapping[tuple[str, str], Any],
        numbers: Mapping[str, Mapping[str, Any]],
        ties: Callable[[str], Any],
        places: Mapping[str, tuple[Any, Any]] = {},
        tokens: int = 1,
    ):
        self.reads, self.cotangents, self.numbers, self.ties = reads, cotangents, numbers, ties
        self.places, self.tokens = places, tokens
        self.memo: dict[Any, Any] = {}
        self.participation: Any = None  # of the attention met last at one place
        self.known: dict[Any, Any] = {}

    def read(self, i: str, j: str) -> Any:
        return self.reads[i, j]

    def cotangent(self, i: str, j: str) -> Any:
        return self.cotangents[i, j]

    def tied(self, weight: str, i: str, j: str) -> Any:
        return 1 if i == j else self.ties(weight)

    def number(self, scalar: Scalar, i: str) -> Any:
        from sigprop.theory.algebra import exact

        return evaluate(scalar, self.numbers[i], exact)

    per_token = number

    def table(self, table: TokenTable, i: str) -> Any:
        """A token table's number at the place's application and token(s): [B, T] or [B, T, T] on arrays."""
        import sympy

        return sympy.Function(table.name)(*self.places[i])

    def matrix(self, table: TokenTable, i: str, turned: bool) -> Any:
        """A token table [T, T] at the place's application, or its transpose: what ``mix`` takes."""
        from sigprop.theory.attention.symbols import table_sum

        return table_sum(table, self.places[i][0], turned)

    def weights(self, node: Attend, i: str, turned: bool) -> Any:
        """E[Omega] of an attention node at one place, or its transpose: what ``mix`` takes."""
        from sigprop.theory.attention.symbols import mean_sum

        return mean_sum(node, self.places[i][0], turned)

    def mix(self, matrix: Any, value: Callable[[Any], Any], side: str) -> Any:
        """sum_s matrix_ts value_s over the tokens of the left or the right place; value: what an environment makes of it."""
        import sympy

        seen = sympy.Symbol("r_1" if side == "left" else "r_2", integer=True, nonnegative=True)
        token = self.places["a" if side == "left" else "b"][1]
        return matrix(token, seen, lambda s: (sympy.Integer(0) + value(self)).subs(token, s), self.tokens)

    def log(self, leaf: Vector, i: str) -> Any:
        return 0

    def features(self, activation: Activation, of: Vector, i: str) -> Any:
        """What the dual activation needs to know of phi's argument at one place; computed once a place."""
        from sigprop.theory import dual
        from sigprop.theory.log_scale import log_scale

        key = (activation, of, i)
        if key not in self.known:
            self.known[key] = dual.features(activation, self.variance(of, i), log_scale(of, i, self))  # pyright: ignore[reportArgumentType]
        return self.known[key]

    def variance(self, of: Vector, i: str) -> Any:
        """<x_i[t], x_i[t]> of an expression at one place; computed once a place."""
        from sigprop.theory.calculus import variance

        key = (None, of, i)
        if key not in self.known:
            self.known[key] = variance(of, i, self)  # pyright: ignore[reportArgumentType]
        return self.known[key]

    def dual(self, activation: Activation, order: int, left: Any, cross: Any, right: Any, gap: Any = None) -> Any:
        from sigprop.theory import dual

        return dual.dual(activation, order, left, cross, right)

    def gap(self, u: Vector, i: str, v: Vector, j: str) -> Any:
        """1 - rho^2 of u_i and v_j, where it is known beside the Gram; None: the Gram says it (on symbols it does)."""
        return None

    def ones(self, i: str, j: str) -> Any:
        return 1

    def same(self, i: str, j: str) -> Any:
        """1 where the two places are one application and one token, else 0."""
        import sympy

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
        """The largest of a log scale over tokens, for every token."""
        return log

    def attention(self, node: Attend, i: str, j: str, values: Any, cotangents: Any, of: Vector | None = None) -> dict[str, Any]:
        """Grams of attention: 'forward', or with <d, d'> of its output's cotangents the legs 'value', 'query', 'key'."""
        from sigprop.theory.attention.symbols import attention

        (a, t), (b, s) = self.places[i], self.places[j]
        rate = 0 if node.rate is None else self.number(node.rate, i)
        return attention(node, self.tokens, (a, b), (t, s), values, cotangents, rate / (1 - rate))

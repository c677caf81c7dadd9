"""Everything that the calculus knows about its two places: Grams of the leaves, numbers, ties. The
rules ask; algebras answer.

Two algebras implement it: sympy expressions (``derivations.environment``) and arrays
(``recursion.arrays``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from sigprop.language.activation import Activation
from sigprop.language.expression import (
    Attend,
    Normalise,
    Read,
    TokenTable,
    Vector,
)
from sigprop.language.nodes import Experts, Sampled
from sigprop.language.scalar import Scalar


class Environment(ABC):
    """Values of one algebra at two places, 'a' and 'b'.

    reads: {(i, j): <r_i, r_j> [k][l] of read k at i and read l at j}; cotangents: {(i, j): <d_i,
    d_j>}; numbers: {place: {name: value}}; ties: weight ->
    indicator that the two places use the same slot (1 within one place).
    """

    def __init__(
        self,
        reads: Mapping[tuple[str, str], Any],
        cotangents: Mapping[tuple[str, str], Any],
        numbers: Mapping[str, Mapping[str, Any]],
        ties: Callable[[str], Any],
    ):
        self.reads, self.cotangents, self.numbers, self.ties = reads, cotangents, numbers, ties
        self.memo: dict[Any, Any] = {}
        self.participation: Any = None  # of the attention met last at one place
        self.values: dict[Any, Any] = {}

    def once(self, key: Any, value: Callable[[], Any]) -> Any:
        """Return a value computed at the first asking and kept, or put into ``values`` before."""
        if key not in self.values:
            self.values[key] = value()
        return self.values[key]

    def averaged(self, weight: str, of: Vector, i: str, j: str, value: Any) -> Any:
        """<x_i, x_j> of x = ``of``, what a weight is given forward or backward, as the network sees
        it: an average over coordinates, which in the wide limit is its mean, ``value``."""
        return value

    def mean_square(self, norm: Normalise, i: str) -> Any:
        """<x_i[t], x_i[t]> of what a norm divides, as it sees it: likewise an average."""
        return self.variance(norm.of, i)

    def read(self, u: Read, i: str, v: Read, j: str) -> Any:
        """<r_i, r_j> of what the branch reads."""
        return self.reads[i, j][u.index][v.index]

    def cotangent(self, i: str, j: str) -> Any:
        """<d_i, d_j> of the output's cotangents."""
        return self.cotangents[i, j]

    @abstractmethod
    def tied(self, weight: str, i: str, j: str) -> Any:
        """1 where the two places use the same slot of ``weight``, else 0."""

    @abstractmethod
    def number(self, scalar: Scalar, i: str) -> Any:
        """A scalar's value at one place, as a factor of Grams."""

    def share(self, fraction: Scalar, i: str) -> Any:
        """How much of the squares of what is truncated is left at one place."""
        return self.number(fraction, i)

    @abstractmethod
    def per_token(self, scalar: Scalar, i: str) -> Any:
        """A scalar's value at one place, as a factor of what has one token axis."""

    @abstractmethod
    def table(self, table: TokenTable, i: str) -> Any:
        """A token table's number at the place's application and token(s): [B, T] or [B, T, T] on
        arrays."""

    @abstractmethod
    def matrix(self, table: TokenTable, i: str, turned: bool) -> Any:
        """A token table [T, T] at the place's application, or its transpose: what ``mix`` takes."""

    @abstractmethod
    def weights(self, node: Attend, i: str, turned: bool) -> Any:
        """E[Omega] of an attention node at one place, or its transpose: what ``mix`` takes."""

    @abstractmethod
    def routed(self, node: Experts, i: str, j: str) -> Any:
        """sum_e p_te p'_se of what a router chose at the two places."""

    @abstractmethod
    def sampled(self, node: Sampled, i: str, j: str) -> Any:
        """<f_i, f_j> of a function that has no rule, by trying it."""

    @abstractmethod
    def mix(self, matrix: Any, value: Callable[[Any], Any], side: str) -> Any:
        """sum_s matrix_ts value_s over the tokens of the left or the right place; value: what an
        environment makes of it."""

    @abstractmethod
    def log(self, leaf: Vector, i: str) -> Any:
        """The log of the factor that mantissas of a leaf leave out; 0 on symbols."""

    @abstractmethod
    def features(self, activation: Activation, of: Vector, i: str) -> Any:
        """Return what the dual activation needs of phi's argument at one place; computed once a
        place."""

    @abstractmethod
    def variance(self, of: Vector, i: str) -> Any:
        """<x_i[t], x_i[t]> of an expression at one place; computed once a place."""

    @abstractmethod
    def dual(
        self, activation: Activation, order: int, left: Any, cross: Any, right: Any, gap: Any = None
    ) -> Any:
        """E[phi^(order)(x) phi^(order)(y)] of Gaussians with these variances and this
        covariance."""

    @abstractmethod
    def gap(self, u: Vector, i: str, v: Vector, j: str) -> Any:
        """1 - rho^2 of u_i and v_j, where it is known beside the Gram; None: the Gram says it
        (on symbols it does)."""

    @abstractmethod
    def ones(self, i: str, j: str) -> Any:
        """1 for every pair of tokens of the two places."""

    @abstractmethod
    def same(self, i: str, j: str) -> Any:
        """1 where the two places are one application and one token, else 0."""

    @abstractmethod
    def block(self, value: Any, i: str, j: str) -> Any:
        """A value for every pair of tokens of the two places."""

    @staticmethod
    @abstractmethod
    def left(value: Any) -> Any:
        """Turn what has one token axis to a factor of Grams at the left place."""

    @staticmethod
    @abstractmethod
    def right(value: Any) -> Any:
        """Turn what has one token axis to a factor of Grams at the right place."""

    @staticmethod
    @abstractmethod
    def diagonal(value: Any) -> Any:
        """The entries of a Gram of a token with itself."""

    @staticmethod
    @abstractmethod
    def maximum(values: list[Any]) -> Any:
        """The largest log scale of several."""

    @staticmethod
    @abstractmethod
    def widest(log: Any) -> Any:
        """The largest of a log scale over tokens, for every token."""

    @abstractmethod
    def attention(
        self, node: Attend, i: str, j: str, values: Any, cotangents: Any, of: Vector | None = None
    ) -> dict[str, Any]:
        """Grams of attention: 'forward', or with <d, d'> of its output's cotangents the legs
        'value', 'query', 'key'."""


class Fineness(NamedTuple):
    """Numbers of a ``Resolution`` that differ between runs of one compiled program."""

    degree: Any
    nudge: Any
    tail: Any
    seed: Any
    finer: Any

    @classmethod
    def of(
        cls, degree: int, nudge: float = 0.0, tail: float = 1.0, seed: int = 0, finer: int = 1
    ) -> Fineness:
        """Return it with a type for every number, so that whoever runs a program has one key."""
        floats, integers = map(np.float64, (nudge, tail)), map(np.int64, (seed, finer))
        return cls(np.int64(degree), *floats, *integers)


class Resolution(NamedTuple):
    """How finely numbers are computed: degree of Hermite series, points {Scores: array} of sampled
    heads.

    approximation: the name of what stands in for attention's expectation, if anything does; nudge:
    what 1 - rho^2 is moved by wherever it was read from rounded Grams; tail: the weight of what a
    series leaves out (1, or 0 for its bound); seed, finer: of draws that functions without a rule
    are tried on, and how many times as many.
    """

    degree: Any = None
    points: Mapping[Any, Any] = {}
    approximation: str | None = None
    nudge: Any = 0.0
    tail: Any = 1.0
    seed: Any = 0
    finer: Any = 1


class NumericEnvironment(Environment):
    """An algebra of numbers, which are computed as finely as ``resolution`` says; gaps: {place:
    1 - rho^2 of the read}."""

    resolution: Resolution
    gaps: Mapping[str, Any]

    def scores(self, node: Attend, i: str) -> Any:
        """Return what a unit adds to scores that vanish with the width [B, T, T]; None where none
        is traced, or scores do not."""
        return None

    @property
    def traced(self) -> bool:
        """Tell if a unit is traced, of which derivatives are taken."""
        return False

    @abstractmethod
    def kept(self, node: Attend, i: str) -> Any:
        """1 for tokens whose keys are seen at a place, else 0."""

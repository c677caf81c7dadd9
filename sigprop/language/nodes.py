"""Further nodes: means over coordinates, token mixing by given numbers and gates (He et al.
2302.10322; Noci et al. 2306.17759), rotations of a state, experts, truncation, and functions that
have no rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sigprop.language.scalar import Constant, Scalar
from sigprop.language.traversal import rows_of
from sigprop.language.vectors import (
    TokenTable,
    Vector,
    check_count,
    check_name,
    check_table,
    check_type,
    check_vectors,
    refuse,
    take_rows,
    take_scalars,
    vectors_in,
    within,
)

if TYPE_CHECKING:
    from jax import Array

Tokens = NDArray[np.float64]
AMONG = ("chosen", "all")
"""Of experts: which scores a router's softmax is over."""


@dataclass(frozen=True)
class Ones(Vector):
    """1: every coordinate is 1, for every token. States have no mean over coordinates, so this is
    orthogonal to them: a mean that a LayerNorm takes away and a matrix does not is a multiple of it
    (``Linear("w", Read() + Rescale(means, Ones()), c)``)."""

    def __str__(self) -> str:
        return "1"


@dataclass(frozen=True)
class Mix(Vector):
    """o_t = sum_s A_ts of_s, A a table [T, T]; ``turned``: its transpose."""

    table: TokenTable
    of: Vector
    turned: bool = False

    def __post_init__(self) -> None:
        check_table(self, "table", 2)
        check_vectors(self, "of")

    def __str__(self) -> str:
        return f"{self.table.name}{'^T' * self.turned} {within(self.of)}"


@dataclass(frozen=True)
class Gate(Vector):
    """factor * of, where the factor is trained: one number for every ``size`` coordinates (a head),
    all of one value at initialisation.

    Its group's squared gradient is the sum over those numbers, which averages over heads; that of
    one number for the whole block has the same mean (and does not average). rows: the length of
    ``of`` as a multiple of the width. A gate stands in a branch (a rule has no parameters of its
    own).
    """

    factor: Scalar
    of: Vector
    weight: str
    size: float = 1
    rows: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        take_scalars(self, "factor")
        check_vectors(self, "of")
        check_name(self, "weight")
        take_rows(self)
        accepted = "coordinates that share one number, from 1 on"
        check_type(self, "size", (int, float), accepted)
        if isinstance(self.size, bool) or not self.size >= 1:
            raise refuse(self, "size", self.size, accepted)

    @property
    def variance(self) -> Constant:
        """Nothing about it is random."""
        return Constant(0)

    def __str__(self) -> str:
        return f"{self.weight} {within(self.of)}"


@dataclass(frozen=True)
class Centre(Vector):
    """of - its mean over coordinates, token by token (which vanishes with the width)."""

    of: Vector

    def __post_init__(self) -> None:
        check_vectors(self, "of")

    def __str__(self) -> str:
        return f"centre({self.of})"


@dataclass(frozen=True)
class Project(Vector):
    """of - <of, along>/<along, along> along, token by token: the part of ``of`` that is
    orthogonal to ``along``."""

    of: Vector
    along: Vector

    def __post_init__(self) -> None:
        check_vectors(self, "of", "along")

    def __str__(self) -> str:
        return f"project({self.of}, {self.along})"


@dataclass(frozen=True)
class Modulate(Vector):
    """m_t of_t, m_t = (mean over c of sigmoid(w_c . r_t))^power in [0, 1], w_c ~ N(0, variance/n),
    c = 1..directions, of the application's slot.

    r is what the application reads. skip_below: m_t counts as 0 where it is below, so the token is
    left as it was (Mixture-of-Depths).
    """

    weight: str
    of: Vector
    variance: Scalar
    power: Scalar
    directions: int
    skip_below: Scalar = Constant(0)

    def __post_init__(self) -> None:
        check_name(self, "weight")
        check_vectors(self, "of")
        take_scalars(self, "variance", "power", "skip_below")
        check_count(self, "directions")

    def __str__(self) -> str:
        return f"{self.weight} {within(self.of)}"


@dataclass(frozen=True)
class Experts(Vector):
    """o_t = sum_e p_te of_e,t: ``of`` with weights of its own for each of ``count`` experts e, and
    p_t the softmax over the ``chosen`` largest of the router's scores z_te = w_e . r_t, 0 for the
    others (mixture of experts).

    weight: the router's slot, w_e ~ N(0, variance/n); r is what the application reads, Read(0).
    among: 'chosen', the softmax is over the chosen scores (Mixtral), or 'all', over all of them,
    of which those that are not chosen are left out. A slot of a weight in ``of`` holds one for each
    expert, and its gradient is the sum over them.
    """

    weight: str
    of: Vector
    variance: Scalar
    count: int
    chosen: int
    among: str = "chosen"

    def __post_init__(self) -> None:
        check_name(self, "weight")
        check_vectors(self, "of")
        take_scalars(self, "variance")
        check_count(self, "count")
        check_count(self, "chosen")
        if self.chosen > self.count:
            raise refuse(self, "chosen", self.chosen, f"at most count = {self.count}")
        if self.among not in AMONG:
            raise refuse(self, "among", self.among, ", ".join(AMONG))

    @property
    def directions(self) -> int:
        """How many scores a token has."""
        return self.count

    def shares(self, scores: Array) -> Array:
        """p [..., E] of the scores [..., E] of E = count experts, in their order."""
        import jax

        places = jax.lax.top_k(scores, self.chosen)[1]
        chosen = jax.nn.one_hot(places, self.count, dtype=scores.dtype).sum(axis=-2) > 0
        if self.among == "chosen":
            scores = jax.numpy.where(chosen, scores, -jax.numpy.inf)
        return jax.numpy.where(chosen, jax.nn.softmax(scores, axis=-1), 0.0)

    def __str__(self) -> str:
        return f"experts({self.chosen} of {self.count} by {self.weight}, {self.of})"


@dataclass(frozen=True)
class Truncate(Vector):
    """of, with all but the first ``fraction`` of its coordinates 0 (of the first in each of
    ``parts`` equal runs, as heads have them)."""

    of: Vector
    fraction: Scalar
    parts: int = 1

    def __post_init__(self) -> None:
        check_vectors(self, "of")
        take_scalars(self, "fraction")
        check_count(self, "parts")

    def __str__(self) -> str:
        return f"first({self.fraction}, {self.of})"


@dataclass(frozen=True)
class Sampled(Vector):
    """function(of_1, of_2, ...): any function of tokens, which has no rule. Its Gram is measured:
    Gaussian tokens of the Grams of ``of`` are drawn and put through it, so every row behind it has
    the status 'sampled', and an error for what the draws leave open.

    function: of one array [T, features] for each of ``of``, float64, to an array [T, any], of which
    the mean over coordinates counts (two nodes are equal where their functions are); name: what it
    is called; of: one vector or several, Gaussian (what matrices write, what the branch reads);
    width: n at which it is tried, so ``of`` has ``width`` times its rows coordinates; rows: the
    length of what it returns, as in ``Linear``. It acts within a branch that ends in a matrix;
    theory has no gradients through it, and it is not built in networks.
    """

    name: str
    function: Callable[..., Tokens]
    of: tuple[Vector, ...]
    width: int
    rows: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        check_name(self, "name")
        take_rows(self)
        check_count(self, "width")
        if isinstance(self.of, Vector):
            check_vectors(self, "of")
            object.__setattr__(self, "of", (self.of,))
        if not vectors_in(self.of):
            raise refuse(self, "of", self.of, "a vector expression, or a tuple of them")
        if not callable(self.function):
            raise refuse(self, "function", self.function, "a function of arrays [T, features]")
        for of in self.of:
            if (self.width * rows_of(of)).denominator != 1:
                raise refuse(self, "width", self.width, f"a multiple of {rows_of(of).denominator}")

    @property
    def features(self) -> tuple[int, ...]:
        """How many coordinates each of ``of`` has."""
        return tuple(int(self.width * rows_of(of)) for of in self.of)

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.of))})"

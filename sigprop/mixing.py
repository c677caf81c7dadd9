"""Nodes that mix tokens by given numbers, and gates: what shaped attention adds to softmax (He et al. 2302.10322; Noci et al. 2306.17759)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from sigprop.scalar import Constant, Scalar
from sigprop.vectors import TokenTable, Vector, check_name, check_table, check_vectors, refuse, take_rows, take_scalars, within


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
    """factor * of, where the factor is trained: one number for every ``size`` coordinates (a head), all of one value at initialisation.

    Its group's squared gradient is the sum over those numbers, which averages over heads; that of one number for the whole block has
    the same mean (and does not average). rows: the length of ``of`` as a multiple of the width. A gate stands in a branch (a rule has
    no parameters of its own).
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
        if isinstance(self.size, bool) or not isinstance(self.size, (int, float)) or not self.size >= 1:
            raise refuse(self, "size", self.size, "coordinates that share one number, from 1 on")

    @property
    def variance(self) -> Constant:
        """Nothing about it is random."""
        return Constant(0)

    def __str__(self) -> str:
        return f"{self.weight} {within(self.of)}"

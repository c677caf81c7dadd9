"""Nodes that mix tokens by given numbers, and gates: what shaped attention adds to softmax (He et al. 2302.10322; Noci et al. 2306.17759)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from sigprop.expression import Scale, TokenTable, Vector
from sigprop.scalar import Constant


@dataclass(frozen=True)
class Mix(Vector):
    """o_t = sum_s A_ts of_s, A a table [T, T]; ``turned``: its transpose."""

    table: TokenTable
    of: Vector
    turned: bool = False


@dataclass(frozen=True)
class Gate(Scale):
    """factor * of, where the factor is trained: one number for every ``size`` coordinates (a head), all of one value at initialisation.

    Its group's squared gradient is the sum over those numbers, which averages over heads; that of one number for the whole block has
    the same mean (and does not average). rows: the length of ``of`` as a multiple of the width.
    """

    weight: str = ""
    size: float = 1
    rows: Fraction = Fraction(1)

    @property
    def variance(self) -> Constant:
        """Nothing about it is random."""
        return Constant(0)

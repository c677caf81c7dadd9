"""Nodes of residual rules that rotate a state: its centred and orthogonal parts, and how far it turns."""

from __future__ import annotations

from dataclasses import dataclass

from sigprop.scalar import Constant, Scalar
from sigprop.vectors import Vector, check_count, check_name, check_vectors, take_scalars, within


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
    """of - <of, along>/<along, along> along, token by token: the part of ``of`` that is orthogonal to ``along``."""

    of: Vector
    along: Vector

    def __post_init__(self) -> None:
        check_vectors(self, "of", "along")

    def __str__(self) -> str:
        return f"project({self.of}, {self.along})"


@dataclass(frozen=True)
class Modulate(Vector):
    """m_t of_t, m_t = (mean over c of sigmoid(w_c . r_t))^power in [0, 1], w_c ~ N(0, variance/n), c = 1..directions, of the application's slot.

    r is what the application reads. skip_below: m_t counts as 0 where it is below, so the token is left as it was (Mixture-of-Depths).
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

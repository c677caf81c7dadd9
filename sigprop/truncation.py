"""Coordinates that come and go: the node that keeps the first of them."""

from __future__ import annotations

from dataclasses import dataclass

from sigprop.scalar import Scalar
from sigprop.vectors import Vector, check_count, check_vectors, take_scalars


@dataclass(frozen=True)
class Truncate(Vector):
    """of, with all but the first ``fraction`` of its coordinates 0 (of the first in each of ``parts`` equal runs, as heads have them)."""

    of: Vector
    fraction: Scalar
    parts: int = 1

    def __post_init__(self) -> None:
        check_vectors(self, "of")
        take_scalars(self, "fraction")
        check_count(self, "parts")

    def __str__(self) -> str:
        return f"first({self.fraction}, {self.of})"

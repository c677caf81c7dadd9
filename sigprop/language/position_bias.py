"""A drawn bias on attention's scores: one number for every head and every bucket of pairs of
tokens."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from jaxtyping import Int

from sigprop.language.scalar import Scalar
from sigprop.language.vectors import (
    Vector,
    check_name,
    check_type,
    refuse,
    take_rows,
    take_scalars,
)

BUCKETS = "rows of integers from 0 on, [T][T]: the bucket of every pair of tokens"
SIZE = "coordinates of a head, from 1 on"


@dataclass(frozen=True)
class PositionBias(Vector):
    """b[h, buckets[t][s]] on head h's score of query token t and key token s, b ~ N(0, variance) of
    the application's slot, one number for every head and bucket (T5's relative positions).

    It stands in ``Attend.bias`` only. size: the coordinates of a head, ``Scores.head_dim``; rows:
    the queries', as a multiple of the width, so that a network of width n has rows n / size heads.
    Its group's squared gradient is the sum over all its numbers, divided by ``rows``: it averages
    over heads.
    """

    weight: str
    variance: Scalar
    buckets: tuple[tuple[int, ...], ...]
    size: float
    rows: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        check_name(self, "weight")
        take_scalars(self, "variance")
        take_rows(self)
        check_type(self, "size", (int, float), SIZE)
        if isinstance(self.size, bool) or not self.size >= 1:
            raise refuse(self, "size", self.size, SIZE)
        object.__setattr__(self, "buckets", self._table())

    def _table(self) -> tuple[tuple[int, ...], ...]:
        """The buckets as rows of plain integers; raises ``InputError``."""
        try:
            found = np.asarray(self.buckets)
        except ValueError:  # rows of several lengths
            raise refuse(self, "buckets", self.buckets, BUCKETS) from None
        square = found.ndim == 2 and found.shape[0] == found.shape[1] > 0
        if not square or not np.issubdtype(found.dtype, np.integer) or found.min() < 0:
            raise refuse(self, "buckets", self.buckets, BUCKETS)
        return tuple(tuple(int(k) for k in row) for row in found)

    @property
    def count(self) -> int:
        """How many numbers a head has: buckets 0 to the largest that occurs."""
        return 1 + max(map(max, self.buckets))

    @cached_property
    def table(self) -> Int[np.ndarray, "T T"]:
        """The bucket of every pair of tokens."""
        return np.array(self.buckets)

    def __str__(self) -> str:
        return self.weight

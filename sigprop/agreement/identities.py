"""Rows of a verdict that nothing could make fail: one number in every network, or the stem's own,
but for rounding.

A branch scaled by e = 1e-5 changes the mean of a state's variance by e^2 (and one network's by
2 e <h, f>, of order e n^-1/2 and of mean zero). In float32 that is nothing: the row says what the
stem is, whatever the branches do. Such a row is compared with the one that it would be if no branch
did anything, its *origin*, in the same networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.quantities import QUANTITIES
from sigprop.description.shapes import Row

# units in the last place that a sum over coordinates is off by, at most; each application adds one
SUMS = 8


class Rounding(NamedTuple):
    """Of one precision, over a row's scale. spread: below which all networks are alike; allowed: by
    which such a row may be off."""

    spread: float
    allowed: float


ROUNDING = {"float32": Rounding(1e-5, 1e-4), "float64": Rounding(1e-13, 1e-11)}


def origin(arch: Architecture, row: Row) -> Row | None:
    """Return what the row would be if no branch did anything: of the stem, or of the last
    state's gradient."""
    origin = QUANTITIES[row.quantity].origin
    if origin == "stem" and row.application:
        return replace(row, application=0)
    if origin == "readout" and row.application != arch.depth:
        return replace(row, application=arch.depth)
    return None


@dataclass(frozen=True)
class Origins:
    """rows: those of a verdict, then the origins that are not among them; of: [row's index] ->
    its origin's."""

    rows: tuple[Row, ...]
    of: dict[int, int]

    @classmethod
    def find(cls, arch: Architecture, rows: Sequence[Row]) -> Origins:
        """Return the rows with the origins of all of them."""
        found = [origin(arch, row) for row in rows]
        every = tuple(dict.fromkeys((*rows, *(row for row in found if row is not None))))
        at = {row: i for i, row in enumerate(every)}
        return cls(every, {i: at[row] for i, row in enumerate(found) if row is not None})

    def without_change(
        self, predicted: Sequence[float | None], scale: np.ndarray, rounding: float
    ) -> dict[int, int]:
        """Return {row: origin} where theory tells the two apart by no more than rounding (over
        scale)."""
        found = {}
        for row, start in self.of.items():
            here, there = predicted[row], predicted[start]
            if (
                here is not None
                and there is not None
                and abs(here - there) <= rounding * scale[row]
            ):
                found[row] = start
        return found


def change_limit(dtype: str, depth: int) -> float:
    """Return by how much, over its scale, rounding may move a row's mean on its way through
    ``depth`` applications."""
    return min(ROUNDING[dtype].spread, float(np.finfo(dtype).eps) * (SUMS + depth))


def unmoved(
    values: np.ndarray, pairs: dict[int, int], scale: np.ndarray, rounding: float
) -> dict[int, int]:
    """Return the pairs (row: origin) that are no further apart than branches leave them whose
    squares are rounding.

    values: [networks, rows]; scale: [rows of a verdict]. A network at which nothing is claimed to
    change on average, though its branches are not small (a stack at unit gain), moves every
    network's row by O(n^-1/2), and is judged.
    """
    first_order = math.sqrt(rounding) / 4
    return {
        row: start
        for row, start in pairs.items()
        if np.all(abs(values[:, row] - values[:, start]) <= first_order * scale[row])
    }

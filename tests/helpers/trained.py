"""Two sets of trained networks: how many times as much the target's outputs have changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

import sigprop as sp

MARGIN, ERRORS = 0.1, 3.0
"""Equal: within 10 % or 3 standard errors."""


class Ratio(NamedTuple):
    """Mean over seeds in the target over that in the base, and its standard error."""

    value: float
    error: float

    @property
    def equal(self) -> bool:
        return abs(self.value - 1) <= max(MARGIN, ERRORS * self.error)


def ratio(base: Sequence[float], target: Sequence[float]) -> Ratio:
    """The ratio of two means of independent networks, its error by the delta method."""
    means = [float(np.mean(side)) for side in (base, target)]
    shares = [
        float(np.std(side, ddof=1)) / math.sqrt(len(side)) / mean
        for side, mean in zip((base, target), means, strict=True)
    ]
    value = means[1] / means[0]
    return Ratio(value, value * math.hypot(*shares))


def planted(plan: sp.Prescription, groups: Iterable[str], factor: float) -> sp.Prescription:
    """The plan with these groups' rates times a factor: a power of width or depth left out."""
    rows = [
        {**row, "value": factor * row["value"]}
        if row["setting"] == "learning_rate" and row["group"] in set(groups)
        else row
        for row in plan.rows
    ]
    return replace(plan, rows=rows)

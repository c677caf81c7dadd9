"""Gradients per parameter group scale with the width n and the MLP's ratio M as 2304.02034
states (its table of |g|), on finite networks."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest

import sigprop as sp

WIDTHS, RATIOS, SAMPLES = (64, 128, 256), (1, 2, 4), 400
IN_WIDTH = dict.fromkeys("qkvuwx", -0.5)  # rms gradient of a component: n^-1/2 for every group
# (M n)^-1/2 for the MLP's first matrix
IN_RATIO = {"q": 0.0, "k": 0.0, "v": 0.0, "u": 0.0, "w": -0.5, "x": 0.0}


@functools.cache
def measured(width: int, ratio: int) -> dict[str, tuple[float, float]]:
    """group -> (log rms of a gradient component, its standard error)."""
    arch = sp.architectures.transformer(tokens=2, mlp_ratio=ratio, norm_kind="rms")
    table = sp.measure(arch, width=width, samples=SAMPLES, quantities=["weight_gradient"])
    return {
        row["group"]: (math.log(row["value"] / width) / 2, row["se"] / row["value"] / 2)
        for row in table
    }


def slope(points: list[tuple[float, tuple[float, float]]]) -> tuple[float, float]:
    """Weighted least squares of log rms on the log of the size: (slope, standard error)."""
    x, y, se = (
        np.array(v)
        for v in (
            [math.log(size) for size, _ in points],
            [value for _, (value, _) in points],
            [e for _, (_, e) in points],
        )
    )
    w = 1 / se**2
    centred = x - (w * x).sum() / w.sum()
    return float((w * centred * y).sum() / (w * centred**2).sum()), float(
        (w * centred**2).sum() ** -0.5
    )


@pytest.mark.parametrize("group", "qkvuwx")
def test_slopes(group: str):
    """Within 4 standard errors, and 0.04 for what 1/n terms bend a slope by at these widths (12
    slopes: one in a thousand runs fails)."""
    found: list[Any] = [
        (slope([(n, measured(n, 2)[group]) for n in WIDTHS]), IN_WIDTH[group]),
        (slope([(m, measured(128, m)[group]) for m in RATIOS]), IN_RATIO[group]),
    ]
    for (value, se), expected in found:
        assert abs(value - expected) < 4 * se + 0.04, (group, value, se, expected)
        assert se < 0.06  # the companion: an exponent that is 1/2 off would be seen

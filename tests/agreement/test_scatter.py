"""Predicted scatter and shift against finite networks of the registered architectures.

n Var and n (mean - value) of networks at two widths, extrapolated to 1/n = 0: the largest of all
rows' deviations over their standard errors stays below ``FAR``, which a right theory passes with
probability 99 % at least.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

import sigprop as sp

A = sp.architectures
FAR = 4.5
ROUNDING = 1e-6  # of a network in float32
NETWORKS = {128: 1200, 256: 600}
CASES: dict[str, Any] = {
    "looped-mlp": lambda: A.looped_mlp(loops=4),
    "residual-mlp": lambda: A.residual_mlp(depth=4, activation="tanh", norm="none"),
    "nag": lambda: A.nag(depth=2),
    "transformer": lambda: A.transformer(depth=1),
    "deepnorm": lambda: A.deepnorm(depth=1),
    "sandwich": lambda: A.sandwich_transformer(depth=1),
}


def keyed(table: Any) -> dict[Any, dict[str, Any]]:
    names = ("quantity", "application", "application_2", "token", "token_2")
    return {tuple(row.get(name) for name in names): row for row in table}


def furthest(arch: sp.Architecture, predicted: dict[Any, dict[str, Any]]) -> float:
    """The largest deviation over its standard error, of scatter or shift."""
    quantities = sorted({key[0] for key in predicted})
    measured = {
        n: keyed(
            sp.measure(arch, width=n, samples=m, quantities=quantities, applications=[arch.depth])
        )
        for n, m in NETWORKS.items()
    }
    worst = 0.0
    for key, row in predicted.items():
        points = []
        for n, m in NETWORKS.items():
            found = measured[n][key]
            variance = n * m * found["se"] ** 2
            # of a variance: fourth moments of these rows are at most twice a Gaussian's
            points.append((n, variance, variance * math.sqrt(4 / m)))
        deviation = _at_infinity(points) if row["n_variance"] > 1e-9 else (0.0, 1.0)
        error = row["n_variance_error"] / 2.6
        worst = max(worst, abs(deviation[0] - row["n_variance"]) / math.hypot(deviation[1], error))
        n = max(NETWORKS)
        found = measured[n][key]
        shift = n * (found["value"] - row["value"])
        error = math.hypot(n * found["se"], row["n_shift_error"] / 2.6)
        rounding = n * ROUNDING * abs(row["value"])  # of rows that are certain
        worst = max(worst, abs(shift - row["n_shift"]) / max(error, rounding))
    return worst


def _at_infinity(points: Any) -> tuple[float, float]:
    """Extrapolate a + b/n through two points; returns a and its standard error."""
    (n, low, low_error), (m, high, high_error) = points
    a = (m * high - n * low) / (m - n)
    return a, math.hypot(m * high_error, n * low_error) / (m - n)


@pytest.mark.parametrize("name", CASES)
def test_as_finite_networks_have_it(name: str):
    arch = CASES[name]()
    predicted = keyed(sp.fluctuations(arch, applications=[arch.depth], units=1024))
    assert furthest(arch, predicted) < FAR


def test_another_network_is_told_from_it():
    """The companion: the scatter of eight loops, said of networks of four."""
    other = A.looped_mlp(loops=8, residual_scale=0.25)
    predicted = keyed(sp.fluctuations(other, ["residual_variance"], [8], units=1024))
    arch = A.looped_mlp(loops=4, residual_scale=0.25)
    said = {(*key[:1], 4, *key[2:]): row for key, row in predicted.items()}
    assert furthest(arch, said) > FAR

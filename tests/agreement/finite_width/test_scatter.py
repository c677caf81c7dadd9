"""Predicted scatter and shift against finite networks of the registered architectures.

n Var and n (mean - value) of networks at three widths, extrapolated to 1/n = 0: the largest of all
rows' deviations over their standard errors stays below ``FAR``, which a right theory passes with
probability 99 % at least (two numbers of at most 30 rows: 4.0 would be 99.6 %). docs/scatter.csv
has every registered architecture, from more networks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from long_cases import apart
from scipy import stats

import sigprop as sp
from sigprop.agreement.finite_width.scatter import against_networks, at_infinity, variance, weights
from sigprop.theory.fluctuations.forms import having_forms, is_backward

A = sp.architectures
FAR = 4.0
NETWORKS = {64: 1000, 128: 3000, 256: 4000}
CASES: dict[str, Any] = {
    "looped-mlp": lambda: A.looped_mlp(loops=4),
    "residual-mlp": lambda: A.residual_mlp(depth=4, activation="tanh", norm="none"),
    "nag": lambda: A.nag(depth=2),
    "transformer": lambda: A.transformer(depth=1),
    "deepnorm": lambda: A.deepnorm(depth=1),
    "sandwich": lambda: A.sandwich_transformer(depth=1),
}


BACKWARD = ["gradient_variance", "weight_gradient"]


def compared(arch: sp.Architecture, **more: Any) -> list[dict[str, Any]]:
    at = [arch.depth]
    forward = [name for name in having_forms(arch, at) if not is_backward([name])]
    given = {"quantities": forward, "applications": at} | more
    return against_networks(arch, NETWORKS, units=512, **given)


def furthest(rows: list[dict[str, Any]]) -> float:
    """The largest deviation over its standard error, of scatter or shift."""
    every = [abs(row[name]) for row in rows for name in ("variance_z", "shift_z") if row[name]]
    return max(every)


@pytest.mark.parametrize("name", apart(CASES, ["sandwich", "deepnorm"]))
def test_as_finite_networks_have_it(name: str):
    assert furthest(compared(CASES[name]())) < FAR


def test_gradients_as_finite_networks_have_them():
    rows = compared(CASES["looped-mlp"](), quantities=BACKWARD, applications=[0, 1])
    assert furthest(rows) < FAR


def test_another_network_is_told_from_it():
    """The companion: what untied blocks have, said of tied ones."""
    tied = A.looped_mlp(loops=4, residual_scale=0.5)
    said = A.residual_mlp(depth=4, residual_scale=0.5)
    assert furthest(compared(tied, said=said)) > FAR


def test_a_variance_and_its_own():
    """As scipy has them, and right on average: the variances of 4000 samples of 20 exponentials
    scatter as it says, within four standard errors (false alarm 1e-4). The companion: a Gaussian's
    2/19 is less than half of it."""
    rng = np.random.default_rng(0)
    rows = rng.standard_exponential((20, 4000))
    found, own = variance(rows)
    assert found[0] == pytest.approx(np.var(rows[:, 0], ddof=1))
    floor = 0.02 * found[0] ** 2 / 20
    assert own[0] == pytest.approx(max(stats.kstatvar(rows[:, 0], 2), floor))
    squares = (found - found.mean()) ** 2 - own
    assert abs(squares.mean()) < 4 * squares.std() / np.sqrt(len(squares))
    assert 2 * (found**2).mean() / 19 < 0.5 * found.var()


def test_a_parabola_is_extrapolated_exactly():
    """n Var = 3 + 5/n + 7/n^2 and n (mean - value) = 2 - 40/n + 9/n^2 of networks that are exact,
    +-s about their mean; a straight line would be off."""
    widths = (64, 128, 256)
    np.testing.assert_allclose(weights(widths), [1 / 3, -2, 8 / 3])
    rows = {}
    for n in widths:
        sd = np.sqrt((3 + 5 / n + 7 / n**2) / n)
        mean = 1 + (2 - 40 / n + 9 / n**2) / n
        signs = np.tile([1.0, -1.0], 50)[:, None] * np.sqrt(99 / 100)
        rows[n] = mean + sd * signs
    found = at_infinity(rows, np.ones(1))
    assert found.variance[0] == pytest.approx(3, rel=1e-9)
    assert found.shift[0] == pytest.approx(2, rel=1e-9)

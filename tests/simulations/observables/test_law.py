"""The law of finite networks: rows fluctuate by n^-1/2 between networks, and their mean is
theory + O(1/n)."""

from __future__ import annotations

import numpy as np
import pytest

import sigprop as sp
from sigprop.description.shapes import Row
from sigprop.simulations.engines.monte_carlo import engine_for, sample
from sigprop.theory.predictions.evaluate import evaluate, unscaled

WIDTHS = (32, 64, 128, 256)
SAMPLES = 400
ROWS = (
    Row("residual_variance", 4, token=0),
    Row("state_cosine", 0, 4, token=0),
    Row("gradient_variance", 0, token=0),
    Row("weight_gradient", 0, group="w"),
)
TIED = sp.architectures.looped_mlp(depth=1, loops=4)
UNTIED = sp.architectures.residual_mlp(depth=4, residual_scale=0.25)


@pytest.fixture(scope="module")
def networks() -> np.ndarray:
    """[widths, SAMPLES, rows]."""
    return np.stack(
        [sample(engine_for("auto", TIED, ROWS, n, 1024), SAMPLES, seed=11) for n in WIDTHS]
    )


def exponents(networks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope of log sd over log n, and its standard error: Var log sd = (kurtosis - 1)/(4 m)
    (chi-square's 1/(2m) when normal)."""
    sd = networks.std(axis=1, ddof=1)
    centred = networks - networks.mean(axis=1, keepdims=True)
    kurtosis = np.maximum((centred**4).mean(axis=1) / sd**4, 3)
    weight = 4 * SAMPLES / (kurtosis - 1)
    x = np.log(WIDTHS)[:, None] - (weight * np.log(WIDTHS)[:, None]).sum(axis=0) / weight.sum(
        axis=0
    )
    spread = (weight * x**2).sum(axis=0)
    return (weight * x * np.log(sd)).sum(axis=0) / spread, 1 / np.sqrt(spread)


def test_sd_falls_as_the_square_root_of_width(networks: np.ndarray):
    # 4 standard errors on 4 rows: false alarm 3e-4, and the seed is fixed. 0.06: sd itself has a
    # 1/n term (about 5 % at n = 32).
    slope, error = exponents(networks)
    assert (error < 0.06).all()
    assert (abs(slope + 0.5) < 4 * error + 0.06).all(), (slope, error)


@pytest.mark.parametrize("power", [-1.0, 0.0])
def test_another_power_would_be_seen(networks: np.ndarray, power: float):
    """The companion: fluctuations rescaled to another power of n fail the test above."""
    mean = networks.mean(axis=1, keepdims=True)
    factor = np.array(WIDTHS, dtype=float)[:, None, None] ** (power + 0.5)
    slope, error = exponents(mean + factor * (networks - mean))
    assert (abs(slope + 0.5) > 4 * error + 0.06).all()


def limit(
    networks: np.ndarray, theory: sp.Architecture
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(a, its standard error, b) of mean/theory - 1 = a + b/n over the widths from 64, weighted."""
    predicted = np.array([unscaled(*value) for value in evaluate(theory, ROWS)[0]], dtype=float)
    d = networks[1:] / predicted - 1
    y, error = d.mean(axis=1), d.std(axis=1, ddof=1) / np.sqrt(SAMPLES)
    found = []
    for row in range(len(ROWS)):
        design = np.stack([np.ones(3), 1 / np.array(WIDTHS[1:])], axis=1) / error[:, row, None]
        covariance = np.linalg.inv(design.T @ design)
        coefficients = covariance @ design.T @ (y[:, row] / error[:, row])
        found.append((coefficients[0], np.sqrt(covariance[0, 0]), coefficients[1]))
    a, se, b = np.array(found).T
    return a, se, b


def test_the_mean_approaches_the_theory(networks: np.ndarray):
    # 4 standard errors on 4 rows: false alarm 3e-4, and the seed is fixed. (b/64)^2: the next
    # order.
    a, se, b = limit(networks, TIED)
    assert (se < 0.02).all()
    assert (abs(a) < 4 * se + (b / 64) ** 2).all(), (a, se, b)


def test_the_tied_network_does_not_approach_the_untied_theory(networks: np.ndarray):
    """The companion: with the same numbers but independent weights, every row's limit is
    elsewhere."""
    a, se, _ = limit(networks, UNTIED)
    assert (abs(a) > 8 * se).all(), (a, se)

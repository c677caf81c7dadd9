"""Small means of an activation's arguments: against integrals over both, and by their order."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigprop.language.activation import Activation
from sigprop.language.activations import find
from sigprop.theory.gaussian import dual, shifted

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(120)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
QA, C, QB = 0.8, 0.5, 1.3
MEANS = (0.6, -1.0)


def integral(function: Any, step: float) -> float:
    """E f(x + a) f(y + b) of the Gaussians above, a and b their means times a step."""
    x, y = np.meshgrid(NODES, NODES, indexing="ij")
    left = QA**0.5 * x + step * MEANS[0]
    right = C / QA**0.5 * x + (QB - C**2 / QA) ** 0.5 * y + step * MEANS[1]
    return float(WEIGHTS @ (np.asarray(function(left)) * np.asarray(function(right))) @ WEIGHTS)


def predicted(activation: Activation, order: int, step: float, log: float = 0.0) -> float:
    """The same by the rule; log: of a scale that mantissas leave out."""
    scale = np.exp(-log)
    sides = []
    for mean, variance in zip(MEANS, (QA, QB), strict=True):
        own = jnp.asarray([step * mean * scale])
        square = jnp.asarray([variance * scale**2]) + own**2
        sides.append(dual.features(activation, square, jnp.full(1, log), mean=own))
    value = dual.dual(activation, order, sides[0], jnp.asarray([[C * scale**2]]), sides[1])
    return float(value[0, 0]) / (scale**2 if order == 0 else 1.0)


SMOOTH = ["linear", "erf", "gelu", "tanh", "silu"]


@pytest.mark.parametrize("log", [0.0, 1.5])
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("name", SMOOTH)
def test_to_third_order(name: str, order: int, log: float):
    """What is left falls as the third power of the means (or is nothing)."""
    with jax.enable_x64(True):
        activation = find(name)
        function = activation.derivative if order else activation.function
        left = [
            abs(predicted(activation, order, step, log) - integral(function, step))
            for step in (0.0, 0.05, 0.1)
        ]
    assert left[0] < 1e-8  # of the integral
    assert left[2] < 0.5 * 0.1**3
    assert left[1] < left[2] / 7 + 1e-8


def test_without_crossed_terms_it_is_of_first_order(monkeypatch: pytest.MonkeyPatch):
    """Companion."""
    monkeypatch.setattr(shifted.Means, "crossed", lambda *_: 0.0)
    with jax.enable_x64(True):
        gelu = find("gelu")
        left = [abs(predicted(gelu, 0, t) - integral(gelu.function, t)) for t in (0.05, 0.1)]
    assert left[1] > 0.003 and left[1] < 3 * left[0]


@pytest.mark.parametrize("slope", [0.0, 0.01, -0.5])
def test_leaky_relus(slope: float):
    """phi = a x + b |x|: E[phi'(x) phi(y)] = a b sqrt(2/pi) (sqrt(qb) + c/sqrt(qa))."""
    from sigprop.language.activations import leaky

    a, b, step = (1 + slope) / 2, (1 - slope) / 2, 1e-3
    m, n = (step * mean for mean in MEANS)
    left = m * (QB**0.5 + C / QA**0.5) + n * (QA**0.5 + C / QB**0.5)
    with jax.enable_x64(True):
        up, down = (predicted(leaky(slope), 0, s) for s in (step, -step))
    assert (up - down) / 2 == pytest.approx(a * b * (2 / np.pi) ** 0.5 * left, rel=1e-5)


@pytest.mark.parametrize("name", ["relu", "gelu", "erf", "linear"])
def test_closed_forms_need_few_terms(name: str, monkeypatch: pytest.MonkeyPatch):
    with jax.enable_x64(True):
        few = predicted(find(name), 0, 0.1)
        monkeypatch.setattr(shifted, "CLOSED", 12)
        assert few == pytest.approx(predicted(find(name), 0, 0.1), rel=1e-12)

"""Activations with kinks away from 0: what the quadrature is off by is in the stated error."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

import sigprop as sp
from sigprop.language.activations import ACTIVATIONS, find
from sigprop.theory.gaussian.series import roughness


def hard_tanh(x: object) -> object:
    return jnp.clip(x, -1, 1)


def hard_swish(x: object) -> object:
    return x * jnp.clip(x + 3, 0, 6) / 6  # type: ignore[operator]


KINKED = {"hard-tanh": (hard_tanh, (-1.0, 1.0)), "hard-swish": (hard_swish, (-3.0, 3.0))}
SLOPES: dict[str, Callable[[float], float]] = {
    "hard-tanh": lambda x: float(abs(x) < 1),
    "hard-swish": lambda x: (2 * x + 3) / 6 if abs(x) < 3 else float(x >= 3),
}


def moment(function: Callable[[float], float], variance: float, kinks: tuple[float, ...]) -> float:
    """E f(x)^2, x ~ N(0, variance), integrated between the kinks."""
    size = variance**0.5
    ends = [-12.0, *sorted(kink / size for kink in kinks), 12.0]

    def density(z: float) -> float:
        return function(size * z) ** 2 * float(np.exp(-z * z / 2) / np.sqrt(2 * np.pi))

    pieces = zip(ends, ends[1:], strict=False)
    return sum(quad(density, a, b, epsabs=1e-14, epsrel=1e-12)[0] for a, b in pieces if b > a)


@pytest.mark.parametrize("name", KINKED)
def test_the_error_holds_what_the_quadrature_is_off_by(name: str):
    """Of one layer whose matrix gives it variance q: values and gradients are within the error,
    which is not all of them."""
    function, kinks = KINKED[name]
    activation = sp.Activation(name, function)
    off = []
    for variance in (0.3, 2.0, 7.0, 12.0, 40.0):
        block = sp.SubBlock(
            sp.State(0),
            sp.Linear("x", sp.Activate(activation, sp.Linear("w", sp.Read(), sp.Number("c"))), 1.0),
            sp.Write(),
        )
        arch = sp.Architecture("one", (block,), [0], numbers={"c": variance})
        table = sp.predict(arch, ["residual_variance", "gradient_variance"])
        found = {(row["quantity"], row["application"]): row for row in table}
        state, gradient = found["residual_variance", 1], found["gradient_variance", 0]
        plain = {"hard-tanh": lambda x: float(np.clip(x, -1, 1)), "hard-swish": _swish}[name]
        truths = moment(plain, variance, kinks), variance * moment(SLOPES[name], variance, kinks)
        for row, truth in zip((state, gradient), truths, strict=True):
            off.append(abs(row["value"] - truth) / truth)
            assert abs(row["value"] - truth) <= row["error"]
            assert row["error"] < 0.3 * truth
    assert max(off) > 1e-4  # without it the stated error was 1e-13


def _swish(x: float) -> float:
    return x * float(np.clip(x + 3, 0, 6)) / 6


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_registered_activations_are_smooth_but_at_zero(name: str):
    assert roughness(find(name), 16) == (0.0, 0.0)

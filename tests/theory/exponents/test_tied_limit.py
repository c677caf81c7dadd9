"""A, c* and gamma of tied networks against the page's values, an independent shooting solution,
and laws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, optimize

import sigprop as sp
from sigprop.theory.exponents.branch_map import branch_map
from sigprop.theory.exponents.tied_limit import tied_limit


def limit(activation: str, matrices: int = 2):
    return tied_limit(
        branch_map(sp.architectures.looped_mlp(activation=activation, matrices=matrices), [1.0])
    )


@pytest.mark.parametrize(
    ("activation", "amplitude", "gamma"),
    [("relu", 1, 1), ("gelu", 0.9966, 1.0233), ("tanh", 0.9626, 1.0627), ("linear", 1, 1)],
)
def test_values_of_the_page(activation: str, amplitude: float, gamma: float) -> None:
    found = limit(activation)
    assert found.amplitude == pytest.approx(amplitude, abs=5e-5)
    assert found.gamma == pytest.approx(gamma, abs=5e-5)
    assert found.gamma_error < 1e-6


def test_odd_activation_by_hand() -> None:
    """erf has K = (2/pi) asin(2c/3)/((2/pi) asin(2/3)): c* = 0, A = 2 int_0^1 K in closed form,
    gamma by shooting with that K."""
    one = np.arcsin(2 / 3)
    kernel, slope = (
        lambda c: np.arcsin(2 * c / 3) / one,
        lambda c: 2 / 3 / np.sqrt(1 - 4 * c * c / 9) / one,
    )
    amplitude = 2 * (one + (np.sqrt(1 - 4 / 9) - 1) * 1.5) / one
    found = limit("erf")
    assert found.cosine == pytest.approx(0, abs=1e-12)
    assert found.amplitude == pytest.approx(amplitude, rel=1e-8)

    def end(square: float) -> float:
        """y far out, y'' = (gamma^2 - U) y from an even start: it grows with one sign above the
        eigenvalue, with the other below."""

        def rate(_: float, z: np.ndarray) -> list[float]:
            c = z[0]
            v = (c * np.arcsin(2 * c / 3) + np.sqrt(9 / 4 - c * c)) / one  # int K
            top = (one + np.sqrt(5 / 4)) / one
            return [
                -np.sqrt(max(c * c - 1 + 2 * (top - v) / amplitude, 0.0)),
                z[2],
                (square - slope(c) / amplitude) * z[1],
            ]

        # a step of x = 1e-4 down from the top, where c' = 0
        start = 1 - (1 / amplitude - 1) / 2 * 1e-8
        return float(
            integrate.solve_ivp(rate, (1e-4, 24), [start, 1.0, 0.0], rtol=1e-10, atol=1e-12).y[
                1, -1
            ]
        )

    assert found.gamma**2 == pytest.approx(optimize.brentq(end, 1.12, 1.25, xtol=1e-9), abs=2e-6)
    assert kernel(1.0) == 1


@pytest.mark.parametrize("activation", ["gelu", "silu", "tanh"])
def test_gamma_lies_between_one_and_aligned_states(activation: str) -> None:
    branch = branch_map(sp.architectures.looped_mlp(activation=activation), [1.0])
    found = tied_limit(branch)
    assert 1 < found.gamma < np.sqrt(branch.chi)
    # a linear last matrix changes nothing
    assert found.gamma == pytest.approx(limit(activation, matrices=1).gamma, abs=1e-9)


@pytest.mark.parametrize(("activation", "chi"), [("relu", 1.0), ("gelu", 1.0720), ("tanh", 1.1778)])
def test_branch_map_is_the_kernel(activation: str, chi: float) -> None:
    """K(1) = gain, K' the derivative of K, chi the page's."""
    branch = branch_map(sp.architectures.looped_mlp(activation=activation), [1.0])
    kernel, slope, _ = branch.smooth()
    theta = np.linspace(0.3, 1.4, 7)
    assert -kernel(theta, 1) / np.sin(theta) == pytest.approx(slope(theta), rel=1e-5)
    assert branch.gain == pytest.approx(1, rel=1e-9)
    assert branch.chi == pytest.approx(chi, abs=5e-5)


def test_one_token_attention_is_linear_in_the_value() -> None:
    branch = branch_map(sp.architectures.transformer(block="attention", tokens=1), [1.0])
    assert branch.kernel == pytest.approx(np.cos(branch.theta), abs=1e-9)
    with pytest.raises(sp.NoRule, match="one cosine"):
        branch_map(sp.architectures.transformer(block="attention", tokens=2), [1.0])

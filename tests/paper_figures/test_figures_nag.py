"""The formulas in the norm-agnostic figures' captions, against the engine's predictions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad

import sigprop as sp
from sigprop.paper_figures.nag_cosines import gamma_ratio
from sigprop.paper_figures.nag_schedules import remembered


@pytest.mark.parametrize("m", [1.0, 0.5])
def test_the_gamma_ratio_is_the_cosine_with_the_input_and_one_over_the_norm(m: float):
    arch = sp.architectures.nag(depth=12, tokens=1, modulator=m)
    rows = sp.predict(arch, quantities=["state_cosine", "log_norm"], applications=[0, 3, 12])
    found = {
        (row["quantity"], row["application"], row.get("application_2")): row["value"]
        for row in rows
    }
    for b in (3, 12):
        assert found["state_cosine", 0, b] == pytest.approx(gamma_ratio(b, m), rel=1e-12)
        assert found["log_norm", b, None] == pytest.approx(-math.log(gamma_ratio(b, m)), rel=1e-12)


def test_the_infinite_products():
    assert remembered(1.0) == pytest.approx(math.sqrt(math.pi / math.sinh(math.pi)), rel=1e-8)
    long = sum(math.log1p(k**-1.25) for k in range(1, 10**6)) + (10**6 - 0.5) ** -0.25 / 0.25
    assert remembered(0.625) == pytest.approx(math.exp(-0.5 * long), rel=1e-4)


@pytest.mark.parametrize(
    ("p", "law"),
    [(0.5, lambda n: 2 * math.sqrt(n)), (0.25, lambda n: n**0.75 / 0.75), (1.0, math.log)],
)
def test_the_rotation_grows_as_stated(p: float, law):
    """What a doubling of the depth adds."""
    arch = sp.architectures.nag(depth=256, tokens=1, alpha_exponent=p)
    half, whole = (
        row["value"] for row in sp.predict(arch, quantities=["rotation"], applications=[128, 256])
    )
    # arctan of a gain is a third of its cube smaller
    assert math.radians(whole - half) == pytest.approx(law(256) - law(128), rel=0.03)


@pytest.mark.parametrize(
    ("activation", "phi", "slope"),
    [
        ("relu", lambda x: max(x, 0.0), lambda x: float(x > 0)),
        ("tanh", math.tanh, lambda x: math.cosh(x) ** -2),
    ],
)
@pytest.mark.parametrize("p", [0.25, 0.5, 1.0])
def test_gradients_are_the_products_of_the_caption(activation, phi, slope, p: float):
    def mean(f):
        return quad(lambda x: f(x) ** 2 * math.exp(-x * x / 2), -12, 12, points=[0.0])[0]

    chi = mean(slope) / mean(phi)
    assert chi == pytest.approx({"relu": 1.0, "tanh": 1.1778}[activation], abs=1e-4)
    gains = np.arange(1, 65.0) ** -p
    factors = (1 + chi * gains**2) / (1 + gains**2)
    arch = sp.architectures.nag(depth=64, tokens=1, activation=activation, alpha_exponent=p)
    for row in sp.predict(arch, quantities=["gradient_variance"], applications=[0, 16, 64]):
        assert row["value"] == pytest.approx(np.prod(factors[row["application"] :]), rel=1e-6)

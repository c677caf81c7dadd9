"""Angle and gradient exponents, and attention's participation, against closed forms and
one-dimensional integrals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate

import sigprop as sp


@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_angle_exponent_of_an_mlp_block(activation: str):
    """Near cosine 1: log of (1 + eps^2 c_x c_w V'(1)) / (1 + eps^2 c_x V(1)) at q = 1 with a
    skip of one (derived: d of cosine by cosine)."""
    arch = sp.architectures.transformer(
        block="mlp",
        activation=activation,
        tokens=2,
        token_cosine=1 - 1e-6,
        norm_kind="rms",
        residual_scale=0.7,
        c_w=1.5,
    )
    phi = sp.Activation(
        "plain",
        {
            "tanh": __import__("jax").numpy.tanh,
            "gelu": lambda x: __import__("jax").nn.gelu(x, approximate=False),
        }[activation],
    )

    def second(f):
        return integrate.quad(
            lambda z: (
                float(f(math.sqrt(1.5) * z)) ** 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
            ),
            -9,
            9,
        )[0]

    value, slope, c_x = second(phi.function), second(phi.derivative), arch.numbers["c_x"]
    expected = math.log((1 + 0.49 * c_x * 1.5 * slope) / (1 + 0.49 * c_x * value))
    found = sp.predict(arch, ["angle_exponent"])[0]["value"]
    assert found == pytest.approx(expected, abs=2e-4)


def test_attention_contributes_no_angle_at_first_order():
    """Near cosine 1, attention gives all tokens the same write: log of 1/(1 + eps^2) with a skip
    of one."""
    arch = sp.architectures.transformer(
        block="attention", tokens=3, token_cosine=1 - 1e-5, norm_kind="rms", residual_scale=0.5
    )
    assert sp.predict(arch, ["angle_exponent"])[0]["value"] == pytest.approx(
        -math.log(1.25), abs=1e-3
    )


def test_gradient_exponent_is_the_gradients():
    arch = sp.architectures.looped_transformer(loops=2)
    g = {row["application"]: 0.0 for row in sp.predict(arch, ["gradient_variance"])}
    for row in sp.predict(arch, ["gradient_variance"]):
        g[row["application"]] += row["value"]
    assert sp.predict(arch, ["gradient_exponent"])[0]["value"] == pytest.approx(
        math.log(g[0] / g[4]) / 4, rel=1e-6
    )


def random_energy(tokens: int, variance: float) -> float:
    """E sum Omega^2 of iid Gaussian energies: T int_0^inf u E[x^2 e^(-u x)] E[e^(-u x)]^(T-1)
    du, x = e^(s z)."""
    z = np.linspace(-10, 10, 4001)
    weight, x = (
        np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0]),
        np.exp(math.sqrt(variance) * z),
    )
    log_u = np.linspace(-40, 12, 3000)
    u = np.exp(log_u)[:, None]
    damped = np.exp(-u * x[None])
    integrand = u[:, 0] ** 2 * (damped * x**2 @ weight) * (damped @ weight) ** (tokens - 1)
    return float(tokens * np.trapezoid(integrand, log_u))


@pytest.mark.parametrize(
    ("tokens", "c_q", "cosine"), [(2, 1.0, 0.0), (4, 4.0, 0.3), (16, 9.0, 0.0), (8, 2.0, 0.9)]
)
def test_participation_of_gaussian_scores_is_the_random_energy_average(
    tokens: int, c_q: float, cosine: float
):
    """The common part of a row's scores cancels: iid energies of variance c_q c_k (1 - cosine)
    (2505.24333, at finite T, as a 1-d integral)."""
    arch = sp.architectures.transformer(
        block="attention",
        tokens=tokens,
        token_cosine=cosine,
        c_q=c_q,
        head_dim="inf",
        norm_kind="rms",
    )
    rows = sp.predict(arch, ["participation"])
    for row in rows:
        assert row["value"] == pytest.approx(
            random_energy(tokens, c_q * (1 - cosine)), abs=max(2 * row["error"], 1e-5)
        )
    assert np.mean([row["value"] for row in rows]) == pytest.approx(
        random_energy(tokens, c_q * (1 - cosine)), rel=2e-3
    )

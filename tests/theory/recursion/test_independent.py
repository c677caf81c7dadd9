"""NNGP and NTK of untied stacks against recursions written here from textbook formulas (1611.01232,
1806.07572), to 1e-8.

The expectations are 2-d Gaussian integrals by Gauss-Hermite or by Cho and Saul's arc-cosine
kernels: nothing of sigprop's.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

import sigprop as sp

PHI = {
    "relu": (lambda x: np.maximum(x, 0.0), lambda x: x > 0),
    "erf": (special.erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-x * x)),
    "gelu": (
        lambda x: x * special.ndtr(x),
        lambda x: special.ndtr(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    ),
}
GRAM = np.array([[1.0, 0.4], [0.4, 0.8]])


def expectation(f, a: float, c: float, b: float, nodes: int = 120) -> float:
    """E f(x) f(y), (x, y) ~ N(0, [[a, c], [c, b]])."""
    if f is PHI["relu"][0] or f is PHI["relu"][1]:
        rho = min(1.0, c / math.sqrt(a * b))
        angle = math.acos(rho)
        return (
            (math.pi - angle) / (2 * math.pi)
            if f is PHI["relu"][1]
            else math.sqrt(a * b) * (math.sin(angle) + (math.pi - angle) * rho) / (2 * math.pi)
        )
    z, w = np.polynomial.hermite_e.hermegauss(nodes)
    w = w / w.sum()
    x = math.sqrt(a) * z
    spread = math.sqrt(max(0.0, b - c * c / a))
    return float(w @ (f(x) * (f(c / math.sqrt(a) * z[:, None] + spread * z[None, :]) @ w)))


def dual(f, q: np.ndarray) -> np.ndarray:
    def value(t, s):
        return expectation(f, q[t, t], q[t, s], q[s, s])

    return np.array([[value(0, 0), value(0, 1)], [value(1, 0), value(1, 1)]])


def test_the_reference_itself():
    """erf: Williams' arcsine; gelu: the same from 60 nodes as from 120."""
    a, c, b = 1.7, 0.9, 1.2
    assert expectation(PHI["erf"][0], a, c, b) == pytest.approx(
        2 / math.pi * math.asin(2 * c / math.sqrt((1 + 2 * a) * (1 + 2 * b))), abs=1e-12
    )
    assert expectation(PHI["gelu"][0], a, c, b) == pytest.approx(
        expectation(PHI["gelu"][0], a, c, b, nodes=60), abs=1e-10
    )
    assert expectation(PHI["gelu"][1], a, c, b) == pytest.approx(
        expectation(PHI["gelu"][1], a, c, b, nodes=60), abs=1e-10
    )


@pytest.mark.parametrize("name", PHI)
def test_feed_forward(name: str):
    """Sigma' = c_w V_phi(Sigma) + c_b; Theta' = Sigma' contribution + c_w V_phi'(Sigma) Theta
    (NTK parametrisation, 1/n_in)."""
    phi, slope = PHI[name]
    c_w, c_b, depth = 1.7, 0.1, 4
    sigma, theta = GRAM.copy(), GRAM.copy()  # the stem h_0 = U x has NTK x x'
    states = [sigma]
    for _ in range(depth):
        value = dual(phi, sigma)
        theta = value + 1 + c_w * dual(slope, sigma) * theta
        sigma = c_w * value + c_b
        states.append(sigma)
    arch = sp.architectures.mlp(
        depth=depth, activation=name, c_w=c_w, c_b=c_b, tokens=2, input_gram=GRAM
    )
    compare(arch, states, theta + sigma)


@pytest.mark.parametrize("name", PHI)
@pytest.mark.parametrize("norm", ["none", "pre"])
def test_residual(name: str, norm: str):
    """Sigma' = Sigma + eps^2 c_x V_phi(c_w R); Theta' = Theta (1 + eps^2 c_x c_w V_phi'(c_w
    R)/norms) + eps^2 (V_phi + c_x V_phi' R)."""
    phi, slope = PHI[name]
    c_w, c_x, eps, depth = 0.9, 1.3, 0.7, 3
    sigma, theta = GRAM.copy(), GRAM.copy()
    states = [sigma]
    for _ in range(depth):
        norms = (
            np.sqrt(np.outer(np.diag(sigma), np.diag(sigma))) if norm == "pre" else np.ones((2, 2))
        )
        read = sigma / norms
        value, derivative = dual(phi, c_w * read), dual(slope, c_w * read)
        theta = theta * (1 + eps**2 * c_x * c_w * derivative / norms) + eps**2 * (
            value + c_x * derivative * read
        )
        sigma = sigma + eps**2 * c_x * value
        states.append(sigma)
    arch = sp.architectures.residual_mlp(
        depth=depth,
        activation=name,
        norm=norm,
        c_w=c_w,
        c_x=c_x,
        residual_scale=eps,
        tokens=2,
        input_gram=GRAM,
    )
    compare(arch, states, theta + sigma)


def compare(arch: sp.Architecture, states: list[np.ndarray], ntk: np.ndarray) -> None:
    for row in sp.predict(arch, ["residual_variance", "token_covariance", "ntk"]):
        t, s = row["token"], row.get("token_2", row["token"])
        if row["quantity"] == "ntk":
            if "group" not in row:
                assert row["value"] == pytest.approx(ntk[t, s], rel=1e-8)
        else:
            assert row["value"] == pytest.approx(states[row["application"]][t, s], rel=1e-8)

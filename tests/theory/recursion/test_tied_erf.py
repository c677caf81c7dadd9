"""The published tied-weight kernels (Tensor Programs reference code, papers page more.md 5.1): an
RNN with one input.

h^i = W erf(h^{i-1}) + U x, <Ux, Ux> = 1/2, s_w^2 = 3/2, s_v = 1, T = 6 steps, read-out v . mean_i
erf(h^i). U x is one more constant write in the rule; a bias of variance 0 enters wherever the stem
does, so its NTK is the stem's over <Ux, Ux>.
"""

from __future__ import annotations

import numpy as np
import pytest

import sigprop as sp
from sigprop import Activate, Linear, Number, Read, Readout, State, Stem, SubBlock, Write
from sigprop.theory.recursion.kernels import kernels

STEPS = 6
S_DIAGONAL = [0.333333, 0.464559, 0.498406, 0.506141, 0.507859, 0.508238]
S_ROW = [0.333333, 0.267720, 0.250797, 0.246929, 0.246071, 0.245881]
D_DIAGONAL = [3.792020, 3.268904, 2.857951, 2.381015, 1.776651, 1]
D_ROW = [3.792020, 2.879177, 2.533007, 2.177556, 1.695099, 1]
NTK = {"w": 0.21462485, "stem": 0.48747849, "readout": 0.37473256, None: 2.05179287 - 0.97495697}


def network() -> sp.Architecture:
    branch = Linear("w", Activate("erf", Read()), Number("c_w", "C_W"))
    pooled = Readout(at=tuple(range(STEPS)), branch=Activate("erf", Read()))
    return sp.Architecture(
        "rnn",
        (SubBlock(State(0), branch, (Write() + Stem(),)),),
        [0] * (STEPS - 1),
        {"c_w": 1.5},
        input_gram=0.5,
        readout=pooled,
    )


def test_forward_kernel():
    k = kernels(network())
    q = k.states[:, 0, 0] * np.exp(2 * k.state_log[:, 0])
    cross = np.array([k.crossed[j, 0, 0, 0] for j in range(STEPS)]) * np.exp(
        k.state_log[:, 0] + k.state_log[0, 0]
    )

    def dual(a, c, b):
        return 2 / np.pi * np.arcsin(2 * c / np.sqrt((1 + 2 * a) * (1 + 2 * b)))

    assert dual(q, q, q) == pytest.approx(S_DIAGONAL, abs=1e-6)
    assert dual(q[0], cross, q) == pytest.approx(S_ROW, abs=1e-6)


def test_backward_kernel():
    """g = phi'(h) times the gradient by phi(h), so <g_i, g_j> = V_phi' D_ij/T^2."""
    k = kernels(network())
    q = k.states[:, 0, 0] * np.exp(2 * k.state_log[:, 0])
    cross = np.array([k.crossed[j, 0, 0, 0] for j in range(STEPS)]) * np.exp(
        k.state_log[:, 0] + k.state_log[0, 0]
    )

    def slope(a, c, b):
        return 4 / np.pi / np.sqrt((1 + 2 * a) * (1 + 2 * b) - 4 * c * c)

    log = k.gradient_log[:, 0]
    g = k.gradients[:, 0, 0] * np.exp(2 * log)
    assert k.gradients_crossed is not None
    row = k.gradients_crossed[0, :, 0, 0] * np.exp(log[0] + log)
    assert STEPS**2 * g / slope(q, q, q) == pytest.approx(D_DIAGONAL, abs=1e-6)
    assert STEPS**2 * row / slope(q[0], cross, q) == pytest.approx(D_ROW, abs=1e-6)


def test_ntk():
    found = {row.get("group"): row["value"] for row in sp.predict(network(), ["ntk"])}
    assert found == pytest.approx(NTK, abs=1e-8)
    assert found["stem"] / 0.5 == pytest.approx(0.97495697, abs=1e-8)  # the bias

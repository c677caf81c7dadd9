"""How gradients fall or grow with depth: pre-norm as l^-chi, post-norm by the read-out's token
cosine."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest

import sigprop as sp

CHI = {"relu": 1.0, "gelu": 1.07203, "tanh": 1.17781}
PRE = {"relu": 13.000, "gelu": 15.188, "tanh": 18.990}
POST = {"relu": 1.0, "gelu": 1.5290, "tanh": 2.7789}
MLP: dict[str, Any] = {
    "block": "mlp",
    "depth": 12,
    "tokens": 1,
    "norm_kind": "rms",
    "residual_scale": 1.0,
}


def gradients(**given: Any) -> dict[int, float]:
    """<g_a, g_a> of token 0 by application."""
    table = sp.predict(sp.architectures.transformer(**given), ["gradient_variance"])
    return {row["application"]: row["value"] for row in table if row["token"] == 0}


@pytest.mark.parametrize("activation", CHI)
def test_pre_norm_mlp(activation: str):
    """g_l/g_D = Gamma(D+1+chi) Gamma(l+1)/(Gamma(D+1) Gamma(l+1+chi)): (D+1)/(l+1) for relu,
    l^-chi asymptotically."""
    found, chi = gradients(**MLP, activation=activation), CHI[activation]
    log = math.lgamma
    for a, g in found.items():
        assert g == pytest.approx(
            math.exp(log(13 + chi) + log(a + 1) - log(13) - log(a + 1 + chi)), rel=2e-5
        )
    assert found[0] == pytest.approx(PRE[activation], rel=1e-4)
    if activation == "relu":
        assert all(g == pytest.approx(13 / (a + 1), rel=1e-12) for a, g in found.items())
    deep = gradients(**MLP | {"depth": 400}, activation=activation)
    assert math.log(deep[100] / deep[400]) / math.log(4) == pytest.approx(chi, abs=0.01)


@pytest.mark.parametrize("activation", CHI)
def test_post_norm_mlp(activation: str):
    """((1 + eps^2 chi)/(1 + eps^2))^D: no growth for relu."""
    found = gradients(**MLP, activation=activation, norm="post")
    assert found[0] == pytest.approx(((1 + CHI[activation]) / 2) ** 12, rel=2e-4)
    assert found[0] == pytest.approx(POST[activation], rel=1e-4)


@functools.cache
def transformer(norm: str, readout: str) -> float:
    given: dict[str, Any] = {
        "depth": 6,
        "tokens": 6,
        "norm_kind": "rms",
        "mlp_ratio": 2,
        "head_dim": 32,
    }
    return gradients(**given, norm=norm, readout=readout)[0]


@pytest.mark.parametrize(
    ("norm", "independent", "half", "alike"),
    [
        ("post", 0.647, 2.061, 3.475),
        pytest.param("pre", 9.45, 18.42, 27.39, marks=pytest.mark.long),
    ],
)
def test_a_transformers_gradient_depends_on_the_read_out(
    norm: str, independent: float, half: float, alike: float
):
    """Twelve sub-blocks, <g_0, g_0> of a token at read-out cosines 0, 1/2, 1: post-norm shrinks
    independent gradients and grows common ones."""
    each, common = transformer(norm, "each"), 36 * transformer(norm, "mean")
    assert each == pytest.approx(independent, rel=3e-3)
    assert common == pytest.approx(alike, rel=3e-3)
    assert (each + common) / 2 == pytest.approx(half, rel=3e-3)
    assert (each < 1 < common) == (norm == "post")


def test_the_last_tokens_gradient_spreads_over_tokens():
    """readout = last: at the last state only the last token has a gradient, at the stem all
    have; gradients are linear in the read-out's Gram."""
    arch = sp.architectures.transformer(
        depth=1, tokens=3, readout="last", norm="post", norm_kind="rms", mask="causal"
    )
    table = {
        (row["application"], row["token"]): row["value"]
        for row in sp.predict(arch, ["gradient_variance"])
    }
    assert [table[2, t] for t in range(3)] == [0, 0, 1]
    assert (
        all(table[0, t] > 1e-3 for t in range(3))
        and np.argmax([table[0, t] for t in range(3)]) == 2
    )

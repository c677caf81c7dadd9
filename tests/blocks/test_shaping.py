"""Shaped leaky relus: their slopes, their map of cosines, and what it does in skipless networks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sigprop as sp
from sigprop.blocks.shaping import cosine_map, tailored_slope
from sigprop.errors import InputError
from sigprop.language import activations

A = sp.architectures


@pytest.mark.parametrize(
    ("nonlinearities", "slope"), [(18, 0.146135), (36, 0.351121), (72, 0.508389)]
)
def test_slopes_of_the_papers_page(nonlinearities: int, slope: float):
    assert tailored_slope(nonlinearities, 0.9) == slope


@settings(deadline=None)
@given(st.integers(1, 80), st.floats(0.05, 0.99))
def test_the_slope_gives_eta_or_relu_stays_below(nonlinearities: int, eta: float):
    slope, cosine = tailored_slope(nonlinearities, eta), 0.0
    for _ in range(nonlinearities):
        cosine = cosine_map(slope, cosine)
    assert cosine == pytest.approx(eta, abs=2e-5) or (slope == 0 and cosine <= eta)


def test_the_map_is_that_of_networks():
    """Orthogonal tokens after 18 blocks of one nonlinearity each, at unit gain: variance 1,
    cosine eta; of attention's identity nothing is seen."""
    for arch in (
        A.vanilla(block="mlp", depth=18, tokens=2),
        A.value_skipinit(block="transformer", depth=18, tokens=2, token_cosine=0.0),
    ):
        assert arch.parameters["activation"] == "leaky-relu(0.146135)"
        table = sp.predict(arch, ["residual_variance", "token_covariance"], [arch.depth])
        assert [row["value"] for row in table] == pytest.approx([1, 1, 0.9], abs=2e-6)


def test_a_slope_of_ones_own():
    """leaky-relu(s) by name is phi(x) = x, s x; the plain one has s = 0.01; others are refused."""
    x = np.array([-2.0, 3.0], dtype=np.float32)
    for name, slope in (("leaky-relu(0.25)", 0.25), ("leaky-relu(-1)", -1.0), ("leaky-relu", 0.01)):
        np.testing.assert_allclose(activations.find(name).function(x), [-2 * slope, 3], rtol=1e-6)
    assert activations.find("leaky-relu(0.25)") == activations.leaky(0.25)
    assert (
        A.vanilla(block="mlp", activation="leaky-relu(0.25)", shaping_eta=None).parameters[
            "activation"
        ]
        == "leaky-relu(0.25)"
    )
    for wrong in ("leaky-relu(2)", "leaky-relu(x)"):
        with pytest.raises(InputError, match="activation="):
            A.mlp(activation=wrong)
    with pytest.raises(InputError, match="shaping_eta=1.0"):
        A.vanilla(shaping_eta=1.0)


def test_partial_skips_are_normalised():
    """alpha^2 + beta^2 = 1: with branches that keep variances, so do skips; nothing is left to
    write at alpha = 1."""
    arch = A.value_skipinit(skip_scale="sqrt(1-1/S)", depth=8)
    assert arch.numbers["skip_scale"] ** 2 + arch.numbers["residual_scale"] ** 2 == pytest.approx(
        1, rel=1e-15
    )
    assert [row["value"] for row in sp.predict(arch, ["residual_variance"], [8])] == pytest.approx(
        [1] * 3, rel=1e-12
    )
    with pytest.raises(
        InputError, match="skip_scale=1.0: 1.0 at these sizes; accepted: from 0 to below 1"
    ):
        A.vanilla(skip_scale=1.0)
    with pytest.raises(InputError, match="block=parallel"):
        A.vanilla(block="parallel")

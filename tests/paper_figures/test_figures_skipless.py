"""Figures of skipless networks: the one program that vanilla and value-skipinit share there, and
that the designed attention is checked against its design."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sigprop as sp
from sigprop.architectures.e_spa import decays
from sigprop.blocks import spa
from sigprop.paper_figures import _skipless, skipless_attention

A = sp.architectures


def test_vanilla_as_value_skipinit_has_it_is_vanilla():
    quantities = ["residual_variance", "token_covariance", "gradient_variance"]
    ours, registered = (
        sp.predict(arch, quantities, [0, 2, 4])
        for arch in (_skipless.networks(4, 5)["vanilla"], A.vanilla(depth=4, tokens=5))
    )
    assert [row["value"] for row in ours] == pytest.approx(
        [row["value"] for row in registered], rel=1e-12, abs=1e-14
    )


@pytest.mark.parametrize("name", ["u-spa", "e-spa"])
def test_the_design_is_what_deep_networks_are_given(name: str):
    """Layer by layer; the figure's own Cholesky factors and schedule against the package's."""
    m = skipless_attention
    cosines, kind = (
        _skipless.cosines(name, m.DEPTH, m.TOKENS),
        {"u-spa": "uniform", "e-spa": "exponential"}[name],
    )
    numbers = (
        np.linspace(0, _skipless.RHO, m.DEPTH + 1)
        if name == "u-spa"
        else decays(m.DEPTH, _skipless.SPAN / m.TOKENS, 0.0)
    )
    given = spa.attention(kind, numbers, m.TOKENS, True)
    for layer in (1, 2, 17, m.DEPTH):
        np.testing.assert_allclose(
            _skipless.design(name, cosines[layer - 1], cosines[layer], m.TOKENS),
            given[layer - 1],
            atol=1e-12,
        )


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "curve": "layer 1",
        "token": 1,
        "theory": 0.25,
        "predicted": 0.25,
        "scale": 0.25,
        "measured": 0.25,
        "se": 1e-3,
        "samples": 64,
    } | changes


def test_a_prediction_that_is_not_the_design_is_rejected():
    judge, widths = skipless_attention.judge, ({"width": 128}, {"width": 1024})
    assert judge({"entries": [entry(**width) for width in widths]}).verdict == "confirmed"
    wrong = judge({"entries": [entry(predicted=0.2501, **width) for width in widths]})
    assert (wrong.verdict, wrong.against) == ("rejected", 2)
    assert (
        judge(
            {"entries": [entry(theory=0.26, predicted=0.26, **width) for width in widths]}
        ).verdict
        == "rejected"
    )

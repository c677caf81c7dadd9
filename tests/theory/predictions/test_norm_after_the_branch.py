"""A norm after the branch is one network, whether it stands in the branch or in the rule."""

from __future__ import annotations

import numpy as np

import sigprop as sp
from sigprop import Activate, Linear, Normalise, Number, Read, State, SubBlock, Write

QUANTITIES = ("residual_variance", "token_covariance", "gradient_variance", "weight_gradient")


def network(inside: bool) -> sp.Architecture:
    branch = Linear("x", Activate("gelu", Linear("w", Read(), Number("c_w"))), Number("c_x"))
    epsilon = Number("epsilon")
    after = (
        (Normalise(branch, "rms", epsilon), Write())
        if inside
        else (
            branch,
            Normalise(Write(), "rms", epsilon),
        )
    )
    return sp.Architecture(
        "norm after the branch",
        (SubBlock(Normalise(State(0)), after[0], (State(0) + after[1],)),),
        range(3),
        numbers={"c_w": [1.0, 2.0, 0.5], "c_x": 0.7, "epsilon": [1e-2, 0.3, 1e-5]},
        input_gram=np.array([[1.0, 0.3], [0.3, 2.0]]),
    )


def test_a_norm_after_the_branch_stands_in_the_branch_or_in_the_rule():
    """Gradients too: the rules of reverse mode meet the norm in other places (rows in order, 1e-12
    relative)."""
    inside, outside = (
        list(sp.predict(network(where), list(QUANTITIES))) for where in (True, False)
    )
    assert len(inside) == len(outside) > 20
    for one, other in zip(inside, outside, strict=True):
        assert one["quantity"] == other["quantity"]
        np.testing.assert_allclose(one["value"], other["value"], rtol=1e-12, atol=1e-15)

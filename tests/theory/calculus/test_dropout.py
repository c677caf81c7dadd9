"""Dropout: one rule on vectors, and on attention weights; its closed forms, and finite networks
with masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy

import sigprop as sp
from sigprop import Activate, Linear, Number, Read, State, SubBlock, Write
from sigprop.language.expression import Dropout

P = 0.3
T = sp.architectures.transformer


def test_a_branch_with_dropout():
    """h + m/(1-p) X relu(W r): variance grows by 1/(1-p) a write on the diagonal, covariances as
    without; gradients likewise."""
    rate = Number("p")
    branch = Dropout(
        "out",
        Linear("x", Activate("relu", Linear("w", Read(), Number("c_w"))), Number("c_x")),
        rate,
    )
    block = SubBlock(State(0), branch, (State(0) + Write(),))
    gram = np.array([[1.0, 0.2], [0.2, 1.0]])

    def make(p):
        return sp.Architecture(
            "dropped", (block,), [0, 1], {"c_w": 2.0, "c_x": 1.0, "p": p}, input_gram=gram
        )

    def value(arch, a):
        return [
            row["value"] for row in sp.predict(arch, ["residual_variance", "token_covariance"], [a])
        ]

    with_, without = value(make(P), 1), value(make(0.0), 1)
    assert with_ == pytest.approx([1 + 1 / (1 - P), 1 + 1 / (1 - P), without[2]], rel=1e-12)
    g = [row["value"] for row in sp.predict(make(P), ["gradient_variance"], [0, 1])]
    # relu: V' = 1/2, c_w = 2
    assert g == pytest.approx([(1 + 1 / (1 - P)) ** 2] * 2 + [1 + 1 / (1 - P)] * 2, rel=1e-12)
    equation = sp.derive(make(P))["write"]
    assert "KroneckerDelta(a, b)" in str(equation) and "p" in {
        str(s) for s in equation.free_symbols
    }


def test_uniform_attention_with_dropout():
    """E sum_ss' m m' r_ss'/(T^2 (1-p)^2): the mean of r, and p/(1-p) mean(diag r)/T on the
    diagonal; then 1/(1-p) for the output's own."""
    arch = T(
        block="attention",
        tokens=3,
        token_cosine=0.4,
        score_scale="zero_query",
        dropout=P,
        norm_kind="rms",
    )
    own, cross = (1 + 2 * 0.4) / 3, (1 + 2 * 0.4) / 3
    rows = sp.predict(arch, ["residual_variance", "token_covariance"], [1])
    expected = {
        "residual_variance": 1 + (own + P / (1 - P) / 3) / (1 - P),
        "token_covariance": 0.4 + cross,
    }
    for row in rows:
        assert row["value"] == pytest.approx(expected[row["quantity"]], rel=1e-12)


@pytest.mark.parametrize("seed", [0])
def test_finite_networks(seed: int):
    """Every row of one attention block at width 256, 600 networks: within 5 standard errors and
    2 % for the width (about 40 rows)."""
    arch = T(block="attention", tokens=2, c_q=4, dropout=P, norm_kind="rms", mask="causal")
    names = [
        "residual_variance",
        "token_covariance",
        "gradient_variance",
        "gradient_covariance",
        "weight_gradient",
    ]
    theory, measured = (
        sp.predict(arch, names),
        sp.measure(arch, width=256, samples=600, seed=seed, quantities=names),
    )
    for row, found in zip(theory, measured, strict=True):
        assert abs(found["value"] - row["value"]) < 5 * found["se"] + 0.02 * abs(row["scale"]), (
            row,
            found,
        )
    # the companion: masks matter
    without = sp.predict(
        T(block="attention", tokens=2, c_q=4, norm_kind="rms", mask="causal"), names
    )
    assert (
        max(
            abs(f["value"] - r["value"]) / (f["se"] + 0.02 * abs(r["scale"]))
            for r, f in zip(without, measured, strict=True)
            if f["se"]
        )
        > 10
    )


def test_dropout_of_zero_is_none_and_bad_input_is_named():
    assert "dropout" not in T().numbers
    with pytest.raises(sp.InputError, match="dropout=1.0; accepted: a number from 0 to 0.99"):
        T(dropout=1.0)


def test_dropped_attention_is_derived():
    """One mask meets itself on the diagonal of one application alone (the sums themselves:
    test_token_sums)."""
    given: dict[str, Any] = {"block": "attention", "tokens": 2, "dropout": P}
    write = sp.derive(T(**given))["write"].rhs
    a, b, t, s = sympy.symbols("a b t s", integer=True, nonnegative=True)
    assert sympy.Symbol("dropout", positive=True) in write.free_symbols
    assert sympy.Symbol("dropout", positive=True) not in write.subs({a: 0, b: 1}).free_symbols

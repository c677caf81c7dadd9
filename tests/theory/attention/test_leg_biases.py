"""Biases of queries, keys, values and attention's output: laws, and finite networks with the
gradients of every one of them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from long_cases import apart

import sigprop as sp

NUMBERS = {"c_q": 2.0, "c_k": 1.5, "c_v": 0.7, "c_u": 1.2, "c_bu": 0.3, "eps": 1e-5, "base": 50.0}
BIASES = {"c_bq": 0.6, "c_bk": 0.8, "c_bv": 0.4}
GRAM = 0.7 * np.eye(3) + 0.3


def leg(name: str, rows: Any = 1) -> sp.Vector:
    """A matrix's output and a bias."""
    return sp.Linear(name, sp.Read(), sp.Number(f"c_{name}"), rows) + sp.Bias(
        f"b_{name}", sp.Number(f"c_b{name}"), rows
    )


def network(scores: sp.Scores, group: int = 1, depth: int = 2, **numbers: float) -> Any:
    """Pre-norm attention, a bias on every matrix."""
    shared = Fraction(1, group)
    base = sp.Number("base") if scores.rotary else None
    heads = sp.Attend(leg("q"), leg("k", shared), leg("v", shared), scores, base=base)
    branch = sp.Linear("u", heads, sp.Number("c_u")) + sp.Bias("b_u", sp.Number("c_bu"))
    read = sp.Normalise(sp.State(0), "layer", sp.Number("eps"))
    block = sp.SubBlock((read,), branch, sp.State(0) + sp.Write())
    given = NUMBERS | BIASES | numbers
    slots = [f"{bias}{name}" for name in "qkvu" for bias in ("", "b_")]
    return sp.Architecture(
        "biased",
        (block,),
        {name: list(range(depth)) for name in slots},
        {k: v for k, v in given.items() if k != "base" or scores.rotary},
        kinds=[0] * depth,
        input_gram=GRAM,
    )


SCORES = {
    "causal": (sp.Scores(8, mask="causal"), 1),
    "rotary": (sp.Scores(8, mask="causal", rotary=True), 1),
    "grouped": (sp.Scores(8), 2),
    "normalised": (sp.Scores(8, qk_norm=True), 1),
}


def rows(arch: Any, quantity: str) -> dict[tuple[Any, ...], float]:
    keys = ("application", "token", "token_2", "group")
    return {tuple(row.get(k) for k in keys): row["value"] for row in sp.predict(arch, [quantity])}


@pytest.mark.parametrize("name", SCORES)
def test_a_bias_of_values_is_added_to_every_entry(name: str):
    """Weights add up to one: o_t gains b_v, and the write c_u c_bv in every entry of its Gram."""
    scores, group = SCORES[name]
    with_one, without = (network(scores, group, 1, c_bv=c) for c in (0.4, 0.0))
    for quantity in ("residual_variance", "token_covariance"):
        more, less = rows(with_one, quantity), rows(without, quantity)
        for place, value in more.items():
            added = NUMBERS["c_u"] * 0.4 if place[0] else 0.0
            assert value - less[place] == pytest.approx(added, abs=1e-12)


@pytest.mark.parametrize("name", SCORES)
def test_no_gradient_arrives_at_a_bias_of_keys(name: str):
    """It moves a row's scores alike; turned or normalised it does not, and there is one."""
    scores, group = SCORES[name]
    found = {place: v for place, v in rows(network(scores, group), "weight_gradient").items()}
    of_keys = [value for place, value in found.items() if place[3] == "b_k"]
    assert len(of_keys) == 2
    if scores.rotary or scores.qk_norm:
        assert min(of_keys) > 1e-4
    else:
        assert of_keys == [0.0, 0.0]


@pytest.mark.parametrize("name", apart(["causal", "rotary"], ["rotary"]))
def test_networks_are_confirmed_with_the_gradients_of_every_group(name: str):
    """At 5 %: a true network is not confirmed with probability 5 %; the seed is fixed."""
    scores, group = SCORES[name]
    arch = network(scores, group, 1)
    quantities = ["residual_variance", "gradient_variance", "weight_gradient"]
    table = sp.verify(arch, tolerance=0.05, seed=3, quantities=quantities)
    assert table.verdict == "confirmed"
    groups = {row["group"] for row in table if row["quantity"] == "weight_gradient"}
    assert groups >= {f"{bias}{name}" for name in "qkvu" for bias in ("", "b_")}


def test_another_bias_would_be_seen():
    """The companion: networks whose queries have a bias that the prediction does not."""
    scores, group = SCORES["causal"]
    one, other = (rows(network(scores, group, c_bq=c), "gradient_variance") for c in (0.6, 8.0))
    apart = [abs(other[place] / value - 1) for place, value in one.items()]
    assert max(apart) > 0.1  # twice what is confirmed above


def test_a_bias_alone_is_symbolic_too():
    """The derivation has the variances of biases that are written, and equations of the gradients
    of all but the keys'."""
    text = str(sp.derive(network(sp.Scores(8, mask="causal"), depth=1)))
    assert "c_bv + c_v*R" in text and "c_bu + c_u*" in text
    assert all(f"W_b_{name}(" in text for name in "qvu") and "W_b_k(" not in text

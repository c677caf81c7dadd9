"""Additive attention biases and rescaled outputs: closed forms where scores are zero, laws where
they are not, one table an application."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sigprop as sp
from sigprop.errors import InputError

BIAS = np.array([[0.3, -1.0, 0.5], [2.0, 0.0, 0.1], [-0.4, 1.5, 0.7]])
FACTORS = np.array([1.0, 0.5, 2.0])
ROWS = ["residual_variance", "token_covariance"]


def make(**given: Any) -> sp.Architecture:
    return sp.architectures.transformer(
        **{"block": "attention", "norm": "none", "skip_scale": 1e-9, "tokens": 3, "depth": 1}
        | given
    )


def gram(arch: sp.Architecture, application: int = 1) -> np.ndarray:
    """The states' [T, T] Gram."""
    found = np.zeros((arch.tokens, arch.tokens))
    for row in sp.predict(arch, ROWS, [application]):
        t, s = row["token"], row.get("token_2", row["token"])
        found[t, s] = found[s, t] = row["value"]
    return found


def weights(bias: np.ndarray) -> np.ndarray:
    return np.exp(bias) / np.exp(bias).sum(1, keepdims=True)


def test_zero_queries_attend_as_the_bias_says():
    arch = make(score_scale="zero_query", attention_bias=BIAS, attention_rescale=FACTORS)
    omega = FACTORS[:, None] * weights(BIAS)
    np.testing.assert_allclose(gram(arch), omega @ arch.input_gram @ omega.T, rtol=1e-12)


def test_a_constant_bias_is_none_and_a_huge_one_is_a_mask():
    plain = gram(make())
    np.testing.assert_allclose(gram(make(attention_bias=np.full((3, 3), 2.0))), plain, rtol=1e-12)
    allowed = np.tril(np.ones((3, 3)))
    np.testing.assert_allclose(
        gram(make(attention_bias=-1e4 * (1 - allowed))), gram(make(mask="causal")), rtol=1e-12
    )
    # the companion: a bias that is neither counts
    assert abs(gram(make(attention_bias=BIAS)) - plain).max() > 0.05


def test_rescaling_multiplies_writes_and_gradients():
    """<w_t, w_s> times d_t d_s; where no token is mixed (T = 1) the gradient at the stem times
    d^2."""
    np.testing.assert_allclose(
        gram(make(attention_rescale=FACTORS)), np.outer(FACTORS, FACTORS) * gram(make()), rtol=1e-12
    )
    one = [
        sp.predict(make(tokens=1, attention_rescale=[d]), ["gradient_variance"], [0])[0]["value"]
        for d in (1.0, 0.5)
    ]
    assert one[1] == pytest.approx(0.25 * one[0], rel=1e-9)


def test_one_table_an_application():
    """A looped block whose rescaling differs from loop to loop, against two blocks of one table
    each (untied values are closed)."""
    base = make(score_scale="zero_query", attention_rescale=FACTORS, depth=2, skip_scale=1.0)
    tables = np.stack([FACTORS, 1 / FACTORS])
    arch = sp.Architecture(
        "each",
        base.sub_blocks,
        base.slots,
        base.numbers,
        token_tables={"attention_rescale": tables},
        input_gram=base.input_gram,
    )
    mean, g = np.full((3, 3), 1 / 3), base.input_gram
    for factors in tables:
        g = g + np.outer(factors, factors) * (mean @ g @ mean.T)
    np.testing.assert_allclose(gram(arch, 2), g, rtol=1e-12)


def test_the_derivation_names_the_tables():
    arch = make(score_scale="zero_query", attention_bias=BIAS, attention_rescale=FACTORS)
    write = str(sp.derive(arch)["write"].rhs)
    assert (
        "attention_rescale(a, t)*attention_rescale(b, s)" in write and "Omega(a, t, s_1)" in write
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"attention_bias": np.zeros((2, 2))}, "attention_bias of shape (2, 2); accepted"),
        ({"attention_rescale": "1,2"}, "attention_rescale of shape (2,); accepted"),
        ({"attention_rescale": "1,x,2"}, "attention_rescale='1,x,2'; accepted"),
        (
            {"attention_bias": np.full((3, 3), np.nan)},
            "attention_bias of shape (3, 3); accepted: finite",
        ),
    ],
)
def test_bad_input(given: dict[str, Any], says: str):
    with pytest.raises(InputError) as caught:
        make(**given)
    assert says in str(caught.value) and "\n" not in str(caught.value)

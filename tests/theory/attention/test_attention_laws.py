"""Attention: its matrix formulas against explicit tensors, closed forms where it is uniform,
limits, edges and bad input."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from networks import having_rows

import sigprop as sp
from sigprop.errors import InputError
from sigprop.language.scores import Scores
from sigprop.theory.attention import mixing
from sigprop.theory.attention.draws import draws
from sigprop.theory.attention.heads import Form, Head, Leg
from sigprop.theory.attention.sampling import expectation

RNG = np.random.default_rng(0)


def gram(tokens: int) -> np.ndarray:
    a = RNG.normal(size=(tokens, tokens + 2))
    return a @ a.T / (tokens + 2)


def weights(tokens: int) -> np.ndarray:
    x = np.exp(RNG.normal(size=(1, 1, tokens, tokens)))
    return x / x.sum(-1, keepdims=True)


def test_matrix_products_are_the_explicit_tensors():
    """sum over s, s' (t, t') of the softmax Jacobians, written out with four token indices:
    1e-12."""
    t = 4
    a, b = weights(t), weights(t)
    r, delta, k, q = (RNG.normal(size=(1, t, t)) for _ in range(4))
    found = mixing.backward(
        Head(*map(jnp.asarray, (a, b, a, b, q[None], k[None]))), jnp.asarray(r), jnp.asarray(delta)
    )

    def jacobian(w):
        return np.einsum("ts,su->tsu", w, np.eye(t)) - np.einsum("ts,tu->tsu", w, w)

    # without delta_tp
    covariance = np.einsum("tsu,uv,pqv->tspq", jacobian(a[0, 0]), r[0], jacobian(b[0, 0]))
    np.testing.assert_allclose(
        found["query"][0], np.einsum("tspq,sq->tp", covariance, k[0]), atol=1e-12
    )
    np.testing.assert_allclose(
        found["key"][0], np.einsum("tspq,tp,tp->sq", covariance, q[0], delta[0]), atol=1e-12
    )
    np.testing.assert_allclose(found["value"][0], a[0, 0].T @ delta[0] @ b[0, 0], atol=1e-12)


@pytest.mark.parametrize("head_dim", [2, 6, 32, math.inf])
def test_sampled_heads_have_the_laws_moments(head_dim: float):
    """Two applications, T = 3: E<k, k'> is their Gram; attention's own average is Omega of the law,
    whatever is sampled of it.

    Against 400,000 plain heads of q and k: within 5 standard errors of both (18 numbers; one in
    some 10^4 such tests fails).
    """
    t = 3
    joint = gram(2 * t)
    leg = Leg(
        *(jnp.asarray(x[None]) for x in (joint[:t, :t], joint[:t, t:], joint[t:, t:])),
        jnp.zeros(1),
        jnp.zeros(1),
    )
    scores = Scores(head_dim)

    def sums(h: Head) -> dict[str, Any]:
        keys = jnp.broadcast_to(h.keys, h.omega_a.shape)

        def over(x, y):
            return jnp.einsum("cbts,cbus->btu", x, y)

        return {"w": over(h.omega_a, h.omega_b), "k": keys.sum(axis=0), "wk": over(h.omega_a, keys)}

    found = [
        expectation(scores, Form(), jnp.asarray(draws(scores, t, seed)), leg, leg, False, sums)
        for seed in range(8)
    ]
    np.testing.assert_allclose(
        np.mean([one["k"][0] for one in found], axis=0), joint[:t, t:], atol=0.01
    )
    root = np.linalg.cholesky(joint)
    w, wk = [], []
    for _ in range(40):
        if math.isinf(head_dim):
            s = root @ RNG.normal(size=(10000, 2 * t, 2 * t)) @ root.T
            keys = np.broadcast_to(joint[:t, t:], (10000, t, t))
        else:
            q, k = (root @ RNG.normal(size=(10000, 2 * t, int(head_dim))) for _ in range(2))
            s, keys = (
                q @ np.swapaxes(k, 1, 2) / head_dim**0.5,
                k[:, :t] @ np.swapaxes(k[:, t:], 1, 2) / head_dim,
            )
        omega = [np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (s[:, :t, :t], s[:, t:, t:])]
        w.append((omega[0] @ np.swapaxes(omega[1], 1, 2)).mean(0))
        wk.append((omega[0] @ np.swapaxes(keys, 1, 2)).mean(0))
    for name, plain in (("w", w), ("wk", wk)):
        ours = [np.asarray(one[name][0]) for one in found]
        se = np.sqrt(sum(np.var(x, axis=0, ddof=1) / len(x) for x in (plain, ours)))
        assert (abs(np.mean(ours, axis=0) - np.mean(plain, axis=0)) < 5 * se + 1e-6).all(), name


def stream(
    arch: sp.Architecture, quantities: Any = ("residual_variance", "token_covariance")
) -> np.ndarray:
    return np.array([row["value"] for row in sp.predict(arch, having_rows(arch, quantities))])


UNIFORM: dict[str, Any] = {
    "block": "attention",
    "tokens": 3,
    "norm_kind": "rms",
    "depth": 4,
    "residual_scale": 0.7,
}


@pytest.mark.parametrize(
    "scale", [{"score_scale": "zero_query"}, {"score_scale": "linear", "heads": 2}]
)
@pytest.mark.parametrize("mask", ["none", "causal", np.array([[1, 0, 1], [1, 1, 0], [0, 0, 1]])])
def test_uniform_attention_is_a_fixed_mixing_matrix(mask: Any, scale: dict[str, Any]):
    """G <- G + eps^2 A R A^T and back G^ <- G^ + eps^2 D A^T G^ A D, D = diag(G)^-1/2; tr(G G^)
    is conserved."""
    start = gram(3)
    arch = sp.architectures.transformer(**UNIFORM, mask=mask, input_gram=start, **scale)
    table = (
        np.array(mask)
        if not isinstance(mask, str)
        else np.tril(np.ones((3, 3)))
        if mask == "causal"
        else np.ones((3, 3))
    )
    a = table / table.sum(1, keepdims=True)
    states = [start]
    for _ in range(4):
        d = np.diag(np.diag(states[-1]) ** -0.5)
        states.append(states[-1] + 0.49 * a @ d @ states[-1] @ d @ a.T)
    gradients = [np.eye(3)]
    for state in states[-2::-1]:
        d = np.diag(np.diag(state) ** -0.5)
        gradients.append(gradients[-1] + 0.49 * d @ a.T @ gradients[-1] @ a @ d)
    gradients.reverse()
    found = sp.predict(
        arch, ["token_covariance", "gradient_covariance", "residual_variance", "gradient_variance"]
    )
    for row in found:
        expected = (
            states if row["quantity"] in ("token_covariance", "residual_variance") else gradients
        )[row["application"]]
        assert row["value"] == pytest.approx(
            expected[row["token"], row.get("token_2", row["token"])], rel=1e-11, abs=1e-13
        )
        assert row["status"] == "exact"
    traces = [np.trace(g @ h) for g, h in zip(states, gradients, strict=True)]
    assert np.ptp(traces) < 1e-12 * traces[0]


def test_zero_queries_still_have_gradients():
    """|dQ|^2 = c_u c_v c_k (1 - rho)^2 (T - 1)/T^2 sum(Delta o R) with zero queries, |dK|^2 = 0."""
    arch = sp.architectures.transformer(
        **UNIFORM | {"depth": 1}, token_cosine=0.4, score_scale="zero_query", head_dim=8
    )
    found = {row["group"]: row["value"] for row in sp.predict(arch, ["weight_gradient"])}
    # Delta = eps^2 1, R_tt = 1
    assert found["q"] == pytest.approx(0.49 * (1 - 0.4) ** 2 * 2 / 9 * 3, rel=1e-12)
    assert found["k"] == 0


def test_one_token_is_a_linear_branch():
    """T = 1: softmax of one score is 1, so attention is U V r, and Q and K have no gradient."""
    one = sp.architectures.looped_transformer(
        block="attention", tokens=1, loops=3, norm_kind="rms", residual_scale=0.5
    )
    linear = sp.architectures.looped_mlp(activation="linear", loops=3, residual_scale=0.5)
    names = ["residual_variance", "gradient_variance", "state_cosine"]
    np.testing.assert_allclose(stream(one, names), stream(linear, names), rtol=1e-12)
    groups = {row["group"]: row["value"] for row in sp.predict(one, ["weight_gradient"])}
    assert groups["q"] == groups["k"] == 0 and groups["v"] == pytest.approx(groups["u"], rel=1e-12)


def test_untied_is_looped_once():
    same = {"block": "transformer", "tokens": 2, "residual_scale": 0.3, "mask": "causal"}
    once, untied = (
        sp.architectures.looped_transformer(**same, depth=2, loops=1),
        sp.architectures.transformer(**same, depth=2),
    )
    np.testing.assert_allclose(stream(once), stream(untied), rtol=1e-14)


@pytest.mark.long
def test_grouped_queries_change_only_the_gradients_of_keys_and_values():
    """Kernels, NTK and total squared gradients are those of full heads; K's and V's per
    parameter are g times larger."""
    many, few = (
        sp.architectures.transformer(block="attention", tokens=2, depth=2, heads=4, kv_heads=kv)
        for kv in (4, 2)
    )
    for quantity in (
        "residual_variance",
        "token_covariance",
        "gradient_variance",
        "gradient_covariance",
        "ntk",
    ):
        np.testing.assert_allclose(stream(few, [quantity]), stream(many, [quantity]), rtol=1e-11)
    full, shared = (sp.predict(arch, ["weight_gradient"]) for arch in (many, few))
    ratio = {
        row["group"]: other["value"] / row["value"] for row, other in zip(full, shared, strict=True)
    }
    assert ratio == pytest.approx(
        {"u": 1, "q": 1, "k": 2, "v": 2, "readout": 1, "stem": 1}, rel=1e-11
    )


def test_equal_tokens_stay_equal():
    """A singular Gram: attention averages equal values, so all entries grow alike, and Q and K
    have no gradient."""
    arch = sp.architectures.transformer(
        block="attention", tokens=3, token_cosine=1.0, depth=2, norm_kind="rms"
    )
    assert stream(arch) == pytest.approx(
        np.array(
            [
                row["application"] + 1.0
                for row in sp.predict(arch, ["residual_variance", "token_covariance"])
            ]
        ),
        rel=1e-9,
    )
    groups = {row["group"]: row["value"] for row in sp.predict(arch, ["weight_gradient"], [0])}
    assert abs(groups["q"]) < 1e-12 and abs(groups["k"]) < 1e-12 and groups["v"] > 1


@pytest.mark.parametrize("c_q", [1e4, 1e30, 1e200])
def test_huge_scores_are_a_hard_maximum(c_q: float):
    """Beyond all scales the softmax picks one token: the stream's limit exists and no row is
    lost."""
    big, bigger = (
        stream(sp.architectures.transformer(block="attention", tokens=2, depth=2, c_q=c))
        for c in (c_q, 1e6 * c_q)
    )
    assert np.isfinite(big).all() and big == pytest.approx(bigger, rel=0.02)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"mask": np.array([[1, 0], [0, 0]]), "tokens": 2}, "mask: token 1 may attend to no token"),
        (
            {"mask": np.ones((3, 3)), "tokens": 2},
            "mask of shape (3, 3); accepted: tokens x tokens = (2, 2)",
        ),
        ({"mask": "upper"}, "mask='upper'"),
        ({"mask": [[1, 0.5], [1, 1]], "tokens": 2}, "mask="),
        ({"kv_heads": 2}, "kv_heads=2 without heads: a fixed number does not self-average"),
        ({"heads": 4, "kv_heads": 3}, "kv_heads=3; accepted: a divisor of heads=4"),
        ({"score_scale": "linear"}, "heads=None at score_scale=linear"),
        ({"head_dim": 0}, "head_dim=0; accepted"),
        ({"block": "mpl"}, "block='mpl'"),
    ],
)
def test_bad_input(given: dict[str, Any], says: str):
    with pytest.raises(InputError) as caught:
        sp.architectures.transformer(**given)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "width", "says"),
    [
        (
            {"head_dim": 16},
            24,
            "width=24: head_dim=16 with 1 query heads a key head does not divide the 24 query "
            "coordinates; accepted: a multiple of 16",
        ),
        ({"head_dim": 16, "heads": 4, "kv_heads": 1}, 96, "accepted: a multiple of 64"),
        ({"head_dim": "inf"}, 64, "head_dim=inf is a limit"),
        ({"score_scale": "linear", "heads": 3}, 64, "3 heads does not divide"),
    ],
)
def test_widths_that_do_not_divide_into_heads(given: dict[str, Any], width: int, says: str):
    with pytest.raises(InputError) as caught:
        sp.measure(sp.architectures.transformer(**given), width=width, samples=2)
    assert says in str(caught.value)

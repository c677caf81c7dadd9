"""Value-SkipInit and shaped attention in the wide limit: what they keep, what they are made of,
what their gates see."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from iterate import Iterated

import sigprop as sp
from sigprop.architectures import entry
from sigprop.blocks.residual import Join
from sigprop.blocks.transformer import stack
from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.language.expression import State, Stem, Write

A = sp.architectures
BASE = {"depth": 2, "tokens": 3, "token_cosine": 0.3}


def values(arch: Architecture, *quantities: str):
    """(quantity, application, tokens or group) -> the prediction."""
    keys = ("quantity", "application", "token", "token_2", "group")
    return {
        tuple(v for k, v in row.items() if k in keys): row["value"]
        for row in sp.predict(arch, list(quantities))
    }


def test_value_skipinit_keeps_every_kernel_and_moves_by_its_gate_alone():
    """At alpha = 1, beta = 0: Sigma_l = Sigma_0; gradients of Q and K are zero, that of beta is
    sum_ts <g_t, g_s> E[Omega Sigma Omega^T]_ts."""
    arch = A.value_skipinit(**BASE)
    found = values(
        arch, "residual_variance", "token_covariance", "gradient_variance", "weight_gradient"
    )
    for key, value in found.items():
        if key[0] in ("residual_variance", "token_covariance", "gradient_variance"):
            assert value == pytest.approx(0.3 if key[0] == "token_covariance" else 1, rel=1e-12), (
                key
            )
    assert all(found["weight_gradient", a, group] == 0 for a in (0, 1) for group in "qk")
    participation = [
        row["value"] for row in sp.predict(arch, ["participation"]) if row["application"] == 0
    ]
    # E[Omega Sigma Omega^T]_tt: rows of Omega sum to one
    own = sum(0.3 + 0.7 * p for p in participation)
    assert found["weight_gradient", 0, "gate"] == pytest.approx(own, rel=1e-9)
    assert found["weight_gradient", 0, "gate_identity"] == pytest.approx(3, rel=1e-12)


@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_kernel_beside_the_identity(beta: float):
    """(1 + beta Omega) Sigma (1 + beta Omega)^T with causal uniform weights (queries of zero),
    by hand."""
    sigma, omega = 0.7 * np.eye(3) + 0.3, np.tril(np.ones((3, 3))) / np.arange(1, 4)[:, None]
    mixed = np.eye(3) + beta * omega
    for _ in range(2):
        sigma = mixed @ sigma @ mixed.T
    found = values(
        A.value_skipinit(**BASE, shape_beta=beta, score_scale="zero_query"),
        "residual_variance",
        "token_covariance",
    )
    for (_, a, *tokens), value in found.items():
        if a == 2:
            assert value == pytest.approx(sigma[tokens[0], tokens[-1]], rel=1e-12)


def test_softmax_alone_is_vanilla_and_shaped_attention_begins_as_the_identity():
    names = ("residual_variance", "token_covariance", "gradient_variance", "gradient_covariance")
    plain, alone = (
        values(arch, *names)
        for arch in (
            A.vanilla(**BASE),
            A.value_skipinit(**BASE, shape_alpha=0, shape_beta=1, score_scale="zero_query"),
        )
    )
    assert plain == pytest.approx(alone, rel=1e-12)
    for mask in ("none", "causal"):
        shaped, identity = (
            values(arch, *names)
            for arch in (A.shaped_attention(**BASE, mask=mask), A.value_skipinit(**BASE))
        )
        assert shaped == pytest.approx(identity, rel=1e-12)


def test_the_mean_of_softmax_is_that_of_plain_heads():
    """E[Omega] where scores are sampled: against 200,000 heads drawn with numpy, within five
    standard errors."""
    arch = A.value_skipinit(**BASE | {"depth": 1}, shape_beta=1.0, c_q=4, head_dim=4)
    sigma = 0.7 * np.eye(3) + 0.3
    rng, root = np.random.default_rng(1), np.linalg.cholesky(sigma)
    q, k = (
        2 * root @ rng.standard_normal((200_000, 3, 4)),
        root @ rng.standard_normal((200_000, 3, 4)),
    )
    scores = np.where(np.tril(np.ones((3, 3))) > 0, q @ k.transpose(0, 2, 1) / 2, -np.inf)
    omega = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = np.eye(3) + omega / omega.sum(axis=-1, keepdims=True)
    samples = mixed @ sigma @ mixed.transpose(0, 2, 1)
    error = samples.std(axis=0) / samples.shape[0] ** 0.5 + 1e-9
    for (_, a, *tokens), value in values(arch, "residual_variance", "token_covariance").items():
        if a == 1:
            where = tokens[0], tokens[-1]
            assert abs(value - samples.mean(axis=0)[where]) < 5 * error[where] + 2e-3 * value, (
                tokens
            )


@pytest.mark.parametrize("mask", ["none", "causal"])
def test_derived_equations_are_the_predictions(mask: str):
    arch = A.shaped_attention(
        **BASE | {"tokens": 2}, shape_beta=0.5, shape_gamma=0.25, mask=mask, c_q=0
    )
    centre = arch.token_tables["attention_centre"]
    it = Iterated(arch, sp.derive(arch), {"attention_centre": lambda _, a, t, s: centre[t, s]})
    for (name, a, *tokens), value in values(arch, "residual_variance", "token_covariance").items():
        assert it("G", a, a, tokens[0], tokens[-1]) == pytest.approx(value, rel=1e-10), (
            name,
            a,
            tokens,
        )


def test_derive_names_the_mean_weights():
    """<V r_t, o_s> = c_v sum E[Omega_su] R_tu stands in the write where scores are drawn, as one
    number of each pair of tokens."""
    d = sp.derive(A.value_skipinit(**BASE, shape_beta=0.5))
    heads = {call.func.__name__ for call in d["write"].atoms(sympy.Function)}
    assert {"Weight", "Weights"} <= heads and r"\mathbb{E}\left[\Omega^{a}" in sympy.latex(
        d["write"]
    )


def tied(loops: int) -> Architecture:
    """One block of shaped attention, looped with a skip."""
    p = dict(entry("value-skipinit").defaults) | {
        "depth": 1,
        "tokens": 2,
        "activation": None,
        "shape_beta": 0.5,
        "head_dim": 4.0,
        "c_q": 4,
        "mask": "none",
    }
    given = {
        "gated": False,
        "attention_bias": None,
        "attention_rescale": None,
        "init": None,
        "dropout": 0.0,
        "heads": None,
        "kv_heads": None,
        "c_b": None,
    }

    def join(p, size):
        return Join(State(0), lambda kind: State(0) + 0.5 * Write(), Stem(), {})

    return stack("tied", loops, join, **given | p)


def test_tied_blocks_carry_their_mean_weights_from_place_to_place():
    """Writes of one slot overlap: two applications, by hand with the sampled weights of each
    place (queries so small that Omega is 1/T)."""
    import dataclasses

    arch = dataclasses.replace(tied(2), numbers=tied(2).numbers | {"c_q": 0.0})
    sigma = 0.7 * np.eye(2) + 0.3
    mixed = np.eye(2) + 0.25
    write = mixed @ sigma @ mixed.T
    once = sigma + 0.25 * write
    # <w_1, w_2>: both read the stem's part, and w_2 reads 0.5 w_1, of which w_1 is independent
    cross = mixed @ sigma @ mixed.T
    second = mixed @ once @ mixed.T
    expected = once + 0.25 * second + 0.25 * (cross + cross.T)
    found = values(arch, "residual_variance", "token_covariance")
    for (_, a, *tokens), value in found.items():
        if a == 2:
            assert value == pytest.approx(expected[tokens[0], tokens[-1]], rel=1e-9)


def test_what_has_no_rule_is_refused():
    with pytest.raises(InputError, match="approximation=near-uniform: stated for attention alone"):
        sp.predict(
            A.value_skipinit(**BASE, shape_beta=0.5),
            ["residual_variance"],
            approximation="near-uniform",
        )
    with pytest.raises(InputError, match="heads"):
        A.value_skipinit(heads=2)

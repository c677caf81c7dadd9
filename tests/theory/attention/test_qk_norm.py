"""Normalised queries and keys: against jax's gradients of sampled heads, at head_dim = inf, and
laws."""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sigprop as sp
from sigprop.errors import InputError
from sigprop.language.scores import Scores
from sigprop.simulations.network.attention import normalised
from sigprop.theory.attention import mixing
from sigprop.theory.attention.heads import Form, Leg, factor
from sigprop.theory.attention.sampling import expectation

RNG = np.random.default_rng(3)
T, D = 3, 4


def gram(size: int) -> np.ndarray:
    a = RNG.normal(size=(size, size + 2))
    return a @ a.T / (size + 2)


def turn(base: float, size: int) -> np.ndarray:
    """[T, D, D]: the rotation of each position, pairs j and j + D/2 by t base^(-2j/size) for j <
    size/2, the others not at all (which coordinates are a pair makes no difference)."""
    frequency = np.where(
        np.arange(D // 2) < size // 2, base ** (-2 * np.arange(D // 2) / size), 0.0
    )
    angle = np.arange(T)[:, None] * frequency
    cos, sin = (np.apply_along_axis(np.diag, 1, f(angle)) for f in (np.cos, np.sin))
    return np.block([[cos, -sin], [sin, cos]])


@pytest.mark.parametrize(
    ("normal", "base", "size"),
    [(True, None, D), (False, None, D), (True, 3.0, D), (False, 3.0, D), (False, 3.0, 2)],
)
@pytest.mark.parametrize("same", [False, True])
def test_one_heads_legs_are_its_gradients(normal: bool, base: float | None, size: int, same: bool):
    """One given head at two places, or twice at one: products of jax's gradients by q and k, summed
    over a basis of values and cotangents, to 1e-11."""
    joint, r, delta = gram(2 * T), gram(T), gram(T)
    if same:
        joint = np.tile(joint[:T, :T], (2, 2))
    leg = Leg(
        *(jnp.asarray(x[None]) for x in (joint[:T, :T], joint[:T, T:], joint[T:, T:])),
        jnp.zeros(1),
        jnp.zeros(1),
    )
    scores, z = (
        Scores(
            D,
            qk_norm=normal,
            rotary=base is not None,
            turned=None if base is None else size,
        ),
        RNG.normal(size=(1, 2 * T, 2, D)),
    )

    def sums(h):
        return mixing.backward(h, jnp.asarray(r[None]), jnp.asarray(delta[None]))

    form = Form(base=None if base is None else jnp.full((1, 1, 1), base))
    turns = np.broadcast_to(np.eye(D), (T, D, D)) if base is None else turn(base, size)
    ours = expectation(scores, form, jnp.asarray(z), leg, leg, same, sums)
    root = np.asarray(factor(leg, same))[0]
    q, k = (np.tile(root @ z[0, : len(root), x], (1 + same, 1)) for x in (0, 1))

    def output(q: Any, k: Any, v: Any, d: Any) -> Any:
        def unit(x):
            return jnp.einsum("tij,tj->ti", turns, normalised(x[:, None])[:, 0] if normal else x)

        return d @ (jax.nn.softmax(unit(q) @ unit(k).T / math.sqrt(D), axis=-1) @ v)

    gradient = jax.jit(jax.grad(output, argnums=(0, 1)))
    query, key = np.zeros((T, T)), np.zeros((T, T))
    for v, d in itertools.product(np.linalg.cholesky(r).T, np.linalg.cholesky(delta).T):
        (qa, ka), (qb, kb) = (
            gradient(q[part], k[part], v, d) for part in (slice(0, T), slice(T, 2 * T))
        )
        query, key = query + qa @ qb.T, key + ka @ kb.T
    np.testing.assert_allclose(ours["query"][0] * delta, query, atol=1e-11)
    np.testing.assert_allclose(ours["key"][0], key, atol=1e-11)
    assert min(abs(query).max(), abs(key).max()) > 1e-3


def gradients(**given: Any) -> dict[Any, float]:
    arch = sp.architectures.transformer(
        **{"block": "attention", "tokens": T, "qk_norm": True, "depth": 1} | given
    )
    table = sp.predict(
        arch, ["residual_variance", "token_covariance", "gradient_variance", "weight_gradient"]
    )
    return {
        (r["quantity"], r.get("application"), r.get("token"), r.get("token_2"), r.get("group")): r[
            "value"
        ]
        for r in table
    }


def test_the_size_of_queries_does_not_matter_but_divides_their_gradient():
    # equal tokens' Gram has no order of directions, and heads are sampled by direction
    distinct = np.diag([1.0, 2.0, 3.0]) + 0.5
    one, other = gradients(c_q=1.0, input_gram=distinct), gradients(c_q=9.0, input_gram=distinct)
    for key, value in one.items():
        factor = 1 / 9 if key[-1] == "q" else 1.0
        assert other[key] == pytest.approx(factor * value, rel=1e-9)


@pytest.mark.long
def test_many_coordinates_are_the_limit():
    """At equal queries' sizes the limit is plain Gaussian attention of unit scores
    (RMS-normalised stream, c_q = c_k = 1)."""
    wide, plain = (
        gradients(head_dim="inf", norm_kind="rms"),
        gradients(head_dim="inf", norm_kind="rms", qk_norm=False),
    )
    large = gradients(head_dim=64, norm_kind="rms")
    for key, value in plain.items():
        assert wide[key] == pytest.approx(value, rel=1e-9)
        assert large[key] == pytest.approx(value, rel=0.1)
    small = gradients(head_dim=2, norm_kind="rms")
    # the companion: at few coordinates it differs
    assert any(abs(small[key] / value - 1) > 0.1 for key, value in plain.items())


def test_bad_input():
    with pytest.raises(InputError, match="qk_norm=True at .*; accepted"):
        sp.architectures.transformer(qk_norm=True, score_scale="zero_query")

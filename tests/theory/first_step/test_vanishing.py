"""First steps through scores that vanish with the width: explicit networks with real gradients,
laws, what is refused."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sigprop as sp
from sigprop.errors import NoRule
from sigprop.theory.first_step.coordinates import vanishing
from sigprop.theory.first_step.response import descents, response

N, NETWORKS, HEADS, T, RHO = 256, 96, 2, 3, 0.3
LABELS = (1.0, -1.0, 1.0)
GRAM = RHO + (1 - RHO) * np.eye(T)


def attention(depth: int = 1, **changed: Any) -> sp.Architecture:
    """A pre-norm stack of causal attention alone, whose heads grow with the width."""
    return sp.architectures.transformer(
        depth=depth, block="attention", mask="causal", score_scale="linear", heads=HEADS,
        tokens=T, token_cosine=RHO, norm_kind="rms", **changed,
    )  # fmt: skip


def by_hand() -> dict[str, np.ndarray]:
    """The sign step of one attention block written out: {group: [networks, T]}, the mean squared
    change of the state, and of q the effective one ('effective')."""
    factor = np.linalg.cholesky(GRAM)
    seen = np.tril(np.ones((T, T), dtype=bool))

    def forward(p: dict) -> Any:
        h = factor @ p["stem"]
        r = h / jnp.sqrt(jnp.mean(h * h, -1, keepdims=True))
        q, k, v = ((r @ p[name].T).reshape(T, HEADS, -1) for name in "qkv")
        scores = jnp.einsum("thi,shi->hts", q, k) / (N // HEADS)
        omega = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1)
        h = h + jnp.einsum("hts,shi->thi", omega, v).reshape(T, N) @ p["u"].T
        return h @ p["readout"], h, r

    def one(key: Any) -> dict:
        names = ("q", "k", "v", "u", "stem", "readout")
        keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))
        shapes = dict.fromkeys("qkvu", (N, N)) | {"stem": (T, N), "readout": (N,)}
        scales = dict.fromkeys("qkvu", N**-0.5) | {"stem": 1.0, "readout": 1 / N}
        p = {
            name: scales[name] * jax.random.normal(keys[name], shapes[name], dtype=jnp.float64)
            for name in names
        }
        g = jax.grad(lambda p: forward(p)[0] @ np.array(LABELS) / T)(p)
        found = {}
        for group in "qku":
            along = {name: jnp.zeros_like(x) for name, x in p.items()}
            along[group] = jnp.sign(g[group]) / N
            dz, dh, _ = jax.jvp(forward, (p,), (along,))[1]
            found[group], found[f"{group}'s output"] = (dh**2).mean(-1), dz
        found["effective"] = ((forward(p)[2] @ jnp.sign(g["q"]).T / N) ** 2).mean(-1)
        return found

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(5), NETWORKS)
        return jax.device_get(jax.lax.map(jax.jit(one), keys))


def test_explicit_networks() -> None:
    """A sign step of queries and keys moves the state by order one, and not the output: within 4
    standard errors and 12 over a head's coordinates of networks written out (false alarm 2e-3 of 12
    numbers); half of the change of scores is not."""
    networks, found = by_hand(), response(attention(), "adam", labels=LABELS, replicates=48)
    i = {group: found.settings.index(group) for group in "qku"}
    pairs = {group: found.state.value[i[group], -1] for group in "qku"}
    errors = {group: found.state.error[i[group], -1] for group in "qku"}
    pairs["effective"], errors["effective"] = found.effective["q"].value[0], 0.0
    for name, value in pairs.items():
        mean = networks[name].mean(axis=0)
        se = networks[name].std(axis=0, ddof=1) / math.sqrt(NETWORKS)
        allowed = 4 * se + errors[name] + 12 * HEADS / N * mean
        assert (np.abs(mean - value) <= allowed).all(), (name, mean, value, allowed)
        assert (np.abs(mean - value / 4) > allowed)[1:].all(), name
    for group in "qk":
        assert np.abs(networks[f"{group}'s output"]).mean() < 0.1
        assert np.abs(found.output.value[i[group]]).max() < 0.01


def test_a_step_of_the_gradients_size_leaves_scores_alone() -> None:
    """SGD, and Adam with an epsilon, change nothing by queries and keys; of one token nobody does.
    The loss does not fall by them at leading order."""
    sgd = response(attention(), "sgd", labels=LABELS)
    damped = response(attention(), "adam", labels=LABELS, epsilon={"q": 1e-3})
    for found, groups in ((sgd, "qk"), (damped, "q")):
        for group in groups:
            assert not found.effective[group].value.any()
            assert np.abs(found.state.value[found.settings.index(group)]).max() < 1e-12
    assert damped.effective["k"].value.any()
    for optimizer in ("sgd", "adam", "muon"):
        norms = descents(attention(), optimizer, labels=LABELS)
        assert float(norms["q"].value) == float(norms["k"].value) == 0 < float(norms["v"].value)


def test_weights_of_scores_zero() -> None:
    """Weights are a masked softmax of the bias; their change along a change of scores is the
    derivative of jax's softmax; it is symmetric."""
    (node,) = (block.attention[0] for block in attention().sub_blocks)
    rng = np.random.default_rng(0)
    bias, change, other = rng.standard_normal((3, T, T))
    seen = np.tril(np.ones((T, T), dtype=bool))

    def softmax(s: Any) -> Any:
        return jax.nn.softmax(jnp.where(seen, s, -jnp.inf), axis=-1)

    with jax.enable_x64(True):
        omega, moved = jax.jvp(softmax, (jnp.asarray(bias),), (jnp.asarray(change),))
    found = vanishing.weights(node, bias, T)
    np.testing.assert_allclose(found, omega, atol=1e-14)
    np.testing.assert_allclose(vanishing.through(found, change), moved, atol=1e-14)
    both = [(vanishing.through(found, x) * y).sum() for x, y in ((change, other), (other, change))]
    assert math.isclose(*both, rel_tol=1e-12)


def test_refused() -> None:
    """Muon among several tokens counts n^-1/2 of the scores whole: refused, but of one token.
    Rotated scores are refused."""
    with pytest.raises(NoRule, match="no changes by Muon with scores that vanish"):
        response(attention(), "muon")
    with pytest.raises(NoRule, match="rotated scores"):
        response(attention(positions="rotary", head_dim=8), "adam")
    one = sp.architectures.transformer(
        depth=1, block="attention", score_scale="linear", heads=HEADS, tokens=1
    )
    assert response(one, "muon").output.value[-1, 0] > 0

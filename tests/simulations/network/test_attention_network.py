"""Attention in one finite network, against the same network written out with explicit matrices
and jax.grad."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_rows import engine, rows_of

import sigprop as sp
from sigprop.description.rows import select
from sigprop.simulations.engines.engine import base_key
from sigprop.simulations.network import random
from sigprop.simulations.network.weights import draw, shapes

WIDTH, TOKENS, D, HEADS, KV = 16, 3, 4, 4, 2
CASES: dict[str, dict[str, Any]] = {
    "full": {},
    "causal, grouped": {"mask": "causal", "heads": HEADS, "kv_heads": KV},
    "rotary, capped": {"positions": "rotary", "rope_base": 5.0, "softcap": 0.7},
    "partly rotary": {"positions": "rotary", "rope_base": 5.0, "rotary_dim": 2},
    "normalised": {"qk_norm": True},
    "biased, rescaled": {
        "attention_bias": np.arange(9.0).reshape(3, 3) / 4,
        "attention_rescale": [1.0, 0.5, 2.0],
    },
    "table, linear": {
        "mask": np.array([[1.0, 0, 1], [1, 1, 0], [0, 1, 1]]),
        "score_scale": "linear",
        "heads": HEADS,
    },
}


def attention(theta: dict[str, Any], r: Any, given: dict[str, Any]) -> Any:
    """One head after another, plainly."""
    group = HEADS // given.get("kv_heads", HEADS)
    mask = given.get("mask", np.ones((TOKENS, TOKENS)))
    allowed = np.tril(np.ones((TOKENS, TOKENS))) if isinstance(mask, str) else mask
    q, k, v = (r @ theta[name].T for name in "qkv")
    size = given.get("rotary_dim", D)
    angle = np.arange(TOKENS)[:, None] * 5.0 ** (-2 * np.arange(size // 2) / size)[None]

    def turned(x: Any) -> Any:
        if "positions" not in given:
            return x
        first, second, rest = jnp.split(x, [size // 2, size], axis=1)
        return jnp.concatenate(
            [
                first * np.cos(angle) - second * np.sin(angle),
                first * np.sin(angle) + second * np.cos(angle),
                rest,
            ],
            axis=1,
        )

    outputs = []
    for h in range(HEADS):
        own, shared = slice(h * D, (h + 1) * D), slice(h // group * D, (h // group + 1) * D)

        def unit(x):
            return x / jnp.sqrt((x**2).mean(axis=1, keepdims=True)) if given.get("qk_norm") else x

        s = (
            turned(unit(q[:, own]))
            @ turned(unit(k[:, shared])).T
            / (D if given.get("score_scale") == "linear" else np.sqrt(D))
        )
        s = 0.7 * jnp.tanh(s / 0.7) if "softcap" in given else s
        e = jnp.exp(s + given.get("attention_bias", 0.0)) * allowed
        outputs.append(e / e.sum(1, keepdims=True) @ v[:, shared])
    return (
        np.array(given.get("attention_rescale", np.ones(TOKENS)))[:, None]
        * jnp.concatenate(outputs, axis=1)
        @ theta["u"].T
    )


@pytest.mark.parametrize("name", CASES)
def test_rows_are_those_of_explicit_heads(name: str):
    given = CASES[name]
    arch = sp.architectures.transformer(
        block="attention", tokens=TOKENS, head_dim=D, c_q=4, residual_scale=0.6, **given
    )
    rows = tuple(
        row
        for row in select(arch, ["token_covariance", "gradient_covariance", "weight_gradient"])
        if row.group in (None, *arch.weights)
    )
    measured = rows_of(engine(arch, WIDTH, rows), 1, 1)[0]
    key = jax.random.fold_in(base_key(arch, WIDTH, 3, 0), np.uint32(0))
    keys = [jax.random.fold_in(key, i) for i in range(6)]
    normal = [np.asarray(random.normal(k, (TOKENS, WIDTH)), dtype=np.float64) for k in keys[:2]]
    variance = {"q": 4.0, "k": 1.0, "v": 1.0, "u": 1.0}
    theta = {
        s.name: np.asarray(draw(k, s, np.uint32(0)), dtype=np.float64)
        * np.sqrt(variance[s.name] / WIDTH)
        for s, k in zip(shapes(arch, WIDTH), keys[2:], strict=True)
    }
    values, vectors = np.linalg.eigh(arch.input_gram)
    stem, readout = (vectors * np.sqrt(values)) @ normal[0], normal[1]

    def out(theta: dict[str, Any], h: Any) -> Any:
        centred = h - h.mean(axis=1, keepdims=True)
        r = centred / jnp.sqrt((centred**2).mean(axis=1, keepdims=True))
        return h + 0.6 * attention(theta, r, given)

    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        by_weight, by_state = jax.grad(
            lambda theta, h: jnp.sum(readout * out(theta, h)), argnums=(0, 1)
        )(theta, stem)
        last = np.asarray(out(theta, stem))
    states, gradients = [stem, last], [np.asarray(by_state), readout]
    for row, value in zip(rows, measured, strict=True):
        a, t, s = row.application or 0, row.token or 0, row.token_2 or 0
        if row.quantity == "weight_gradient":
            g = np.asarray(by_weight[row.group or ""])
            expected = float((g**2).sum()) / g.size
        else:
            vectors = (states if row.quantity == "token_covariance" else gradients)[a]
            expected = float(vectors[t] @ vectors[s]) / WIDTH
        assert value == pytest.approx(expected, rel=2e-4, abs=2e-5), row


def test_explicit_heads_of_other_positions_are_not_these():
    """The companion: leaving out the rotation changes the rows by far more than rounding."""

    def make(**given):
        return sp.architectures.transformer(
            block="attention", tokens=TOKENS, head_dim=D, c_q=4, **given
        )

    turned, plain = make(positions="rotary", rope_base=5.0), make()
    rows = select(plain, ["weight_gradient"])
    one, other = (rows_of(engine(arch, WIDTH, rows), 1, 1)[0] for arch in (turned, plain))
    assert not np.allclose(one, other, rtol=1e-2)

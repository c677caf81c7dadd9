"""Attention written in several ways is one description; what only looks like it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax_modules as modules
import numpy as np
import pytest
from descriptions import assert_same
from jax_modules import HEADS, TOKENS, WIDTH, causal, inputs, nn, nnx

import sigprop as sp

HEAD = WIDTH // HEADS


def read(build: Callable[[], Any]) -> Any:
    return sp.read(build, inputs()).architecture


def rotary(x: Any) -> Any:
    """[T, h, d] turned by t 1e4^(-2j/d)."""
    powers = 1e4 ** (-jnp.arange(0, HEAD, 2) / HEAD)
    angles = jnp.outer(jnp.arange(TOKENS), powers)
    angles = jnp.concatenate([angles, angles], -1)[:, None, :]
    half = jnp.concatenate([-x[..., HEAD // 2 :], x[..., : HEAD // 2]], -1)
    return x * jnp.cos(angles) + half * jnp.sin(angles)


class Attention(nnx.Module):
    """x + U attend(norm(x)), heads as given: a function of [T, h, d] queries, keys and values."""

    def __init__(self, function: Any, kv_heads: int = HEADS) -> None:
        rngs = nnx.Rngs(0)
        self.function, self.kv_heads = function, kv_heads
        self.norm = nnx.RMSNorm(WIDTH, rngs=rngs)
        for name, rows in zip(
            "qkvu", (WIDTH, kv_heads * HEAD, kv_heads * HEAD, WIDTH), strict=True
        ):
            init = modules.normal(name)
            linear = nnx.Linear(WIDTH, rows, use_bias=False, kernel_init=init, rngs=rngs)
            setattr(self, name, linear)
        self.gain = nnx.RMSNorm(HEAD, epsilon=1e-6, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        r = self.norm(x)
        q = self.q(r).reshape(TOKENS, HEADS, HEAD)
        k, v = (m(r).reshape(TOKENS, self.kv_heads, HEAD) for m in (self.k, self.v))
        return x + self.u(self.function(self, q, k, v).reshape(TOKENS, WIDTH))


def written(q: Any, k: Any, v: Any, hide: Callable[[Any], Any], cap: float | None = None) -> Any:
    scores = jnp.einsum("qhd,khd->hqk", q, k) / np.sqrt(HEAD)
    scores = scores if cap is None else cap * jnp.tanh(scores / cap)
    return jnp.einsum("hqk,khd->qhd", jax.nn.softmax(hide(scores), -1), v)


def filled(scores: Any) -> Any:
    return jnp.where(causal(), scores, -jnp.inf)


def by_matmul(q: Any, k: Any, v: Any) -> Any:
    q, k, v = (jnp.swapaxes(one, 0, 1) for one in (q, k, v))
    exps = jnp.exp(filled(q * HEAD**-0.5 @ jnp.swapaxes(k, 1, 2)))
    return jnp.swapaxes(exps / exps.sum(-1, keepdims=True) @ v, 0, 1)


def by_jax(q: Any, k: Any, v: Any, **given: Any) -> Any:
    return jax.nn.dot_product_attention(q[None], k[None], v[None], **given)[0]


CAUSAL: dict[str, Callable[..., Any]] = {
    "filled": lambda m, q, k, v: written(q, k, v, filled),
    "added": lambda m, q, k, v: written(q, k, v, lambda s: s + jnp.where(causal(), 0.0, -1e9)),
    "matmul": lambda m, q, k, v: by_matmul(q, k, v),
    "jax.nn": lambda m, q, k, v: by_jax(q, k, v, is_causal=True),
    "jax.nn, a mask": lambda m, q, k, v: by_jax(q, k, v, mask=causal()[None, None]),
    "nnx": lambda m, q, k, v: nnx.dot_product_attention(q, k, v, mask=causal()[None]),
    "linen": lambda m, q, k, v: nn.dot_product_attention(q, k, v, mask=causal()[None]),
}


@pytest.mark.parametrize("name", CAUSAL)
def test_causal_attention(name: str):
    """Einsum, matmul, jax's own and flax's: one description."""
    found = read(lambda: Attention(CAUSAL[name]))
    assert_same(found, read(lambda: Attention(CAUSAL["filled"])))
    (heads,) = found.sub_blocks[0].attention
    assert (heads.scores.mask, heads.scores.head_dim) == ("causal", HEAD)


HEADS_OF: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "no mask": (lambda m, q, k, v: written(q, k, v, lambda s: s), {"mask": "none"}),
    "rotary": (lambda m, q, k, v: written(rotary(q), rotary(k), v, filled), {"rotary": True}),
    "norms": (lambda m, q, k, v: written(m.gain(q), m.gain(k), v, filled), {"qk_norm": True}),
}


@pytest.mark.parametrize("name", HEADS_OF)
def test_what_heads_have(name: str):
    function, expected = HEADS_OF[name]
    (heads,) = read(lambda: Attention(function)).sub_blocks[0].attention
    assert {key: getattr(heads.scores, key) for key in expected} == expected


def test_a_soft_cap():
    found = read(lambda: Attention(lambda m, q, k, v: written(q, k, v, filled, 5.0)))
    (heads,) = found.sub_blocks[0].attention
    assert found.numbers[heads.cap.name] == pytest.approx(5.0, rel=1e-6)


def grouped(q: Any, k: Any, v: Any) -> Any:
    """Two heads of queries for one of keys, by einsum."""
    q = q.reshape(TOKENS, 2, HEADS // 2, HEAD) / np.sqrt(HEAD)
    weights = jax.nn.softmax(filled(jnp.einsum("qkgd,tkd->kgqt", q, k)), -1)
    return jnp.einsum("kgqt,tkd->qkgd", weights, v)


GROUPED: dict[str, Callable[..., Any]] = {
    "repeated": lambda m, q, k, v: written(
        q, *(jnp.repeat(one, 2, axis=1) for one in (k, v)), filled
    ),
    "einsum": lambda m, q, k, v: grouped(q, k, v),
    "jax.nn": lambda m, q, k, v: by_jax(q, k, v, is_causal=True),
}


@pytest.mark.parametrize("name", GROUPED)
def test_grouped_queries(name: str):
    found = read(lambda: Attention(GROUPED[name], 2))
    assert_same(found, read(lambda: Attention(GROUPED["jax.nn"], 2)))
    assert len(found.sub_blocks[0].attention) == 1


NOT_ATTENTION: dict[str, Callable[..., Any]] = {
    "a softmax over queries": lambda m, q, k, v: jnp.einsum(
        "hqk,khd->qhd", jax.nn.softmax(jnp.einsum("qhd,khd->hqk", q, k), 1), v
    ),
    "a softmax over heads": lambda m, q, k, v: jnp.einsum(
        "hqk,khd->qhd", jax.nn.softmax(jnp.einsum("qhd,khd->hqk", q, k), 0), v
    ),
    "no softmax": lambda m, q, k, v: jnp.einsum(
        "hqk,khd->qhd", jnp.einsum("qhd,khd->hqk", q, k), v
    ),
    "tokens summed over": lambda m, q, k, v: jnp.einsum("thd,the->the", q, v) * k.sum(0),
    "values of queries": lambda m, q, k, v: jnp.einsum(
        "hqk,qhd->khd", jax.nn.softmax(jnp.einsum("qhd,khd->hqk", q, k), -1), v
    ),
}


@pytest.mark.parametrize("name", NOT_ATTENTION)
def test_what_only_looks_like_attention_is_refused(name: str):
    with pytest.raises(sp.InputError, match="has no rule|cannot stand"):
        read(lambda: Attention(NOT_ATTENTION[name]))


SLOPES = 2.0 ** -np.arange(1, HEADS + 1)


def by_slopes(m: Any, q: Any, k: Any, v: Any) -> Any:
    """ALiBi: every head's slope times the distance."""
    distance = jnp.arange(TOKENS)[None, :] - jnp.arange(TOKENS)[:, None]
    bias = jnp.asarray(SLOPES, jnp.float32)[:, None, None] * distance
    return written(q, k, v, lambda scores: filled(scores + bias))


def test_slopes_of_heads():
    """A fixed table for each head, of what a softmax sees."""
    found = read(lambda: Attention(by_slopes))
    (heads,) = found.sub_blocks[0].attention
    distance = np.tril(np.subtract.outer(np.arange(TOKENS), np.arange(TOKENS)))
    expected = -SLOPES[:, None, None] * distance
    assert heads.scores.mask == "causal"
    np.testing.assert_allclose(
        np.reshape(found.token_tables[heads.bias.name], expected.shape), expected, rtol=1e-6
    )


class Bucketed(Attention):
    """Scores plus drawn numbers by distance, a column a head (T5)."""

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        table = nnx.initializers.normal(0.5)
        self.table = nnx.Embed(2 * TOKENS, HEADS, embedding_init=table, rngs=nnx.Rngs(2))


def by_buckets(m: Any, q: Any, k: Any, v: Any) -> Any:
    distance = jnp.arange(TOKENS)[None, :] - jnp.arange(TOKENS)[:, None] + TOKENS
    bias = jnp.transpose(m.table(distance), (2, 0, 1))
    return written(q, k, v, lambda scores: scores + bias)


def test_drawn_numbers_on_scores():
    """A bias of buckets of positions, of the variance that it is drawn with."""
    found = sp.read(lambda: Bucketed(by_buckets), inputs())
    drawn = {d.parameter: d.law.variance for d in found.applications[0].weights.values()}
    assert drawn["table.embedding"] == pytest.approx(0.25, rel=1e-6)

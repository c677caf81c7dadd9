"""Biases on scores, head by head, in one finite network: against the same network written out with
explicit heads and jax.grad."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_rows import engine, rows_of

import sigprop as sp
from sigprop.agreement.biased import DISTANCES, HEAD_DIM, NUMBERS, SLOPES, TOKENS, buckets, slopes
from sigprop.description.rows import select
from sigprop.errors import InputError
from sigprop.simulations.engines.engine import base_key
from sigprop.simulations.network import random
from sigprop.simulations.network.weights import draw, shapes

WIDTH, GROUP = 16, 2
HEADS = WIDTH // HEAD_DIM
KINDS = ("slopes", "buckets")


def network(kind: str) -> sp.Architecture:
    """One application, a soft cap, two query heads for each head of keys and values."""
    arch = slopes([0]) if kind == "slopes" else buckets([0], mask="causal")
    block = arch.sub_blocks[0]
    node = block.attention[0]
    key, value = (replace(leg, rows=leg.rows / GROUP) for leg in (node.key, node.value))
    grouped = replace(node, key=key, value=value, cap=sp.Number("cap"))
    blocks = (replace(block, branch=replace(block.branch, of=grouped)),)
    return replace(arch, sub_blocks=blocks, numbers={**arch.numbers, "cap": 0.7})


def attention(theta: dict[str, Any], r: Any) -> Any:
    """One head after another, plainly."""
    q, k, v = (r @ theta[name].T for name in "qkv")
    outputs = []
    for h in range(HEADS):
        kept = slice(h // GROUP * HEAD_DIM, (h // GROUP + 1) * HEAD_DIM)
        s = q[:, h * HEAD_DIM : (h + 1) * HEAD_DIM] @ k[:, kept].T / HEAD_DIM**0.5
        s = 0.7 * jnp.tanh(s / 0.7)
        if "b" in theta:
            own = theta["b"].reshape(HEADS, -1)[h]
            s = s + own[jnp.asarray(DISTANCES + TOKENS - 1)]
        else:
            s = s - SLOPES[h % 2] * abs(DISTANCES)
        e = jnp.exp(s) * np.tril(np.ones((TOKENS, TOKENS)))
        outputs.append(e / e.sum(1, keepdims=True) @ v[:, kept])
    return jnp.concatenate(outputs, axis=1) @ theta["u"].T


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_those_of_explicit_heads(kind: str):
    """States, gradients by states and by every group, of one network: float32's 1e-4."""
    arch = network(kind)
    rows = tuple(
        row
        for row in select(arch, ["token_covariance", "gradient_covariance", "weight_gradient"])
        if row.group in (None, *arch.weights)
    )
    measured = rows_of(engine(arch, WIDTH, rows), 1, 1)[0]
    key = jax.random.fold_in(base_key(arch, WIDTH, 3, 0), np.uint32(0))
    known = shapes(arch, WIDTH)
    keys = [jax.random.fold_in(key, i) for i in range(2 + len(known))]
    normal = [np.asarray(random.normal(k, (TOKENS, WIDTH)), dtype=np.float64) for k in keys[:2]]
    theta = {
        s.name: np.asarray(draw(k, s, np.uint32(0)), dtype=np.float64)
        * np.sqrt(NUMBERS[f"c_{s.name}"] / (WIDTH if len(s.shape) > 1 else 1))
        for s, k in zip(known, keys[2:], strict=True)
    }
    values, vectors = np.linalg.eigh(arch.input_gram)
    stem, readout = (vectors * np.sqrt(values)) @ normal[0], normal[1]

    def out(theta: dict[str, Any], h: Any) -> Any:
        r = h / jnp.sqrt((h**2).mean(axis=1, keepdims=True))
        return 0.8 * h + attention(theta, r)

    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        by_weight, by_state = jax.grad(
            lambda theta, h: jnp.sum(readout * out(theta, h)), argnums=(0, 1)
        )(theta, stem)
        last = np.asarray(out(theta, stem))
    found = (np.array([stem, last]), np.array([np.asarray(by_state), readout]), by_weight)
    for row, value in zip(rows, measured, strict=True):
        assert value == pytest.approx(expected(row, *found), rel=1e-4, abs=2e-5), row


def expected(row: Any, states: np.ndarray, gradients: np.ndarray, by_weight: Any) -> float:
    """A row's value; squared gradients of matrices are means over outputs (keys and values have
    fewer) of W over the root of its fan-in, those of a bias's numbers sums over all of them."""
    a, t, s = row.application or 0, row.token or 0, row.token_2 or 0
    if row.quantity == "weight_gradient":
        outputs = WIDTH / (GROUP if row.group in ("k", "v") else 1)
        square = float((np.asarray(by_weight[row.group]) ** 2).sum())
        return square / WIDTH / (1 if row.group == "b" else outputs)
    vectors = states if row.quantity == "token_covariance" else gradients
    return float(vectors[a][t] @ vectors[a][s] / WIDTH)


def test_every_application_of_a_slot_has_the_same_numbers():
    """Equal states, one shared bias: looped applications of one input attend alike; of their own
    numbers otherwise (the companion)."""
    names = {name: [0, 0] for name in "qkvu"}

    def participation(slots: list[int]) -> np.ndarray:
        arch = buckets(names | {"b": slots}, mask="causal")
        block = replace(arch.sub_blocks[0], rule=sp.State(0) + 0 * sp.Write())
        arch = replace(arch, sub_blocks=(block,))
        rows = tuple(select(arch, ["participation"]))
        return rows_of(engine(arch, WIDTH, rows), 1, 1)[0].reshape(2, -1)

    same, other = participation([0, 0]), participation([0, 1])
    np.testing.assert_allclose(same[0], same[1], rtol=1e-6)
    assert abs(other[0] - other[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("arch", "width", "says"),
    [
        (slopes([0]), 12, "width=12: 3 heads of 2 kinds; accepted: as many heads of every kind"),
        (buckets([0]), 10, "head_dim=4 with 1 query heads a key head does not divide the 10"),
    ],
)
def test_widths_that_do_not_divide_into_heads(arch: sp.Architecture, width: int, says: str):
    with pytest.raises(InputError) as caught:
        sp.measure(arch, width=width, samples=2)
    assert says in str(caught.value)

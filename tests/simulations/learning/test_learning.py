"""Language models: their loss and steps are those of networks written out by hand, their gradients
those that ``check`` steps along, and what else is trained at once changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sigprop as sp
from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.simulations.learning import batches, grid, network
from sigprop.simulations.network.weights import shapes
from sigprop.simulations.training import trained
from sigprop.simulations.training.steps import Setting
from tests.helpers import language_models

WIDTH, WORDS, TOKENS, BATCH, DECAY = 16, 11, 8, 4, 0.1
TEXT = np.random.default_rng(0).integers(0, WORDS, 400).astype(np.uint8)


def transformer(depth: int = 2, loops: int = 2) -> Architecture:
    return sp.architectures.looped_transformer(
        depth=depth, loops=loops, tokens=TOKENS, mask="causal"
    )


def learning(arch: Architecture, steps: int, dtype: str = "float32", **other: Any) -> grid.Learning:
    """A program of so many AdamW steps at one rate."""
    plan = grid.Plan("adamw", WORDS, BATCH, steps, 0, "clip" in other, dtype)
    groups = dict.fromkeys(grid.groups(arch), Setting(1.0, 1e-8, DECAY))
    spread = network.variances(arch, WIDTH)
    return grid.Learning(arch, WIDTH, plan, TEXT, groups=groups, spread=spread, **other)


def by_hand(params: Any, data: Any, rate: float, steps: int) -> list[float]:
    """Losses before each of the steps of the transformer written by hand."""

    def loss(p: Any, words: Any) -> Any:
        logits = language_models.transformer(
            p, words[:, :-1], depth=2, loops=2, scale=1 / (2 * 2**0.5), head_dim=8
        )
        return language_models.cross_entropy(logits, words[:, 1:])

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        value_and_grad = jax.jit(jax.value_and_grad(loss))
        zero = {name: jnp.zeros_like(x) for name, x in params.items()}
        moments, losses = (zero, zero), []
        for step in range(steps):
            words = batches.batch(jnp.asarray(TEXT), data, jnp.int32(step), BATCH, TOKENS + 1)
            value, gradients = value_and_grad(params, words)
            losses.append(float(value))
            params, moments = language_models.adamw(
                params, gradients, moments, step + 1, rate, DECAY
            )
    return losses


def test_ten_steps_are_those_of_a_transformer_written_by_hand():
    """The loss before and after one step to 1e-5, of ten to 1e-3."""
    one = learning(transformer(), 10)
    members = one.members([1e-2], [3])
    start = one.start(members)
    _, losses = one.steps(members, start, 0, 10)
    params = jax.tree.map(lambda x: x[0], start.params)
    expected = by_hand(params, members.data[0], 1e-2, 10)
    np.testing.assert_allclose(losses[0][:2], expected[:2], rtol=1e-5)
    np.testing.assert_allclose(losses[0], expected, rtol=1e-3)
    assert abs(expected[0] - expected[9]) > 0.1  # the companion: steps move the loss


def test_what_is_trained_beside_it_changes_no_loss():
    """Three members at once, and each alone; the same seed at two rates begins alike."""
    one = learning(transformer(), 5)
    given = [(1e-3, 0), (1e-2, 0), (1e-2, 1)]

    def losses(some: list[tuple[float, int]]) -> Any:
        members = one.members(*zip(*some, strict=True))
        return np.asarray(one.steps(members, one.start(members), 0, 5)[1])

    together = losses(given)
    alone = np.concatenate([losses([member]) for member in given])
    np.testing.assert_allclose(together, alone, rtol=2e-5)
    assert together[0, 0] == together[1, 0] != together[2, 0]


CHECKED = {
    "looped": transformer,
    "nag": lambda: sp.architectures.nag(depth=3, block="transformer", tokens=TOKENS, mask="causal"),
    "e-spa": lambda: sp.architectures.e_spa(depth=3, tokens=TOKENS),
    "gates": lambda: sp.architectures.value_skipinit(depth=2, tokens=TOKENS, shape_beta=0.5),
}


@pytest.mark.parametrize("name", CHECKED)
def test_gradients_are_those_that_check_steps_along(name: str):
    """With two words the cross-entropy is a function of theta . o_t, theta the difference of the
    head's two rows: the gradients of ``trained.passed`` are those of the loss."""
    # the read-out of ``check`` has no temperature, which NAG's head has
    arch = replace(CHECKED[name](), head=sp.Head())
    bare, found = trained.bare(arch, WIDTH), shapes(arch, WIDTH)
    table = {k: v for k, v in trained.tables(arch).items() if k != "inputs"}
    params, _ = network.start(
        bare,
        found,
        WIDTH,
        jax.random.key(1),
        scales=trained.scales(arch, WIDTH),
        spread=network.variances(arch, WIDTH),
        words=2,
    )
    words = (TEXT[: TOKENS + 1] % 2).astype(np.int32)

    @jax.jit
    def gradient(p: Any) -> Any:
        return jax.grad(lambda p: network.loss(bare, found, p, table, jnp.asarray(words)[None]))(p)

    @jax.jit
    def checked(p: Any) -> Any:
        head = p["readout"]
        inputs = {
            "embedding": np.eye(2, dtype=np.float32)[words[:-1]],
            "position": np.eye(TOKENS, dtype=np.float32),
        }
        return trained.passed(
            bare,
            found,
            p | {"readout": head[1] - head[0]},
            table | {"inputs": inputs},
            width=WIDTH,
            cotangent=lambda z: (jax.nn.sigmoid(z) - words[1:].astype(np.float32)) / TOKENS,
            at=(0,),
            key=jax.random.key(0),
        ).gradients

    ours, theirs = gradient(params), checked(params)
    assert set(ours) == set(grid.groups(arch)) == set(theirs)
    for group, expected in theirs.items():
        g = ours[group][1] if group == "readout" else ours[group]
        scale = float(jnp.abs(expected).max())
        np.testing.assert_allclose(g, expected, atol=1e-5 * scale + 1e-9, err_msg=group)
    assert float(jnp.abs(ours["v"]).max()) > 1e-6


def test_the_body_is_the_dense_engines_network():
    """The same key, the same matrices."""
    from sigprop.simulations.network import random
    from sigprop.simulations.network.weights import stored

    arch = transformer()
    one = learning(arch, 1)
    members = one.members([1.0], [5])
    params = one.start(members).params
    keys = random.branches(members.key[0], 3 + len(one.static.shapes))[2:-1]
    for shape, key in zip(one.static.shapes, keys, strict=True):
        std = shape.shape[-1] ** -0.5
        expected = std * stored(key, shape)
        ratio = np.asarray(params[shape.name][0] / expected)
        np.testing.assert_allclose(ratio, ratio.ravel()[0], rtol=1e-5)


def test_a_clipped_gradient_has_that_norm():
    gradients = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([[4.0]])}
    np.testing.assert_allclose(grid.clipped(gradients, jnp.float32(1.0))["b"], [[0.8]], rtol=1e-6)
    np.testing.assert_allclose(grid.clipped(gradients, jnp.float32(9.0))["b"], [[4.0]], rtol=1e-6)


def test_bfloat16_is_float32_roughly():
    single, half = (learning(transformer(), 5, dtype) for dtype in ("float32", "bfloat16"))
    members = single.members([1e-2], [0])
    start = single.start(members)
    a, b = (np.asarray(one.steps(members, start, 0, 5)[1]) for one in (single, half))
    np.testing.assert_allclose(a, b, rtol=0.03)
    assert not np.array_equal(a, b)


def test_attention_to_later_words_is_refused():
    arch = sp.architectures.transformer(tokens=TOKENS)
    with pytest.raises(InputError, match="accepted: mask=causal"):
        network.check_causal(arch)


@pytest.mark.parametrize(("length", "most"), [(100, 4), (9, 4), (40, 100)])
def test_windows_of_the_held_out_text_lie_apart(length: int, most: int):
    offsets = batches.spread(length, 9, most)
    assert len(offsets) == min(most, length // 9)
    assert offsets[0] == 0 and offsets[-1] + 9 <= length
    assert all(np.diff(offsets) >= 9)

"""Stems of modules of jax: the Gram that is read against the mean over fresh networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax_modules as modules
import numpy as np
import pytest
from jax_modules import BIASES, STDS, WIDTH, eqx, ids, inputs, nn, nnx

import sigprop as sp
from sigprop.inspection.networks import networks

SEEDS = 64


class LinenPatches(nn.Module):
    """Patches of an image, a class token, positions."""

    @nn.compact
    def __call__(self, image: Any) -> Any:
        given = {"kernel_init": nn.initializers.normal(0.2), "bias_init": modules.bias("x")}
        x = nn.Conv(WIDTH, (2, 2), (2, 2), padding="VALID", name="patches", **given)(image)
        x = x.reshape(1, -1, WIDTH)
        x = jnp.concatenate([self.param("token", modules.normal("wpe"), (1, 1, WIDTH)), x], 1)
        x = x + self.param("positions", modules.normal("wpe"), (1, 5, WIDTH))
        return modules.LinenMlp(1)(x)


class EqxPatches(eqx.Module):
    """The same without a token, channels first."""

    conv: Any
    block: Any

    def __init__(self, key: Any) -> None:
        self.conv = eqx.nn.Conv2d(3, WIDTH, 2, 2, key=key)
        self.block = modules.EqxMlp(jax.random.fold_in(key, 1))

    def __call__(self, image: Any) -> Any:
        return self.block(self.conv(image).reshape(WIDTH, -1).T)


class NnxScaled(nnx.Module):
    """Words times a root, positions of which some are used, a norm."""

    def __init__(self, rngs: Any) -> None:
        self.wte = nnx.Embed(50, WIDTH, embedding_init=modules.normal("wte"), rngs=rngs)
        self.wpe = nnx.Param(modules.normal("wpe")(rngs.params(), (9, WIDTH)))
        self.norm = nnx.RMSNorm(WIDTH, rngs=rngs)
        self.block = modules.NnxMlp(rngs)

    def __call__(self, words: Any) -> Any:
        x = self.wte(words) * jnp.sqrt(2.0) + self.wpe[: words.shape[1]][None]
        return self.block(self.norm(x))


class NnxProjected(nnx.Module):
    """A matrix and its bias before the stream."""

    def __init__(self, rngs: Any) -> None:
        given = {"kernel_init": modules.normal("v"), "bias_init": modules.bias("w")}
        self.project = nnx.Linear(7, WIDTH, rngs=rngs, **given)
        self.block = modules.NnxMlp(rngs)

    def __call__(self, x: Any) -> Any:
        return self.block(self.project(x))


IMAGE = jax.random.normal(jax.random.key(7), (3, 4, 4))
STEMS: dict[str, tuple[Callable[[], Any], Any]] = {
    "patches of linen": (LinenPatches, IMAGE.transpose(1, 2, 0)[None]),
    "patches of equinox": (lambda: EqxPatches(jax.random.key(0)), IMAGE),
    "words and positions": (lambda: NnxScaled(nnx.Rngs(0)), ids()),
    "a matrix": (lambda: NnxProjected(nnx.Rngs(0)), inputs(7)),
}


@pytest.mark.parametrize("name", STEMS)
def test_the_stem_is_the_mean_over_networks(name: str):
    """Variances by token within 5 standard errors of 64 networks (and 1/n where a norm divides)."""
    build, example = STEMS[name]
    found = sp.read(build, example)
    gram = np.asarray(found.architecture.input_gram)
    ran = networks(found, range(SEEDS), lambda: None)
    values = np.stack([network.variance[0] for network in ran])
    error = values.std(axis=0, ddof=1) / SEEDS**0.5 + 1e-5
    assert (np.abs(values.mean(axis=0) - np.diag(gram)) < 5 * error).all()
    size = np.sqrt(np.diag(gram))
    cosines = np.stack([network.cosine[0] for network in ran])
    off = np.abs(cosines.mean(axis=0) - gram / np.outer(size, size))
    assert off.max() < 5 * (1 / (WIDTH * SEEDS)) ** 0.5 + 1 / WIDTH


def test_words_are_equal_or_independent():
    """Embeddings by hand: the variance where two tokens are one word, positions apart."""
    found = sp.read(lambda: modules.NnxGpt(nnx.Rngs(0), 1), ids())
    gram = STDS["wte"] ** 2 * modules.SAME + STDS["wpe"] ** 2 * np.eye(len(modules.WORDS))
    np.testing.assert_allclose(found.architecture.input_gram, gram, rtol=1e-6)


def test_a_matrix_by_hand():
    found = sp.read(lambda: NnxProjected(nnx.Rngs(0)), inputs(7))
    x = np.asarray(inputs(7), np.float64)
    gram = STDS["v"] ** 2 * x @ x.T + BIASES["w"] ** 2
    np.testing.assert_allclose(found.architecture.input_gram, gram, rtol=1e-6)

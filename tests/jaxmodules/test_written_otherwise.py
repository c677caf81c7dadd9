"""One network written in several ways is one description: activations, norms, matrices and
parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax_modules as modules
import numpy as np
import pytest
from descriptions import assert_same
from jax_modules import HEADS, TOKENS, WIDTH, eqx, inputs, nnx

import sigprop as sp
from sigprop.language.activations import ACTIVATIONS

HEAD = WIDTH // HEADS


class Branch(nnx.Module):
    """x + X f(W norm(x)), the norm and f as given."""

    def __init__(self, function: Any, norm: Any = None) -> None:
        rngs = nnx.Rngs(0)
        self.function, self.norm = function, norm
        given = {"use_bias": False, "rngs": rngs}
        self.w = nnx.Linear(WIDTH, WIDTH, kernel_init=modules.normal("w"), **given)
        self.x = nnx.Linear(WIDTH, WIDTH, kernel_init=modules.normal("x"), **given)

    def __call__(self, x: Any) -> Any:
        return x + self.x(self.function(self.w(x if self.norm is None else self.norm(x))))


def read(build: Callable[[], Any]) -> Any:
    return sp.read(build, inputs()).architecture


ACTIVATED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "relu": (jax.nn.relu, "relu"),
    "maximum": (lambda x: jnp.maximum(x, 0), "relu"),
    "where": (lambda x: jnp.where(x > 0, x, 0), "relu"),
    "gelu": (lambda x: jax.nn.gelu(x, approximate=False), "gelu"),
    "gelu by erf": (lambda x: x * (1 + jax.lax.erf(x / np.sqrt(2))) / 2, "gelu"),
    "gelu-tanh": (jax.nn.gelu, "gelu-tanh"),
    "silu": (jax.nn.silu, "silu"),
    "x sigmoid": (lambda x: x / (1 + jnp.exp(-x)), "silu"),
    "tanh": (jnp.tanh, "tanh"),
    "tanh by exp": (lambda x: 1 - 2 / (jnp.exp(2 * x) + 1), "tanh"),
}


@pytest.mark.parametrize("name", ACTIVATED)
def test_activations(name: str):
    """Known by their values."""
    function, known = ACTIVATED[name]
    (block,) = read(lambda: Branch(function)).sub_blocks
    assert block.branch.of.activation is ACTIVATIONS[known]


OWN = {
    "relu6": jax.nn.relu6,
    "elu": jax.nn.elu,
    "softplus": jax.nn.softplus,
    "mish": jax.nn.mish,
    "hard_swish": jax.nn.hard_swish,
    "a cube": lambda x: x**3 - 0.5 * x,
    "a clip": lambda x: jnp.clip(x, -1, 2),
}


@pytest.mark.parametrize("name", OWN)
def test_activations_that_are_not_registered(name: str):
    """One of its own, with the same values far beyond where the others were compared."""
    (block,) = read(lambda: Branch(OWN[name])).sub_blocks
    function = block.branch.of.activation
    assert function not in ACTIVATIONS.values()
    x = jnp.linspace(-20.0, 20.0, 81)
    with jax.enable_x64(True):
        found = np.asarray(function.function(jnp.asarray(np.asarray(x, np.float64))))
    np.testing.assert_allclose(found, OWN[name](x), rtol=1e-4, atol=1e-5)


def mean(x: Any) -> Any:
    return x.mean(-1, keepdims=True)


NORMS: dict[str, Callable[[Any], Any]] = {
    "nnx, slow variance": lambda r: nnx.LayerNorm(WIDTH, use_fast_variance=False, rngs=r),
    "nnx, no parameters": lambda r: nnx.LayerNorm(WIDTH, use_scale=False, use_bias=False, rngs=r),
    "jnp.var": lambda r: (
        lambda x: (x - mean(x)) * jax.lax.rsqrt(jnp.var(x, -1, keepdims=True) + 1e-6)
    ),
    "a root": lambda r: lambda x: (x - mean(x)) / jnp.sqrt(mean((x - mean(x)) ** 2) + 1e-6),
    "a power": lambda r: lambda x: (x - mean(x)) * (mean(x**2) - mean(x) ** 2 + 1e-6) ** -0.5,
}
RMS: dict[str, Callable[[Any], Any]] = {
    "nnx, no scale": lambda r: nnx.RMSNorm(WIDTH, use_scale=False, rngs=r),
    "a root": lambda r: lambda x: x / jnp.sqrt(mean(x * x) + 1e-6),
    "a gain before": lambda r: lambda x: x * (1.0 * jax.lax.rsqrt(mean(x**2) + 1e-6)),
}


@pytest.mark.parametrize("name", NORMS)
def test_layer_norms(name: str):
    expected = read(lambda: Branch(jnp.tanh, nnx.LayerNorm(WIDTH, rngs=nnx.Rngs(0))))
    assert_same(read(lambda: Branch(jnp.tanh, NORMS[name](nnx.Rngs(0)))), expected)


@pytest.mark.parametrize("name", RMS)
def test_rms_norms(name: str):
    expected = read(lambda: Branch(jnp.tanh, nnx.RMSNorm(WIDTH, rngs=nnx.Rngs(0))))
    assert_same(read(lambda: Branch(jnp.tanh, RMS[name](nnx.Rngs(0)))), expected)


def test_a_norm_of_other_numbers_is_no_norm():
    """A variance over tokens, or a power that is no root: refused, not taken for one."""
    for norm in (
        lambda x: x / jnp.sqrt((x**2).mean(0, keepdims=True) + 1e-6),
        lambda x: x / (mean(x**2) + 1e-6),
    ):
        with pytest.raises(sp.InputError):
            read(lambda norm=norm: Branch(jnp.tanh, norm))


class Own(nnx.Module):
    """A matrix that is kept and applied as asked."""

    def __init__(self, shape: tuple[int, ...], function: Callable[[Any, Any], Any]) -> None:
        self.w = nnx.Param(0.2 * jax.random.normal(jax.random.key(0), shape))
        self.function = function

    def __call__(self, x: Any) -> Any:
        return x + jnp.tanh(self.function(x, self.w[...]))


MATRICES: dict[str, tuple[tuple[int, ...], Callable[[Any, Any], Any]]] = {
    "x @ w": ((WIDTH, WIDTH), lambda x, w: x @ w),
    "x @ w.T": ((WIDTH, WIDTH), lambda x, w: x @ w.T),
    "w @ x.T": ((WIDTH, WIDTH), lambda x, w: (w @ x.T).T),
    "vmap": ((WIDTH, WIDTH), lambda x, w: jax.vmap(lambda row: w @ row)(x)),
    "einsum": ((WIDTH, WIDTH), lambda x, w: jnp.einsum("oi,ti->to", w, x)),
    "heads": (
        (HEADS, HEAD, WIDTH),
        lambda x, w: jnp.einsum("hdi,ti->thd", w, x).reshape(TOKENS, WIDTH),
    ),
    "of heads": (
        (HEADS, HEAD, WIDTH),
        lambda x, w: jnp.einsum("hdo,thd->to", w, x.reshape(TOKENS, HEADS, HEAD)),
    ),
}


@pytest.mark.parametrize("name", MATRICES)
def test_matrices(name: str):
    shape, function = MATRICES[name]
    assert_same(read(lambda: Own(shape, function)), read(lambda: Own(*MATRICES["x @ w"])))


def test_a_matrix_over_tokens_is_refused():
    for shape, function in (
        ((TOKENS, TOKENS), lambda x, w: w @ x),
        (
            (HEADS, HEADS),
            lambda x, w: jnp.einsum("hg,tgd->thd", w, x.reshape(-1, HEADS, HEAD)).reshape(x.shape),
        ),
    ):
        with pytest.raises(sp.InputError, match="has no rule"):
            read(lambda shape=shape, function=function: Own(shape, function))


class Packed(nnx.Module):
    """A gated MLP: two matrices in one, cut by split or by slices."""

    def __init__(self, cut: Callable[[Any], Any]) -> None:
        rngs = nnx.Rngs(0)
        self.cut = cut
        self.both = nnx.Linear(WIDTH, 4 * WIDTH, kernel_init=modules.normal("w"), rngs=rngs)
        self.x = nnx.Linear(2 * WIDTH, WIDTH, kernel_init=modules.normal("x"), rngs=rngs)

    def __call__(self, x: Any) -> Any:
        gate, value = self.cut(self.both(x))
        return x + self.x(jax.nn.silu(gate) * value)


CUTS: dict[str, Callable[[Any], Any]] = {
    "split": lambda x: jnp.split(x, 2, axis=-1),
    "slices": lambda x: (x[:, : 2 * WIDTH], x[:, 2 * WIDTH :]),
    "an axis": lambda x: (x.reshape(TOKENS, 2, -1)[:, 0], x.reshape(TOKENS, 2, -1)[:, 1]),
    "dynamic_slice": lambda x: (
        jax.lax.dynamic_slice_in_dim(x, 0, 2 * WIDTH, 1),
        jax.lax.dynamic_slice_in_dim(x, 2 * WIDTH, 2 * WIDTH, 1),
    ),
}


@pytest.mark.parametrize("name", CUTS)
def test_matrices_in_one(name: str):
    found = read(lambda: Packed(CUTS[name]))
    assert_same(found, read(lambda: Packed(CUTS["split"])))
    assert len(found.weights) == 3


class Indexed(eqx.Module):
    """Layers whose matrices are rows of one array, taken one by one, or stacked on the way."""

    w: Any
    by: str = eqx.field(static=True)

    def __init__(self, by: str) -> None:
        self.by = by
        self.w = 0.2 * jax.random.normal(jax.random.key(0), (2, WIDTH, WIDTH))

    def __call__(self, x: Any) -> Any:
        if self.by == "loop":
            body = lambda k, h: h + jnp.tanh(h @ self.w[k])  # noqa: E731
            return jax.lax.fori_loop(0, 2, body, x)
        for k in range(2):
            x = x + jnp.tanh(x @ self.w[k])
        return x


def test_rows_of_one_array():
    """By their number: a matrix each."""
    found = sp.read(lambda: Indexed("number"), inputs())
    assert [tuple(table) for table in found.architecture.slots.values()] == [(0, 1)]
    assert {d.parameter for a in found.applications for d in a.weights.values()} == {"w[0]", "w[1]"}
    assert_same(sp.read(lambda: Indexed("loop"), inputs()).architecture, found.architecture)

"""Small modules of flax.nnx, flax.linen and equinox, as users write them, and their numbers.
Whatever imports this file is skipped where flax or equinox is not installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sigprop as sp

nnx: Any = pytest.importorskip("flax.nnx")
nn: Any = pytest.importorskip("flax.linen")
eqx: Any = pytest.importorskip("equinox")

WIDTH, HEADS, TOKENS, VOCABULARY = 32, 4, 4, 50
WORDS = (3, 7, 3, 9)
"""Two tokens are one word."""
STDS = {"q": 0.21, "k": 0.19, "v": 0.17, "u": 0.15, "w": 0.23, "x": 0.11, "wte": 0.9, "wpe": 0.4}
"""Standard deviations by a matrix's own name: none that a library has."""
BIASES = {"w": 0.35, "x": 0.15}
SAME = np.equal.outer(WORDS, WORDS).astype(float)


def normal(name: str) -> Any:
    return jax.nn.initializers.normal(STDS[name])


def bias(name: str) -> Any:
    return jax.nn.initializers.normal(BIASES[name])


def ids(batch: bool = True) -> Any:
    """[1, T] or [T] the example's words."""
    return jnp.array(WORDS)[None] if batch else jnp.array(WORDS)


def inputs(width: int = WIDTH, tokens: int = TOKENS) -> Any:
    """[T, n] rows of numbers."""
    return jax.random.normal(jax.random.key(5), (tokens, width))


def causal() -> Any:
    return jnp.tril(jnp.ones((TOKENS, TOKENS), bool))


class NnxMlp(nnx.Module):
    """x + X phi(W x + b) + b'."""

    def __init__(self, rngs: Any, width: int = WIDTH, act: Callable[[Any], Any] = jnp.tanh) -> None:
        given = {"kernel_init": normal("w"), "bias_init": bias("w"), "rngs": rngs}
        self.w = nnx.Linear(width, 2 * width, **given)
        given |= {"kernel_init": normal("x"), "bias_init": bias("x")}
        self.x = nnx.Linear(2 * width, width, **given)
        self.act = act

    def __call__(self, x: Any) -> Any:
        return x + self.x(self.act(self.w(x)))


class NnxStack(nnx.Module):
    """Blocks one after another."""

    def __init__(self, blocks: Any) -> None:
        self.blocks = nnx.List(blocks)

    def __call__(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return x


class NnxBlock(nnx.Module):
    """Pre-norm causal attention and MLP, matrices without biases."""

    def __init__(self, rngs: Any) -> None:
        self.norms = nnx.List([nnx.LayerNorm(WIDTH, rngs=rngs) for _ in range(2)])
        self.attention = nnx.MultiHeadAttention(
            HEADS, WIDTH, decode=False, use_bias=False, kernel_init=normal("v"), rngs=rngs
        )
        for name, part in (("q", "query"), ("k", "key"), ("v", "value"), ("u", "out")):
            self._draw(getattr(self.attention, part), name, rngs)
        given = {"use_bias": False, "rngs": rngs}
        self.w = nnx.Linear(WIDTH, 2 * WIDTH, kernel_init=normal("w"), **given)
        self.x = nnx.Linear(2 * WIDTH, WIDTH, kernel_init=normal("x"), **given)

    @staticmethod
    def _draw(part: Any, name: str, rngs: Any) -> None:
        shape = part.kernel.shape
        part.kernel = nnx.Param(STDS[name] * jax.random.normal(rngs.params(), shape))

    def __call__(self, x: Any) -> Any:
        x = x + self.attention(self.norms[0](x), mask=causal())
        return x + self.x(jax.nn.gelu(self.w(self.norms[1](x))))


class NnxGpt(nnx.Module):
    """Words and positions, blocks, a last norm."""

    def __init__(self, rngs: Any, depth: int = 2) -> None:
        self.wte = nnx.Embed(VOCABULARY, WIDTH, embedding_init=normal("wte"), rngs=rngs)
        self.wpe = nnx.Param(normal("wpe")(rngs.params(), (TOKENS, WIDTH)))
        self.blocks = nnx.List([NnxBlock(rngs) for _ in range(depth)])
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)

    def __call__(self, words: Any) -> Any:
        x = self.wte(words) + self.wpe[...][None]
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class NnxScanned(NnxGpt):
    """The same, its blocks made by ``nnx.vmap`` and applied by ``nnx.scan``; tied: one block."""

    def __init__(self, rngs: Any, depth: int = 2, tied: bool = False) -> None:
        super().__init__(rngs, 0)
        self.tied, self.depth = tied, depth
        many = nnx.split_rngs(splits=depth)(nnx.vmap(NnxBlock))
        self.blocks = NnxBlock(rngs) if tied else many(rngs)

    def __call__(self, words: Any) -> Any:
        x = self.wte(words) + self.wpe[...][None]
        axes = (nnx.Carry, None if self.tied else 0)
        length = self.depth if self.tied else None
        scan = nnx.scan(in_axes=axes, out_axes=nnx.Carry, length=length)
        return self.norm(scan(lambda state, block: block(state))(x, self.blocks))


class NnxLoop(nnx.Module):
    """The same MLP twice, by ``nnx.scan``."""

    def __init__(self, rngs: Any) -> None:
        self.block = NnxMlp(rngs)

    def __call__(self, x: Any) -> Any:
        scan = nnx.scan(in_axes=(nnx.Carry, None), out_axes=nnx.Carry, length=2)
        return scan(lambda state, block: block(state))(x, self.block)


class LinenMlp(nn.Module):
    """x + X phi(W x + b) + b', as many as ``depth``."""

    depth: int = 2
    width: int = WIDTH

    @nn.compact
    def __call__(self, x: Any) -> Any:
        for k in range(self.depth):
            given = {"kernel_init": normal("w"), "bias_init": bias("w")}
            hidden = jnp.tanh(nn.Dense(2 * self.width, name=f"w_{k}", **given)(x))
            given = {"kernel_init": normal("x"), "bias_init": bias("x")}
            x = x + nn.Dense(self.width, name=f"x_{k}", **given)(hidden)
        return x


class LinenRound(nn.Module):
    """One round of a loop over one MLP."""

    @nn.compact
    def __call__(self, x: Any, _: Any = None) -> Any:
        return LinenMlp(1)(x), None


class LinenLoop(nn.Module):
    """The same MLP twice, by ``nn.scan``."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        given: dict[str, Any] = {"variable_broadcast": "params", "split_rngs": {"params": False}}
        return nn.scan(LinenRound, length=2, **given)()(x, None)[0]


class LinenBlock(nn.Module):
    """Pre-norm causal attention and MLP; the second argument is a loop's."""

    @nn.compact
    def __call__(self, x: Any, _: Any = None) -> Any:
        attention = nn.MultiHeadDotProductAttention(
            HEADS, use_bias=False, kernel_init=normal("v"), out_kernel_init=normal("u")
        )
        x = x + attention(nn.LayerNorm()(x), mask=nn.make_causal_mask(jnp.ones(x.shape[:2])))
        hidden = nn.Dense(2 * WIDTH, use_bias=False, kernel_init=normal("w"), name="w")
        out = nn.Dense(WIDTH, use_bias=False, kernel_init=normal("x"), name="x")
        return x + out(nn.gelu(hidden(nn.LayerNorm()(x)))), None


class LinenGpt(nn.Module):
    """Words and positions, blocks (by ``nn.scan`` where asked, tied or not), a last norm."""

    depth: int = 2
    scan: str = ""

    @nn.compact
    def __call__(self, words: Any) -> Any:
        x = nn.Embed(VOCABULARY, WIDTH, embedding_init=normal("wte"), name="wte")(words)
        x = x + self.param("wpe", normal("wpe"), (1, TOKENS, WIDTH))
        if self.scan:
            tied: dict[str, Any] = {"variable_broadcast": "params", "split_rngs": {"params": False}}
            own: dict[str, Any] = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
            given = tied if self.scan == "tied" else own
            x, _ = nn.scan(LinenBlock, length=self.depth, **given)(name="layers")(x, None)
        else:
            for _ in range(self.depth):
                x, _ = LinenBlock()(x)
        return nn.LayerNorm(name="norm")(x)


def drawn(part: Any, key: Any, name: str) -> Any:
    """An equinox Linear or Embedding with entries of its name."""
    weight = STDS[name] * jax.random.normal(key, part.weight.shape)
    return eqx.tree_at(lambda one: one.weight, part, weight)


class EqxMlp(eqx.Module):
    """x + X phi(W x + b) + b', row by row."""

    w: Any
    x: Any

    def __init__(self, key: Any, width: int = WIDTH, use_bias: bool = True) -> None:
        keys = jax.random.split(key, 4)
        self.w = self._linear(width, 2 * width, "w", keys[:2], use_bias)
        self.x = self._linear(2 * width, width, "x", keys[2:], use_bias)

    @staticmethod
    def _linear(columns: int, rows: int, name: str, keys: Any, use_bias: bool) -> Any:
        linear = drawn(eqx.nn.Linear(columns, rows, use_bias, key=keys[0]), keys[0], name)
        if not use_bias:
            return linear
        shift = BIASES[name] * jax.random.normal(keys[1], (rows,))
        return eqx.tree_at(lambda one: one.bias, linear, shift)

    def __call__(self, x: Any) -> Any:
        return x + jax.vmap(lambda row: self.x(jnp.tanh(self.w(row))))(x)


class EqxStack(eqx.Module):
    """Blocks one after another."""

    blocks: list[Any]

    def __call__(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return x


class EqxScanned(eqx.Module):
    """Stacked blocks applied by ``jax.lax.scan``."""

    blocks: Any

    def __init__(self, keys: Any) -> None:
        self.blocks = eqx.filter_vmap(EqxMlp)(keys)

    def __call__(self, x: Any) -> Any:
        arrays, static = eqx.partition(self.blocks, eqx.is_array)
        return jax.lax.scan(lambda h, part: (eqx.combine(part, static)(h), None), x, arrays)[0]


class EqxLoop(eqx.Module):
    """The same MLP twice, by ``jax.lax.fori_loop``."""

    block: EqxMlp

    def __init__(self, key: Any) -> None:
        self.block = EqxMlp(key)

    def __call__(self, x: Any) -> Any:
        return jax.lax.fori_loop(0, 2, lambda k, h: self.block(h), x)


class EqxBlock(eqx.Module):
    """Pre-norm causal attention and MLP."""

    norms: list[Any]
    attention: Any
    mlp: EqxMlp

    def __init__(self, key: Any) -> None:
        keys = jax.random.split(key, 6)
        self.norms = [eqx.nn.LayerNorm(WIDTH) for _ in range(2)]
        attention = eqx.nn.MultiheadAttention(HEADS, WIDTH, key=keys[0])
        names = {"query_proj": "q", "key_proj": "k", "value_proj": "v", "output_proj": "u"}
        for own, (part, name) in zip(keys[1:5], names.items(), strict=True):
            matrix = drawn(getattr(attention, part), own, name)
            attention = eqx.tree_at(lambda one, part=part: getattr(one, part), attention, matrix)
        self.attention, self.mlp = attention, EqxMlp(keys[5], use_bias=False)

    def __call__(self, x: Any) -> Any:
        normed = jax.vmap(self.norms[0])(x)
        x = x + self.attention(normed, normed, normed, mask=causal())
        hidden = jax.nn.gelu(jax.vmap(self.mlp.w)(jax.vmap(self.norms[1])(x)))
        return x + jax.vmap(self.mlp.x)(hidden)


class EqxGpt(eqx.Module):
    """Words and positions, blocks, a last norm."""

    wte: Any
    wpe: Any
    blocks: list[Any]
    norm: Any

    def __init__(self, key: Any, depth: int = 2) -> None:
        keys = jax.random.split(key, depth + 2)
        self.wte = drawn(eqx.nn.Embedding(VOCABULARY, WIDTH, key=keys[0]), keys[0], "wte")
        self.wpe = STDS["wpe"] * jax.random.normal(keys[1], (TOKENS, WIDTH))
        self.blocks = [EqxBlock(one) for one in keys[2:]]
        self.norm = eqx.nn.LayerNorm(WIDTH)

    def __call__(self, words: Any) -> Any:
        x = jax.vmap(self.wte)(words) + self.wpe
        for block in self.blocks:
            x = block(x)
        return jax.vmap(self.norm)(x)


def c(name: str, fan_in: int = WIDTH) -> float:
    """Variance times fan-in of a matrix of this name."""
    return STDS[name] ** 2 * fan_in


def transformer(depth: int = 2, **changed: Any) -> Any:
    """The description of these GPTs by hand."""
    given: dict[str, Any] = {
        "depth": depth,
        "activation": "gelu-tanh",
        "mlp_ratio": 2,
        "head_dim": WIDTH // HEADS,
        "mask": "causal",
        "words": WORDS,
        "norm_eps": 1e-6,
        "final_norm": True,
        "c_we": STDS["wte"] ** 2,
        "c_pe": STDS["wpe"] ** 2,
        "c_x": c("x", 2 * WIDTH),
    }
    given |= {f"c_{name}": c(name) for name in "qkvuw"}
    return sp.architectures.transformer(**given | changed)

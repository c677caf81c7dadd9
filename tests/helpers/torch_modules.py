"""Small torch modules, written as users write them: parts with the forms that are met, and
networks of them. Whatever imports this file is skipped where torch is not installed."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
nn: Any = torch.nn
F: Any = torch.nn.functional
torch.set_num_threads(1)

WIDTH, HEADS, TOKENS, VOCABULARY = 32, 4, 4, 50
WORDS = (3, 7, 3, 9)
"""Two tokens are one word."""


def ids() -> Any:
    """[1, T] the example's words."""
    return torch.tensor(WORDS)[None]


class WrittenRms(nn.Module):
    """x / sqrt(mean x^2 + eps) times a gain, in float32 as libraries write it."""

    def __init__(self, width: int, eps: float = 1e-5, unit: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width) if unit else torch.ones(width))
        self.eps, self.unit = eps, unit

    def forward(self, x: Any) -> Any:
        of = x.float()
        normed = of * torch.rsqrt(of.pow(2).mean(-1, keepdim=True) + self.eps)
        return normed.type_as(x) * (1 + self.weight if self.unit else self.weight)


class DividedRms(nn.Module):
    """The same with a division and a root."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Any) -> Any:
        return self.weight * (x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + self.eps))


def rotated(x: Any, base: float) -> Any:
    """Rotary positions of [B, H, T, d]."""
    tokens, features = x.shape[-2:]
    powers = torch.arange(0, features, 2).float() / features
    angles = torch.outer(torch.arange(tokens).float(), base**-powers)
    angles = torch.cat([angles, angles], dim=-1)
    first, second = x[..., : features // 2], x[..., features // 2 :]
    return x * angles.cos() + torch.cat([-second, first], dim=-1) * angles.sin()


class Attention(nn.Module):
    """Heads. packed: None, matrices of their own, or how one matrix is cut: 'chunk', 'split',
    'slice'; form: 'sdpa', or one of ``MASKS``."""

    def __init__(
        self,
        width: int = WIDTH,
        *,
        kv_heads: int = HEADS,
        form: str = "sdpa",
        packed: str | None = None,
        causal: bool = True,
        base: float | None = None,
        norm: Callable[[int], Any] | None = None,
        over_heads: bool = False,
        bias: bool = False,
        cap: float | None = None,
    ) -> None:
        super().__init__()
        self.kv_heads, self.form, self.causal, self.base = kv_heads, form, causal, base
        self.packed, self.cap, self.head_dim = packed, cap, width // HEADS
        small = self.head_dim * kv_heads
        if packed:
            self.qkv = nn.Linear(width, 3 * width, bias=bias)
        else:
            self.q = nn.Linear(width, width, bias=bias)
            self.k, self.v = (nn.Linear(width, small, bias=bias) for _ in range(2))
        self.u = nn.Linear(width, width, bias=bias)
        self.over_heads, size = over_heads, width if over_heads else self.head_dim
        self.norms = nn.ModuleList([norm(size) for _ in range(2)] if norm else [])

    def legs(self, x: Any) -> Sequence[Any]:
        """Queries, keys and values, features last."""
        if not self.packed:
            return self.q(x), self.k(x), self.v(x)
        all_three, n = self.qkv(x), x.shape[-1]
        if self.packed == "slice":
            return [all_three[..., k * n : (k + 1) * n] for k in range(3)]
        return all_three.chunk(3, -1) if self.packed == "chunk" else all_three.split(n, dim=2)

    def forward(self, x: Any) -> Any:
        shape = (*x.shape[:2], -1, self.head_dim)
        q, k, v = self.legs(x)
        if self.over_heads:
            q, k = self.norms[0](q), self.norms[1](k)
        q, k, v = (leg.view(shape) for leg in (q, k, v))
        if len(self.norms) and not self.over_heads:
            q, k = self.norms[0](q), self.norms[1](k)
        q, k, v = (leg.transpose(1, 2) for leg in (q, k, v))
        if self.base is not None:
            q, k = rotated(q, self.base), rotated(k, self.base)
        group = HEADS // self.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        if self.form == "sdpa":
            mixed = sdpa(q, k, v, self.causal, self.cap)
        else:
            mixed = eager(q, k, v, self.causal, self.cap, MASKS[self.form])
        return self.u(mixed.transpose(1, 2).reshape(x.shape))


def sdpa(q: Any, k: Any, v: Any, causal: bool, cap: float | None) -> Any:
    """Attention by torch's own function."""
    assert cap is None
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal)


def added(scores: Any, later: Any) -> Any:
    """Scores plus -inf at later tokens."""
    return scores + torch.zeros(later.shape).masked_fill(later, float("-inf"))


MASKS: dict[str, Callable[[Any, Any], Any]] = {
    "eager": added,
    "filled": lambda scores, later: scores.masked_fill(later, float("-inf")),
    "chosen": lambda scores, later: torch.where(~later, scores, -1e9),
}
"""How scores of later tokens are hidden: scores, booleans of later tokens."""


def eager(
    q: Any, k: Any, v: Any, causal: bool, cap: float | None, hide: Callable[[Any, Any], Any]
) -> Any:
    """Attention in three operations."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if cap is not None:
        scores = cap * torch.tanh(scores / cap)
    if causal:
        tokens = q.shape[-2]
        scores = hide(scores, torch.ones(tokens, tokens, dtype=torch.bool).triu(1))
    return torch.softmax(scores, dim=-1) @ v


class Mlp(nn.Module):
    """X phi(W r), or gated."""

    def __init__(
        self,
        width: int = WIDTH,
        *,
        ratio: int = 2,
        act: Callable[[Any], Any] = F.gelu,
        gated: bool = False,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.w = nn.Linear(width, ratio * width, bias=bias)
        self.x = nn.Linear(ratio * width, width, bias=bias)
        self.g = nn.Linear(width, ratio * width, bias=bias) if gated else None
        self.act = act

    def forward(self, r: Any) -> Any:
        units = self.act(self.w(r))
        return self.x(units if self.g is None else units * self.g(r))


class Block(nn.Module):
    """Attention and MLP around the stream: placed 'pre', 'post', 'parallel', 'sandwich'."""

    def __init__(
        self,
        attention: Any,
        mlp: Any,
        norm: Callable[[], Any],
        placed: str = "pre",
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.attention, self.mlp, self.placed = attention, mlp, placed
        self.norms = nn.ModuleList([norm() for _ in range(4 if placed == "sandwich" else 2)])
        if layer_scale is not None:
            width = attention.u.weight.shape[0]
            self.gamma = nn.ParameterList(
                [nn.Parameter(layer_scale * torch.ones(width)) for _ in range(2)]
            )

    def scaled(self, k: int, write: Any) -> Any:
        return self.gamma[k] * write if hasattr(self, "gamma") else write

    def forward(self, x: Any) -> Any:
        if self.placed == "parallel":
            return x + self.attention(self.norms[0](x)) + self.mlp(self.norms[0](x))
        if self.placed == "sandwich":
            x = x + self.norms[1](self.attention(self.norms[0](x)))
            return x + self.norms[3](self.mlp(self.norms[2](x)))
        if self.placed == "post":
            x = self.norms[0](x + self.attention(x))
            return self.norms[1](x + self.mlp(x))
        x = x + self.scaled(0, self.attention(self.norms[0](x)))
        return x + self.scaled(1, self.mlp(self.norms[1](x)))


class Words(nn.Module):
    """Words, positions and token types, as asked, times a scale and normed."""

    def __init__(
        self,
        width: int = WIDTH,
        *,
        positions: bool = True,
        types: bool = False,
        scale: float = 1.0,
        norm: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__()
        self.wte = nn.Embedding(VOCABULARY, width)
        self.wpe = nn.Embedding(TOKENS, width) if positions else None
        self.types = nn.Embedding(2, width) if types else None
        self.scale, self.norm = scale, norm() if norm else None

    def forward(self, words: Any) -> Any:
        x = self.wte(words) * self.scale
        if self.wpe is not None:
            x = x + self.wpe(torch.arange(words.shape[1]))
        if self.types is not None:
            x = x + self.types(torch.zeros_like(words))
        return x if self.norm is None else self.norm(x)


class Network(nn.Module):
    """A stem, blocks, a last norm and a head (own, tied with the words, or none)."""

    def __init__(
        self,
        stem: Any,
        blocks: Sequence[Any],
        norm: Any = None,
        head: str | None = None,
        loops: int = 1,
    ) -> None:
        super().__init__()
        self.stem, self.blocks, self.norm = stem, nn.ModuleList(blocks), norm
        self.loops = loops
        if head is not None:
            self.head = nn.Linear(stem.wte.weight.shape[1], VOCABULARY, bias=False)
            if head == "tied":
                self.head.weight = stem.wte.weight

    def forward(self, words: Any) -> Any:
        x = self.stem(words)
        for _ in range(self.loops):
            for block in self.blocks:
                x = block(x)
        x = x if self.norm is None else self.norm(x)
        return self.head(x) if hasattr(self, "head") else x


STDS = {"q": 0.21, "k": 0.19, "v": 0.17, "qkv": 0.2, "u": 0.15, "w": 0.23, "x": 0.11, "g": 0.18}
STDS |= {"wte": 0.9, "wpe": 0.4, "types": 0.3, "head": 0.05}
"""Standard deviations by a matrix's own name: none that a library has."""
BIASES = {"q": 0.3, "k": 0.2, "v": 0.25, "u": 0.1, "w": 0.35, "x": 0.15}


def initialised(module: Any, stds: dict[str, float] | None = None) -> Any:
    """Draw every matrix with the standard deviation of its name, every bias with that of its."""
    table = STDS | (stds or {})
    for name, part in module.named_modules():
        own = name.rpartition(".")[2]
        if isinstance(part, (nn.Linear, nn.Embedding)):
            nn.init.normal_(part.weight, std=table[own])
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.normal_(part.bias, std=BIASES[own])
    return module


def layer_norm() -> Any:
    return nn.LayerNorm(WIDTH)


def written_rms() -> Any:
    return WrittenRms(WIDTH, 1e-5)


def gpt(depth: int = 2, *, mlp: dict[str, Any] | None = None, **attention: Any) -> Any:
    """Pre-norm, words and positions, a last norm."""
    blocks = [Block(Attention(**attention), Mlp(**(mlp or {})), layer_norm) for _ in range(depth)]
    return initialised(Network(Words(), blocks, layer_norm()))


def llama(
    depth: int = 2,
    norm: Callable[[], Any] = written_rms,
    act: Callable[[Any], Any] = F.silu,
    **attention: Any,
) -> Any:
    """RMS norms, rotary positions, grouped queries, a gated MLP, a head."""
    given: dict[str, Any] = {"kv_heads": 2, "base": 500.0} | attention
    blocks = [Block(Attention(**given), Mlp(act=act, gated=True), norm) for _ in range(depth)]
    return initialised(Network(Words(positions=False), blocks, norm(), "own"))


def bert(depth: int = 2) -> Any:
    """Post-norm, token types, a norm in the stem, biases."""
    blocks = [
        Block(Attention(causal=False, bias=True), Mlp(bias=True), layer_norm, "post")
        for _ in range(depth)
    ]
    return initialised(Network(Words(types=True, norm=layer_norm), blocks))


def placed(where: str, depth: int = 2, **block: Any) -> Any:
    """Blocks placed otherwise, or with gains on their writes."""
    blocks = [Block(Attention(), Mlp(), layer_norm, where, **block) for _ in range(depth)]
    return initialised(Network(Words(), blocks, layer_norm()))


def looped(loops: int = 3) -> Any:
    """One block applied several times."""
    block = Block(Attention(), Mlp(), layer_norm)
    return initialised(Network(Words(), [block], layer_norm(), loops=loops))


def copied(depth: int = 2, changed: Callable[[Any], None] | None = None) -> Any:
    """Blocks that start as copies of one; changed: what is done to each afterwards."""
    first = initialised(Block(Attention(), Mlp(), layer_norm))
    blocks = [copy.deepcopy(first) for _ in range(depth)]
    for block in blocks:
        if changed is not None:
            changed(block)
    module = Network(initialised(Words()), blocks, layer_norm())
    return module


class Residual(nn.Module):
    """x + X phi(W x) on given inputs, without norms."""

    def __init__(
        self,
        depth: int = 3,
        width: int = WIDTH,
        act: Callable[[Any], Any] = torch.tanh,
        bias: bool = True,
        skip: float = 1.0,
        ratio: int = 2,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [Mlp(width, act=act, bias=bias, ratio=ratio) for _ in range(depth)]
        )
        self.skip = skip

    def forward(self, x: Any) -> Any:
        for block in self.blocks:
            x = self.skip * x + block(x)
        return x


def inputs(width: int = WIDTH, tokens: int = TOKENS) -> Any:
    """[T, n] rows that are fixed."""
    return torch.randn(tokens, width, generator=torch.Generator().manual_seed(5))

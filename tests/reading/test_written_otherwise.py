"""One network written in several ways is read as one description: expressions, ties, numbers and
the stem's Gram agree."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch_modules as modules
from descriptions import assert_same
from torch_modules import WIDTH, F, ids, inputs, nn, torch

import sigprop as sp


def read(make: Callable[[], Any], example: Any = None) -> Any:
    return sp.read(make, ids() if example is None else example).architecture


def rms(eps: float = 1e-5) -> Any:
    return nn.RMSNorm(WIDTH, eps=eps)


def packed_stds(kind: str | None) -> Any:
    """A gpt whose three matrices have one standard deviation, in one matrix or apart."""
    module = modules.gpt(1, packed=kind)
    for block in module.blocks:
        own = block.attention
        for part in [own.qkv] if kind else [own.q, own.k, own.v]:
            nn.init.normal_(part.weight, std=0.2)
    return module


def filled_apart() -> Any:
    """A packed matrix whose thirds were filled on their own."""
    module = modules.gpt(1, packed="chunk")
    for block in module.blocks:
        for third, name in zip(block.attention.qkv.weight.chunk(3), "qkv", strict=True):
            nn.init.normal_(third, std=modules.STDS[name])
    return module


class Transposed(nn.Module):
    """A linear layer whose matrix is stored the other way round."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(columns, rows))

    def forward(self, x: Any) -> Any:
        return x @ self.weight


def stored(transposed: bool) -> Any:
    module = modules.Residual(2, bias=False)
    modules.initialised(module)
    for block in module.blocks if transposed else []:
        block.w, block.x = Transposed(2 * WIDTH, WIDTH), Transposed(WIDTH, 2 * WIDTH)
        for name in "wx":
            nn.init.normal_(getattr(block, name).weight, std=modules.STDS[name])
    return module


def mlp(act: Callable[[Any], Any]) -> Callable[[], Any]:
    return lambda: modules.initialised(modules.Residual(1, act=act))


def new_gelu(x: Any) -> Any:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def scaled(by: str) -> Any:
    """Writes divided by 2: in forward, by a gain, or in the matrix's standard deviation."""

    class Network(modules.Residual):
        def forward(self, x: Any) -> Any:
            for block in self.blocks:
                x = x + block(x) / 2 if by == "forward" else torch.add(x, block(x), alpha=0.5)
            return x

    return modules.initialised(Network(1))


def order(swapped: bool) -> Any:
    class Network(modules.Residual):
        def forward(self, x: Any) -> Any:
            for block in self.blocks:
                x = block(x) + x if swapped else x + block(x)
            return x

    return modules.initialised(Network(2))


def llama_as(**changed: Any) -> Callable[[], Any]:
    return lambda: modules.llama(1, **changed)


PAIRS: dict[str, tuple[Callable[[], Any], Callable[[], Any], Any]] = {
    "eager or fused attention": (
        lambda: modules.gpt(1),
        lambda: modules.gpt(1, form="eager"),
        None,
    ),
    "a mask that fills": (lambda: modules.gpt(1), lambda: modules.gpt(1, form="filled"), None),
    "a mask that chooses": (lambda: modules.gpt(1), lambda: modules.gpt(1, form="chosen"), None),
    "eager or fused, rotary, grouped": (llama_as(), llama_as(form="eager"), None),
    "RMSNorm written out or not": (llama_as(), llama_as(norm=rms), None),
    "RMSNorm by division": (llama_as(), llama_as(norm=lambda: modules.DividedRms(WIDTH)), None),
    "gains around one": (
        llama_as(),
        llama_as(norm=lambda: modules.WrittenRms(WIDTH, unit=True)),
        None,
    ),
    "silu or x sigmoid(x)": (llama_as(), llama_as(act=lambda x: x * torch.sigmoid(x)), None),
    "silu by exp": (llama_as(), llama_as(act=lambda x: x / (1 + torch.exp(-x))), None),
    "packed or apart": (lambda: packed_stds(None), lambda: packed_stds("chunk"), None),
    "chunk or slice": (lambda: packed_stds("chunk"), lambda: packed_stds("slice"), None),
    "chunk or split": (lambda: packed_stds("chunk"), lambda: packed_stds("split"), None),
    "thirds of their own": (lambda: modules.gpt(1), filled_apart, None),
    "gelu written out": (
        mlp(F.gelu),
        mlp(lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))),
        inputs(),
    ),
    "gelu by tanh": (mlp(lambda x: F.gelu(x, approximate="tanh")), mlp(new_gelu), inputs()),
    "relu by clamp": (mlp(F.relu), mlp(lambda x: x.clamp(min=0)), inputs()),
    "transposed matrices": (lambda: stored(False), lambda: stored(True), inputs()),
    "scaled writes": (lambda: scaled("forward"), lambda: scaled("alpha"), inputs()),
    "the order of a sum": (lambda: order(False), lambda: order(True), inputs()),
    "a function or its module": (
        lambda: modules.gpt(1, mlp={"act": F.gelu}),
        lambda: modules.gpt(1, mlp={"act": nn.GELU()}),
        None,
    ),
    "one input, with and without an axis": (
        lambda: modules.initialised(modules.Residual(1)),
        lambda: nn.Sequential(nn.Unflatten(0, (1, -1)), modules.initialised(modules.Residual(1))),
        inputs(),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_one_network_written_twice_is_one_description(name: str):
    """Both readings are equal but for names."""
    one, other, example = PAIRS[name]
    assert_same(read(one, example), read(other, example))


DIFFERENT: dict[str, tuple[Callable[[], Any], Callable[[], Any], Any]] = {
    "a mask": (lambda: modules.gpt(1), lambda: modules.gpt(1, causal=False), None),
    "a cap": (
        lambda: modules.gpt(1, form="eager"),
        lambda: modules.gpt(1, form="eager", cap=3.0),
        None,
    ),
    "an epsilon": (llama_as(), llama_as(norm=lambda: rms(1e-6)), None),
    "a base": (llama_as(), llama_as(base=600.0), None),
    "groups": (llama_as(), llama_as(kv_heads=1), None),
    "gelu's form": (mlp(F.gelu), mlp(new_gelu), inputs()),
    "biases": (
        lambda: modules.initialised(modules.Residual(1)),
        lambda: modules.initialised(modules.Residual(1, bias=False)),
        inputs(),
    ),
    "depth": (lambda: modules.gpt(1), lambda: modules.gpt(2), None),
    "one standard deviation": (
        lambda: modules.initialised(modules.Residual(1)),
        lambda: modules.initialised(modules.Residual(1), {"x": 0.1101}),
        inputs(),
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_another_network_is_another_description(name: str):
    """The companion: one thing that differs, and the readings do."""
    one, other, example = DIFFERENT[name]
    with pytest.raises(AssertionError):
        assert_same(read(one, example), read(other, example))


def test_the_precision_of_the_module_changes_nothing():
    """A network in float64 or bfloat16 is read as in float32, but for epsilons of its own."""
    make = lambda: modules.initialised(modules.Residual(1))  # noqa: E731
    first = read(make, inputs())
    assert_same(first, read(lambda: make().double(), inputs().double()))
    half = inputs().bfloat16()
    assert_same(read(make, half.float()), read(lambda: make().bfloat16(), half))


def test_reading_twice_gives_one_description():
    """Nothing of a reading depends on random numbers."""
    torch.manual_seed(0)
    first = read(modules.gpt)
    torch.manual_seed(1)
    assert_same(first, read(modules.gpt))

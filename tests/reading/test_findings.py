"""What stands out in a module is named, and nothing where nothing does; a reading as text and as a
table."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

import sigprop as sp

torch = pytest.importorskip("torch")
modules: Any = pytest.importorskip("torch_modules")
nn: Any = torch.nn
F: Any = torch.nn.functional
WIDTH, HEADS, LAYERS = 32, 2, 3


class Block(nn.Module):
    """Packed attention, then an MLP, behind norms."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.RMSNorm(WIDTH, eps=1e-6) for _ in range(2)])
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.down = nn.Linear(2 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Any) -> Any:
        legs = self.qkv(self.norms[0](x)).chunk(3, -1)
        q, k, v = (leg.view(1, -1, HEADS, WIDTH // HEADS).transpose(1, 2) for leg in legs)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))
        return x + self.down(torch.relu(self.up(self.norms[1](x))))


class Net(nn.Module):
    """Words and blocks; outputs scaled by depth."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, WIDTH)
        self.blocks = nn.ModuleList([Block() for _ in range(LAYERS)])
        for block in self.blocks:
            for matrix in (block.qkv, block.out, block.up, block.down):
                nn.init.normal_(matrix.weight, std=0.2)
            for matrix in (block.out, block.down):
                matrix.weight.data.mul_((2 * LAYERS) ** -0.5)

    def forward(self, ids: Any) -> Any:
        x = self.words(ids)
        for block in self.blocks:
            x = block(x)
        return x


def reading(change: Callable[[Any], None] | None = None) -> Any:
    def build() -> Any:
        net = Net()
        if change is not None:
            change(net)
        return net

    return sp.read(build, torch.arange(4)[None])


def share(net: Any) -> None:
    net.blocks[2].up.weight = net.blocks[1].up.weight


def widen(net: Any) -> None:
    nn.init.normal_(net.blocks[1].up.weight, std=0.4)


def pack(net: Any) -> None:
    for block in net.blocks:
        nn.init.xavier_uniform_(block.qkv.weight)


def unscale(net: Any) -> None:
    for block in net.blocks:
        nn.init.normal_(block.out.weight, std=0.2)


CASES: dict[str, tuple[Callable[[Any], None], str]] = {
    "shared": (share, r"blocks\.2\.up\.weight: one parameter of 2 applications \(4, 6\)"),
    "a law of its own": (widen, r"blocks\.1\.up\.weight: normal, sd 0\.4, where the other 2"),
    "packed": (pack, r"blocks\.\*\.qkv\.weight: Xavier of the packed shape, .* has 0\.5 of"),
    "unscaled": (unscale, r"blocks\.\*\.out\.weight: normal, sd 0\.2, .* not scaled by depth"),
}


def test_nothing_stands_out_in_a_module_without_faults():
    assert reading().findings == ()


@pytest.mark.parametrize("case", CASES)
def test_what_stands_out_is_named(case: str):
    """One line, with the parameter's path."""
    change, expected = CASES[case]
    (line,) = reading(change).findings
    assert re.match(expected, line), line


def test_layers_that_are_copied_are_named():
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, 0.0, batch_first=True)

    def build() -> Any:
        return nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)

    found = sp.read(build, torch.randn(1, 4, WIDTH))
    assert any(
        "2 start as copies of layers.0" in line and "5 other parameters" in line
        for line in found.findings
    )
    assert found.architecture.tied


def test_one_head_of_keys_and_values_is_named():
    """The wide limit is then random, and what is predicted its mean."""
    found = sp.read(lambda: modules.llama(1, kv_heads=1), modules.ids())
    assert any("one head of keys and values" in line for line in found.findings)
    several = sp.read(lambda: modules.llama(1, kv_heads=2), modules.ids())
    assert not any("one head" in line for line in several.findings)


def test_a_reading_is_shown_by_its_kinds_and_its_laws():
    """A line a kind of sub-block, what stands out; a row for parameters that are alike."""
    found = reading(widen)
    first, attention, mlp, line = str(found).splitlines()
    assert first == "Net: 6 applications of 2 kinds, width 32, 4 tokens"
    assert attention.strip().startswith("blocks.0.out: r = rms_norm(h); f = out attend(qkv_0 r")
    assert "f = down relu(up r); h <- h + f" in mlp and "blocks.1.up.weight" in line
    rows = {(row["parameter"], row["law"]): row for row in found.laws}
    usual = rows["blocks.*.up.weight", "normal, sd 0.2"]
    assert (usual["slots"], usual["fan_in"], usual["rows"]) == (2, WIDTH, "0..63")
    assert rows["blocks.*.up.weight", "normal, sd 0.4"]["slots"] == 1
    assert "blocks.*.qkv.weight" in found.laws.to_text(80)

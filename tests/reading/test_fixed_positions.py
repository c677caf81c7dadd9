"""Positions that are numbers, as "Attention is all you need" has them: what is read equals a
description by hand, the mean over features that LayerNorm takes away included."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch_modules as modules
from descriptions import assert_alike, assert_same
from refusals import refused
from torch_modules import HEADS, STDS, TOKENS, WIDTH, WORDS, ids, nn, torch

import sigprop as sp

QUANTITIES = ("residual_variance", "token_covariance", "write_variance", "gradient_variance")


def sinusoids(width: int = WIDTH, longest: int = 12) -> Any:
    position = torch.arange(longest)[:, None]
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    table = torch.zeros(longest, width)
    table[:, 0::2], table[:, 1::2] = torch.sin(position * rates), torch.cos(position * rates)
    return table


class Stem(nn.Module):
    """Words times the root of the width, fixed positions, dropout."""

    def __init__(self, scaled: bool = True, held: str = "buffer", first: bool = False) -> None:
        super().__init__()
        self.wte, self.drop = nn.Embedding(50, WIDTH), nn.Dropout(0.1)
        self.scale, self.first = WIDTH**0.5 if scaled else 1.0, first
        if held == "parameter":
            self.positions = nn.Parameter(sinusoids(), requires_grad=False)
        elif held == "copied":
            self.positions = nn.Parameter(torch.zeros(12, WIDTH), requires_grad=False)
            self.positions.data.copy_(torch.from_numpy(sinusoids().numpy()))
        else:
            self.register_buffer("positions", sinusoids())

    def forward(self, words: Any) -> Any:
        positions = self.positions[: words.shape[1]]
        x = self.wte(words) * self.scale
        return self.drop(positions + x if self.first else x + positions)


def network(placed: str, norm: Callable[[], Any] = modules.layer_norm, **stem: Any) -> Any:
    blocks = [modules.Block(modules.Attention(), modules.Mlp(), norm, placed) for _ in range(2)]
    last = norm() if placed == "pre" else None
    module = modules.Network(Stem(**stem), blocks, last)
    return modules.initialised(module, {"wte": 0.07})


def c(name: str, fan_in: int = WIDTH) -> float:
    return STDS[name] ** 2 * fan_in


def numbers() -> dict[str, float]:
    found = {f"c_{name}": c(name) for name in "qkvuw"} | {"c_x": c("x", 2 * WIDTH)}
    return found | {"eps": 1e-5}


def geometry(scale: float) -> tuple[Any, Any]:
    """The stem's Gram and the means over features of its tokens."""
    rows = sinusoids().double().numpy()[:TOKENS]
    same = np.equal.outer(WORDS, WORDS)
    return (0.07 * scale) ** 2 * same + rows @ rows.T / WIDTH, rows.mean(axis=1)


def branches(after: str, read: Any) -> tuple[Any, Any]:
    """Attention of what its matrices read, and the MLP."""
    n = sp.Number
    legs = (sp.Linear(f"{name}{after}", read, n(f"c_{name}")) for name in "qkv")
    heads = sp.Attend(*legs, sp.Scores(WIDTH // HEADS, mask="causal"))
    hidden = sp.Activate("gelu", sp.Linear(f"w{after}", sp.Read(), n("c_w"), 2))
    return sp.Linear(f"u{after}", heads, n("c_u")), sp.Linear(f"x{after}", hidden, n("c_x"))


@pytest.mark.parametrize("scaled", [True, False])
def test_post_norm_reads_the_mean_once(scaled: bool):
    """The first attention's matrices see it, the first LayerNorm takes it away."""
    gram, means = geometry(WIDTH**0.5 if scaled else 1.0)
    norm = lambda u: sp.Normalise(u, "layer", sp.Number("eps"))  # noqa: E731
    seen = sp.Read() + sp.Rescale(sp.TokenTable("means"), sp.Ones())
    (first, mlp), (attention, _) = branches("", seen), branches("_", sp.Read())
    blocks = [
        sp.SubBlock(sp.State(0), branch, norm(sp.State(0) + sp.Write()))
        for branch in (first, mlp, attention)
    ]
    expected = sp.Architecture(
        "by hand",
        tuple(blocks),
        {
            name: [0, 0, 0, 1] if name in "wx" else [0, 0, 0, 0]
            for block in blocks
            for name in block.weights
        },
        numbers(),
        kinds=[0, 1, 2, 1],
        token_tables={"means": means},
        input_gram=gram - np.outer(means, means),
    )
    found = sp.read(lambda: network("post", scaled=scaled), ids())
    assert_alike(found.architecture, expected, QUANTITIES)
    assert any("has a mean over features" in line for line in found.findings)
    with pytest.raises(AssertionError):
        blind = sp.Architecture(
            "blind",
            expected.sub_blocks,
            expected.slots,
            numbers(),
            kinds=[0, 1, 2, 1],
            token_tables={"means": 0 * means},
            input_gram=gram,
        )
        assert_alike(found.architecture, blind, ("write_variance",))


def hand(gram: Any, **changed: Any) -> Any:
    given: dict[str, Any] = {
        "depth": 2,
        "activation": "gelu",
        "mlp_ratio": 2,
        "head_dim": WIDTH // HEADS,
        "mask": "causal",
        "input_gram": gram,
        "norm_eps": 1e-5,
    }
    variances = {name: value for name, value in numbers().items() if name != "eps"}
    return sp.architectures.transformer(**given | variances | changed)


def test_pre_norm_never_reads_the_mean():
    """Every read is of a LayerNorm: the states are those about their means."""
    gram, means = geometry(WIDTH**0.5)
    expected = hand(gram - np.outer(means, means), final_norm=True)
    found = sp.read(lambda: network("pre"), ids())
    assert_alike(found.architecture, expected, QUANTITIES)


def test_without_layer_norms_a_mean_is_as_any_other_number():
    """RMSNorm keeps it: nothing is said."""
    gram, _ = geometry(WIDTH**0.5)
    found = sp.read(lambda: network("pre", norm=modules.written_rms), ids())
    assert_alike(found.architecture, hand(gram, norm_kind="rms", final_norm=True), QUANTITIES)
    assert not any("mean over features" in line for line in found.findings)


@pytest.mark.parametrize("changed", [{"held": "parameter"}, {"held": "copied"}, {"first": True}])
def test_however_positions_are_held(changed: dict[str, Any]):
    """A buffer, a parameter that is not trained, one that was filled from numpy, and either order
    of the sum are one description."""
    one, other = (sp.read(lambda s=s: network("post", **s), ids()) for s in ({}, changed))
    assert_same(one.architecture, other.architecture)


def test_parameters_with_a_mean_are_read_about_it():
    """Uniform on (0, 1) and added to given rows: a LayerNorm sees a twelfth of variance."""

    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.positions = nn.Parameter(torch.rand(TOKENS, WIDTH))
            self.norm, self.mlp = modules.layer_norm(), modules.Mlp()

        def forward(self, x: Any) -> Any:
            x = x + self.positions
            return x + self.mlp(self.norm(x))

    rows = modules.inputs().double().numpy()
    gram = rows @ rows.T / WIDTH + np.eye(TOKENS) / 12
    expected = hand(gram, depth=1, block="mlp")
    found = sp.read(lambda: modules.initialised(Shifted()), modules.inputs())
    assert_alike(found.architecture, expected, QUANTITIES)
    assert found.means is not None
    np.testing.assert_allclose(found.means[0], 0.5)


class Tutorial(nn.Module):
    """Tokens first, torch's encoder with a mask that forward makes, a head."""

    def __init__(self, norm_first: bool = False) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, 0.2, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.wte, self.head = nn.Embedding(50, WIDTH), nn.Linear(WIDTH, 50)
        nn.init.uniform_(self.wte.weight, -0.1, 0.1)
        self.register_buffer("positions", sinusoids()[:, None])

    def forward(self, words: Any) -> Any:
        x = self.wte(words) * math.sqrt(WIDTH)
        x = x + self.positions[: x.shape[0]]
        mask = nn.Transformer.generate_square_subsequent_mask(len(words))
        return self.head(self.encoder(x, mask))


def test_torchs_tutorial_is_read():
    """Four applications over tokens that come first; its mask is causal; layers are copies."""
    found = sp.read(Tutorial, ids().T)
    assert found.paths[:2] == ("encoder.layers.0.self_attn", "encoder.layers.0.linear2")
    assert found.architecture.tokens == TOKENS and found.architecture.depth == 4
    assert all(set(table) == {0} for table in found.architecture.slots.values())
    (heads,) = (node for block in found.architecture.sub_blocks for node in block.attention)
    assert heads.scores.mask == "causal"
    assert "1)" in str(heads), "the first layer's matrices see the mean"


@pytest.mark.parametrize("placed", ["post", "pre"])
def test_means_are_judged_as_what_they_are(placed: str):
    """Measured states are taken about their means; without them rows are rejected."""
    wide = 256

    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wte = nn.Embedding(50, wide)
            nn.init.normal_(self.wte.weight, std=0.5)
            self.register_buffer("positions", sinusoids(wide))
            self.up, self.down = nn.Linear(wide, wide), nn.Linear(wide, wide)
            self.norm = nn.LayerNorm(wide)

        def forward(self, words: Any) -> Any:
            x = self.wte(words) + self.positions[: words.shape[1]]
            inner = x if placed == "post" else self.norm(x)
            total = x + self.down(torch.tanh(self.up(inner)))
            return self.norm(total) if placed == "post" else total

    found = sp.read(Wide, ids())
    assert found.means is not None
    assert sp.inspect(found, seeds=12).verdict != "rejected"
    assert sp.inspect(replace(found, means=None), seeds=12).verdict == "rejected"


def test_rms_norms_beside_layer_norms_are_refused_where_there_is_a_mean():
    """One keeps what the other takes away."""

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = Stem()
            self.layer, self.rms = modules.layer_norm(), nn.RMSNorm(WIDTH)
            self.a, self.b = modules.Mlp(), modules.Mlp()

        def forward(self, words: Any) -> Any:
            x = self.stem(words)
            x = x + self.a(self.rms(x))
            return x + self.b(self.layer(x))

    refused(lambda: modules.initialised(Mixed()), ids(), "rms: an RMSNorm", "one kind of norm")

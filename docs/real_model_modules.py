"""Modules that docs/make_real_models.py judges and that are written in torch itself: functions of
the width, each with what it is called with."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

HEAD, WORDS, LAYERS = 64, 500, 2
HELPERS = Path(__file__).parents[1] / "tests" / "helpers"


def encoder(n: int) -> Any:
    """Build torch's own encoder, whose layers start as copies of one."""
    layer = nn.TransformerEncoderLayer(n, n // HEAD, 2 * n, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)


def mlp(n: int) -> Any:
    """Build linear layers with relu between them, no skip connections, as torch initialises them:
    as many as two layers of a transformer have sub-blocks."""
    layers = [nn.Linear(n, n)]
    for _ in range(2 * LAYERS - 1):
        layers += [nn.ReLU(), nn.Linear(n, n)]
    return nn.Sequential(*layers)


def nanogpt(n: int, tokens: int) -> Any:
    """Build nanoGPT's own module, which the tests read too."""
    if str(HELPERS) not in sys.path:
        sys.path.append(str(HELPERS))
    from nanogpt import GPT, Config  # pyright: ignore[reportMissingImports]

    return GPT(Config(tokens, WORDS, n_layer=LAYERS, n_head=n // HEAD, n_embd=n))


def features(n: int, tokens: int) -> Any:
    """Normal features [1, T, n], repeated: one Gram at all widths."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, tokens, HEAD, generator=generator).repeat(1, 1, n // HEAD)


def ids(tokens: int) -> Any:
    """The ids [1, T] from 0 on, as those of Hugging Face configurations are."""
    return torch.arange(tokens)[None]


MODULES: dict[str, Callable[[int], tuple[Callable[[int], Any], Callable[[int], Any]]]] = {
    "TransformerEncoder": lambda tokens: (encoder, partial(features, tokens=tokens)),
    "nanoGPT": lambda tokens: (partial(nanogpt, tokens=tokens), lambda n: ids(tokens)),
    "MLP": lambda tokens: (mlp, partial(features, tokens=tokens)),
}
"""Name to what builds one at a width, and what it is called with, for so many tokens."""

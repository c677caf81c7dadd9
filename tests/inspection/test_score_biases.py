"""Models with biases on scores, measured beside their prediction: T5's encoder, Bloom and MPT are
not rejected; a bias of another variance, or none, is (the companions).

Seeds are fixed; a right description is rejected with probability 1 % a test.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import sigprop as sp
from sigprop.reading.sources import from_config

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

WIDTH, HEADS, TOKENS, SEEDS = 256, 16, 8, 6
T5 = {"d_model": WIDTH, "num_heads": HEADS, "d_kv": 16, "d_ff": 512, "num_layers": 2}
BLOOM = {"hidden_size": WIDTH, "n_head": HEADS // 2, "n_layer": 2, "initializer_range": 0.08}
MPT = {"d_model": WIDTH, "n_heads": HEADS, "n_layers": 2, "max_seq_len": 32}
STD = 3.0
"""Of the biases of a T5 that they matter in: its own are of 1/sqrt(width)."""


def model(kind: str, given: dict[str, Any]) -> Any:
    texts = {name: str(value) for name, value in (given | {"vocab_size": 500}).items()}
    return from_config(kind, tokens=TOKENS, changes=texts)


@pytest.mark.parametrize(
    ("kind", "given"),
    [("t5", T5), ("t5", T5 | {"feed_forward_proj": "gated-gelu"}), ("mpt", MPT)],
    ids=["t5", "t5-v1_1", "mpt"],
)
def test_models_as_they_are_initialised(kind: str, given: dict[str, Any]):
    named = model(kind, given)
    table = sp.inspect(named.build, named.example, seeds=SEEDS)
    assert table.verdict != "rejected", table
    assert len(table) == 3 * 5 + 4


def strongly_biased() -> Any:
    """T5 with biases of deviation ``STD``."""
    module = model("t5", T5).build()
    for part in module.modules():
        if getattr(part, "has_relative_attention_bias", False):
            torch.nn.init.normal_(part.relative_attention_bias.weight, std=STD)
    return module


def test_the_variance_of_a_drawn_bias_is_seen():
    """Read from its initialiser, and not rejected; a ninth of it, planted, is."""
    reading = sp.read(strongly_biased, model("t5", T5).example)
    (name,) = (name for name in reading.architecture.numbers if "bias" in name)
    assert reading.architecture.numbers[name] == pytest.approx(STD**2)
    assert sp.inspect(reading, seeds=SEEDS).verdict != "rejected"
    numbers = {**reading.architecture.numbers, name: STD**2 / 9}
    wrong = replace(reading, architecture=replace(reading.architecture, numbers=numbers))
    table = sp.inspect(wrong, seeds=SEEDS)
    assert table.verdict == "rejected"
    first = next(row for row in table if row["verdict"] == "rejected")
    assert first["application"] >= 1  # where attention writes


def test_slopes_are_seen():
    """Bloom, its matrices drawn large enough for attention to count; slopes of every head sixteen
    times as steep, planted, are rejected."""
    named = model("bloom", BLOOM)
    reading = sp.read(named.build, named.example)
    assert sp.inspect(reading, seeds=SEEDS).verdict != "rejected"
    tables = {name: 16 * np.asarray(t) for name, t in reading.architecture.token_tables.items()}
    wrong = replace(reading, architecture=replace(reading.architecture, token_tables=tables))
    table = sp.inspect(wrong, seeds=3 * SEEDS, quantities=["residual_variance"])
    assert table.verdict == "rejected"

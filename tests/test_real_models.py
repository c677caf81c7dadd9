"""Predictions against randomly initialised models of the transformers package, built from their configuration (extra: torch)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import sigprop as sp

TOKENS, SEEDS = 32, 4


def blocks_of(torch: Any, transformers: Any, seed: int) -> np.ndarray:
    """[12] mean square of the residual stream after every block of a random GPT-2, on distinct tokens."""
    torch.manual_seed(seed)
    model = transformers.GPT2Model(transformers.GPT2Config()).eval()
    found: list[float] = []
    for block in model.h:
        block.register_forward_hook(lambda module, given, out: found.append(float((out[0] if isinstance(out, tuple) else out).double().pow(2).mean())))
    with torch.no_grad():
        model(torch.arange(TOKENS)[None])
    return np.array(found)


def test_random_gpt2():
    """12 blocks, width 768: every block's residual variance within 3 % (4 networks: standard error 0.5 %)."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        measured = np.mean([blocks_of(torch, transformers, seed) for seed in range(SEEDS)], axis=0)
    parameters: dict[str, Any] = {"init": "gpt2", "depth": 12, "activation": "gelu-tanh", "mask": "causal", "head_dim": 64, "words": range(TOKENS)}
    table = sp.predict(sp.architectures.transformer(**parameters), ["residual_variance"], list(range(2, 25, 2)))
    predicted = np.mean(np.reshape([row["value"] for row in table], (12, TOKENS)), axis=1)
    np.testing.assert_allclose(measured, predicted, rtol=0.03)
    other = sp.architectures.transformer(**parameters | {"init": "llama", "c_pe": 0.02**2})  # the companion: output matrices undivided
    wrong = sp.predict(other, ["residual_variance"], [2, 24])
    assert np.mean([row["value"] for row in wrong if row["application"] == 24]) > 2 * measured[-1]

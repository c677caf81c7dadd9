"""Randomly initialised models of torch and of the transformers package, from their configuration
(extra: hf): initialisations and predictions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import sigprop as sp
from sigprop.blocks.variances import variances_at

TOKENS, SEEDS = 32, 4


def blocks_of(torch: Any, transformers: Any, seed: int) -> np.ndarray:
    """[12] mean square of the residual stream after every block of a random GPT-2, on distinct
    tokens."""
    torch.manual_seed(seed)
    model = transformers.GPT2Model(transformers.GPT2Config()).eval()
    found: list[float] = []
    for block in model.h:
        block.register_forward_hook(
            lambda module, given, out: found.append(
                float((out[0] if isinstance(out, tuple) else out).double().pow(2).mean())
            )
        )
    with torch.no_grad():
        model(torch.arange(TOKENS)[None])
    return np.array(found)


def test_random_gpt2():
    """12 blocks, width 768: every block's residual variance within 3 % (4 networks: standard
    error 0.5 %)."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        measured = np.mean([blocks_of(torch, transformers, seed) for seed in range(SEEDS)], axis=0)
    parameters: dict[str, Any] = {
        "init": "gpt2",
        "depth": 12,
        "activation": "gelu-tanh",
        "mask": "causal",
        "head_dim": 64,
        "words": range(TOKENS),
    }
    table = sp.predict(
        sp.architectures.transformer(**parameters), ["residual_variance"], list(range(2, 25, 2))
    )
    predicted = np.mean(np.reshape([row["value"] for row in table], (12, TOKENS)), axis=1)
    np.testing.assert_allclose(measured, predicted, rtol=0.03)
    # the companion: output matrices undivided
    other = sp.architectures.transformer(**parameters | {"init": "llama", "c_pe": 0.02**2})
    wrong = sp.predict(other, ["residual_variance"], [2, 24])
    assert np.mean([row["value"] for row in wrong if row["application"] == 24]) > 2 * measured[-1]


WIDTH, RATIO, DEPTH = 256, 4.0, 3
PARTS = {"q": 0, "k": 1, "v": 2}


def variance(weight: Any, fan_in: int) -> float:
    """A matrix's variance times its fan-in (2 10^5 entries or more: a standard error of 0.4 %)."""
    return float(weight.detach().double().pow(2).mean()) * fan_in


def packed(weight: Any, rows: int) -> dict[str, float]:
    """c_q, c_k, c_v of one matrix [3 n, n]."""
    return {
        f"c_{name}": variance(weight[k * rows : (k + 1) * rows], weight.shape[1])
        for name, k in PARTS.items()
    }


def encoder_layer(torch: Any) -> dict[str, float]:
    layer = torch.nn.TransformerEncoderLayer(WIDTH, 4, int(RATIO) * WIDTH)
    found = packed(layer.self_attn.in_proj_weight, WIDTH) | {
        "c_u": variance(layer.self_attn.out_proj.weight, WIDTH),
        "norm_eps": layer.norm1.eps,
    }
    return found | {
        "c_w": variance(layer.linear1.weight, WIDTH),
        "c_x": variance(layer.linear2.weight, layer.linear2.in_features),
    }


def linear(torch: Any) -> dict[str, float]:
    return {
        "c_w": variance(torch.nn.Linear(WIDTH, 4 * WIDTH).weight, WIDTH),
        "c_x": variance(torch.nn.Linear(4 * WIDTH, WIDTH).weight, 4 * WIDTH),
    }


def multihead(torch: Any) -> dict[str, float]:
    return packed(torch.nn.MultiheadAttention(WIDTH, 4).in_proj_weight, WIDTH)


def gpt2(torch: Any) -> dict[str, float]:
    transformers = pytest.importorskip("transformers")
    model = transformers.GPT2Model(transformers.GPT2Config(n_embd=WIDTH, n_layer=DEPTH, n_head=4))
    block = model.h[1]
    found = packed(block.attn.c_attn.weight.T, WIDTH) | {
        "c_u": variance(block.attn.c_proj.weight, WIDTH),
        "norm_eps": block.ln_1.eps,
    }
    found |= {
        "c_w": variance(block.mlp.c_fc.weight, WIDTH),
        "c_x": variance(block.mlp.c_proj.weight, 4 * WIDTH),
    }
    return found | {"c_we": variance(model.wte.weight, 1), "c_pe": variance(model.wpe.weight, 1)}


def llama(torch: Any) -> dict[str, float]:
    transformers = pytest.importorskip("transformers")
    shape = {
        "hidden_size": WIDTH,
        "intermediate_size": int(RATIO) * WIDTH,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": 4,
        "vocab_size": 4000,
    }
    model = transformers.LlamaModel(transformers.LlamaConfig(**shape))
    own, mlp = model.layers[1].self_attn, model.layers[1].mlp
    found = {
        name: variance(weight, WIDTH)
        for name, weight in (
            ("c_q", own.q_proj.weight),
            ("c_k", own.k_proj.weight),
            ("c_v", own.v_proj.weight),
        )
    }
    found |= {
        "c_u": variance(own.o_proj.weight, WIDTH),
        "c_w": variance(mlp.gate_proj.weight, WIDTH),
        "c_g": variance(mlp.up_proj.weight, WIDTH),
    }
    return found | {
        "c_x": variance(mlp.down_proj.weight, 4 * WIDTH),
        "c_we": variance(model.embed_tokens.weight, 1),
        "norm_eps": model.norm.variance_epsilon,
    }


REAL = {
    "torch-encoder-layer": encoder_layer,
    "torch-linear": linear,
    "xavier-packed": multihead,
    "gpt2": gpt2,
    "llama": llama,
}


@pytest.mark.parametrize("name", REAL)
def test_initialisations_are_those_of_the_classes_that_they_name(name: str):
    """Every variance times its fan-in within 3 %, eight standard errors; exactly one number
    wrong by 10 % would fail."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        measured = REAL[name](torch)
    stated = variances_at(name, WIDTH, DEPTH, RATIO)
    assert measured == {key: pytest.approx(stated[key], rel=0.03) for key in measured}

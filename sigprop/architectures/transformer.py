"""Transformers with weights of their own in every block (Dinan, Yaida, Zhang 2304.02034):
attention, then MLP."""

from __future__ import annotations

from typing import Any

from sigprop.blocks.transformer import stack
from sigprop.description.architecture import Architecture
from sigprop.registry.entries import register


@register("transformer", reference="2304.02034")
def transformer(
    *,
    depth: Any = 1,
    block: Any = "transformer",
    activation: Any = "gelu",
    gated: Any = False,
    mlp_ratio: Any = 4,
    experts: Any = None,
    experts_chosen: Any = None,
    norm: Any = "pre",
    norm_kind: Any = "layer",
    norm_eps: Any = None,
    mask: Any = "none",
    score_scale: Any = "sqrt",
    head_dim: Any = 8,
    heads: Any = None,
    kv_heads: Any = None,
    qk_norm: Any = False,
    positions: Any = "none",
    rope_base: Any = 1e4,
    rotary_dim: Any = None,
    softcap: Any = None,
    attention_bias: Any = None,
    attention_rescale: Any = None,
    dropout: Any = 0.0,
    residual_scale: Any = 1.0,
    skip_scale: Any = 1.0,
    c_q: Any = None,
    c_k: Any = None,
    c_v: Any = None,
    c_u: Any = None,
    c_w: Any = None,
    c_x: Any = None,
    c_g: Any = None,
    c_b: Any = None,
    c_r: Any = None,
    c_we: Any = None,
    c_pe: Any = None,
    init: Any = None,
    std: Any = None,
    model_width: Any = None,
    tokens: Any = None,
    token_cosine: Any = 0.3,
    input_gram: Any = None,
    words: Any = None,
    final_norm: Any = False,
    head: Any = "untied",
    c_head: Any = 1.0,
    vocabulary: Any = None,
    sgd_factors: Any = None,
    weights: Any = "gaussian",
    readout: Any = "each",
) -> Architecture:
    """Transformer h <- h + eps f(norm h), f attention and MLP in turn, every block with its own
    weights."""
    return stack("transformer", **locals())

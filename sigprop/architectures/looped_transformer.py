"""Looped (weight-tied) transformers, 2606.18524: L distinct blocks, looped N times, loops outermost."""

from __future__ import annotations

from typing import Any

from sigprop.architecture import Architecture
from sigprop.architectures.transformer import stack
from sigprop.registry import register


@register("looped-transformer", reference="2606.18524")
def looped_transformer(
    *,
    depth: Any = 1,
    loops: Any = 2,
    block: Any = "transformer",
    activation: Any = "gelu",
    gated: Any = False,
    mlp_ratio: Any = 4,
    norm: Any = "pre",
    norm_kind: Any = "layer",
    norm_eps: Any = None,
    mask: Any = "none",
    score_scale: Any = "sqrt",
    head_dim: Any = 8,
    heads: Any = None,
    kv_heads: Any = None,
    positions: Any = "none",
    rope_base: Any = 1e4,
    softcap: Any = None,
    dropout: Any = 0.0,
    residual_scale: Any = "1/(N*sqrt(L))",
    skip_scale: Any = 1.0,
    c_q: Any = None,
    c_k: Any = None,
    c_v: Any = None,
    c_u: Any = None,
    c_w: Any = None,
    c_x: Any = None,
    c_g: Any = None,
    c_b: Any = None,
    c_we: Any = None,
    c_pe: Any = None,
    init: Any = None,
    model_width: Any = None,
    tokens: Any = None,
    token_cosine: Any = 0.3,
    input_gram: Any = None,
    words: Any = None,
    final_norm: Any = False,
    readout: Any = "each",
) -> Architecture:
    """Looped transformer: L distinct blocks of attention and MLP applied N times."""
    return stack("looped-transformer", **locals())

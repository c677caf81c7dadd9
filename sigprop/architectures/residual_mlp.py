"""Residual MLP stacks with weights of their own at every application."""

from __future__ import annotations

from typing import Any

from sigprop.architectures.looped_mlp import residual
from sigprop.description.architecture import Architecture
from sigprop.registry.entries import register


@register("residual-mlp", reference="2606.18524, appendix (untied comparison)")
def residual_mlp(
    *,
    depth: Any = 8,
    activation: Any = "relu",
    matrices: Any = 2,
    norm: Any = "pre",
    norm_kind: Any = "rms",
    norm_eps: Any = 0.0,
    residual_scale: Any = "1/sqrt(L)",
    skip_scale: Any = 1.0,
    c_w: Any = None,
    c_x: Any = None,
    c_b: Any = None,
    tokens: Any = 1,
    token_cosine: Any = 0.0,
    input_gram: Any = None,
    weights: Any = "gaussian",
    readout: Any = "each",
    sgd_factors: Any = None,
) -> Architecture:
    """Residual stack h_{a+1} = lambda h_a + eps f_a(h_a), every application with its own
    weights."""
    return residual("residual-mlp", **locals())

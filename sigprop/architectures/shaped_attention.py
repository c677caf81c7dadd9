"""Shaped attention (Noci et al. 2306.17759; He, Hofmann 2311.01906): alpha + beta Omega - gamma
C, Omega = C where queries are zero."""

from __future__ import annotations

from typing import Any

from sigprop.architectures.value_skipinit import value_skipinit
from sigprop.blocks.skipless import skipless
from sigprop.description.architecture import Architecture
from sigprop.registry.entries import register


@register("shaped-attention", reference="2311.01906", like=value_skipinit)
def shaped_attention(
    *,
    score_scale: Any = "zero_query",
    shape_alpha: Any = 1.0,
    shape_beta: Any = 1.0,
    shape_gamma: Any = 1.0,
    **rest: Any,
) -> Architecture:
    """Transformer without skips or norms whose attention is the identity beside Omega - C: h <-
    U (alpha + beta Omega - gamma C) V h."""
    return skipless(
        "shaped-attention", {key: value for key, value in locals().items() if key != "rest"} | rest
    )

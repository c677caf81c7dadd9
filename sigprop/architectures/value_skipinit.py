"""Value-SkipInit (He et al. 2302.10322): attention that begins as the identity, alpha + beta
Omega with alpha = 1, beta = 0."""

from __future__ import annotations

from typing import Any

from sigprop.architectures.transformer import transformer
from sigprop.blocks.skipless import HEADS, NORMED, skipless
from sigprop.description.architecture import Architecture
from sigprop.registry.entries import register


@register("value-skipinit", reference="2302.10322", like=transformer, without=(*NORMED, *HEADS))
def value_skipinit(
    *,
    depth: Any = 4,
    block: Any = "attention",
    activation: Any = "leaky-relu",
    shaping_eta: Any = 0.9,
    shape_alpha: Any = 1.0,
    shape_beta: Any = 0.0,
    shape_gamma: Any = 0.0,
    mask: Any = "causal",
    skip_scale: Any = 0.0,
    weights: Any = "orthogonal",
    **rest: Any,
) -> Architecture:
    """Transformer without skips or norms: h <- U (alpha + beta Omega - gamma C) V h, alpha, beta
    and gamma trained, one of each a head."""
    return skipless(
        "value-skipinit", {key: value for key, value in locals().items() if key != "rest"} | rest
    )

"""The skipless transformer as it is (He et al. 2302.10322): attention alone, and what it does to
the tokens' kernel."""

from __future__ import annotations

from typing import Any

from sigprop.architectures.transformer import transformer
from sigprop.blocks.skipless import NORMED, QUERIES, skipless
from sigprop.description.architecture import Architecture
from sigprop.registry.entries import register


@register("vanilla", reference="2302.10322", like=transformer, without=(*NORMED, *QUERIES))
def vanilla(
    *,
    depth: Any = 4,
    block: Any = "attention",
    activation: Any = "leaky-relu",
    shaping_eta: Any = 0.9,
    mask: Any = "causal",
    token_cosine: Any = 0.0,
    skip_scale: Any = 0.0,
    weights: Any = "orthogonal",
    **rest: Any,
) -> Architecture:
    """Transformer without skips or norms: h <- U A V h, A uniform over the mask. The tokens
    collapse into one direction."""
    return skipless(
        "vanilla", {key: value for key, value in locals().items() if key != "rest"} | rest
    )

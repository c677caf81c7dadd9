"""Looped (weight-tied) transformers, 2606.18524: L distinct blocks, looped N times, loops
outermost."""

from __future__ import annotations

from typing import Any

from sigprop.architectures.transformer import transformer
from sigprop.blocks.transformer import stack
from sigprop.description.architecture import Architecture
from sigprop.registry.entries import register


@register("looped-transformer", reference="2606.18524", like=transformer)
def looped_transformer(
    *, loops: Any = 2, residual_scale: Any = "1/(N*sqrt(L))", **rest: Any
) -> Architecture:
    """Looped transformer: L distinct blocks of attention and MLP applied N times."""
    return stack("looped-transformer", loops, residual_scale=residual_scale, **rest)

"""DeepLoop (Li et al. 2607.13491): DeepNorm for looped blocks, with exponents 1/2 of the
unrolled depth N L."""

from __future__ import annotations

from typing import Any

from sigprop.architectures.deepnorm import gained
from sigprop.architectures.transformer import transformer
from sigprop.blocks.transformer import stack
from sigprop.description.architecture import Architecture
from sigprop.registry.entries import register


@register("deeploop", reference="2607.13491", like=transformer)
def deeploop(
    *, loops: Any = 2, norm: Any = "post", skip_scale: Any = "sqrt(2*N*L)", **rest: Any
) -> Architecture:
    """DeepLoop transformer: h <- norm(lambda h + f(h)), lambda = (2 N L)^(1/2), f's gain (8 N
    L)^(-1/2), L blocks looped N times."""
    return stack("deeploop", loops, norm=norm, skip_scale=skip_scale, **gained(rest, "1/(8*N*L)"))

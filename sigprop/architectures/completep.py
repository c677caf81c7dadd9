"""CompleteP (Dey et al. 2505.01618): residual multiplier L^-alpha with alpha = 1."""

from __future__ import annotations

from typing import Any

from sigprop.architectures.transformer import transformer
from sigprop.blocks.transformer import stack
from sigprop.description.architecture import Architecture
from sigprop.registry.entries import register


@register("completep", reference="2505.01618, Table 1", like=transformer)
def completep(*, depth: Any = 2, residual_scale: Any = "1/L", **rest: Any) -> Architecture:
    """CompleteP transformer: h <- h + f(norm h) / L."""
    return stack("completep", depth=depth, residual_scale=residual_scale, **rest)

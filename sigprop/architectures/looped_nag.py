"""Norm-agnostic residual networks with looped (weight-tied) blocks, whose gains must fall as 1/N
(docs/systems/nag.md)."""

from __future__ import annotations

from typing import Any

from sigprop.architectures.nag import nag, norm_agnostic
from sigprop.blocks.transformer import stack
from sigprop.description.architecture import Architecture
from sigprop.registry.entries import register


@register("looped-nag", reference="2606.16112, 2606.18524", like=nag)
def looped_nag(
    *,
    depth: Any = 1,
    loops: Any = 8,
    alpha_0: Any = "1/(N*sqrt(L))",
    alpha_exponent: Any = 0.0,
    **rest: Any,
) -> Architecture:
    """Looped norm-agnostic residual network: L distinct blocks applied N times, gains constant
    over applications."""
    return stack(
        "looped-nag",
        loops,
        join=norm_agnostic,
        depth=depth,
        alpha_0=alpha_0,
        alpha_exponent=alpha_exponent,
        **rest,
    )

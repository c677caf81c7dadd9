"""Transformers that normalise a branch's input and its output (sandwich norm)."""

from __future__ import annotations

from typing import Any

from sigprop.architectures.transformer import transformer
from sigprop.blocks.transformer import stack
from sigprop.description.architecture import Architecture
from sigprop.registry.entries import register


@register("sandwich-transformer", reference="2105.13290, section 2.4", like=transformer)
def sandwich_transformer(*, norm: Any = "sandwich", **rest: Any) -> Architecture:
    """Sandwich transformer: h <- h + eps norm(f(norm h))."""
    return stack("sandwich-transformer", norm=norm, **rest)

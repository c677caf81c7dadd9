"""Transformers whose attention and MLP read one state and write together (GPT-J, PaLM)."""

from __future__ import annotations

from typing import Any

from sigprop.architectures.transformer import transformer
from sigprop.blocks.transformer import stack
from sigprop.description.architecture import Architecture
from sigprop.registry.entries import register


@register("parallel-transformer", reference="2204.02311, section 2", like=transformer)
def parallel_transformer(*, block: Any = "parallel", **rest: Any) -> Architecture:
    """Parallel transformer: h <- h + eps (attention(norm h) + mlp(norm h))."""
    return stack("parallel-transformer", block=block, **rest)

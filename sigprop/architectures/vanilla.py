"""Transformers without skips or norms (He et al. 2302.10322): attention alone, and what it does to the tokens' kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from sigprop.architecture import Architecture
from sigprop.architectures.transformer import stack
from sigprop.building import Residual
from sigprop.errors import InputError
from sigprop.expression import State, Stem, Write
from sigprop.registry import register
from sigprop.spa import attention, realised

WITHOUT = (
    "norm", "norm_kind", "norm_eps", "residual_scale", "skip_scale", "final_norm", "block", "activation", "gated", "mlp_ratio", "c_w", "c_x", "c_g", "c_b",
    "score_scale", "attention_bias", "attention_rescale", "softcap", "qk_norm", "positions", "rope_base", "c_q", "init", "model_width", "dropout",
)  # fmt: skip
"""Parameters of the transformer that these networks do not have, and what they are."""
FIXED = {
    "block": "attention", "activation": None, "score_scale": "zero_query", "softcap": None, "qk_norm": False, "positions": "none", "rope_base": 1e4,
    "init": None, "dropout": 0.0, "attention_bias": None, "attention_rescale": None, "c_q": None,
}  # fmt: skip


def skipless(name: str, tables: dict[str, Any], **p: Any) -> Architecture:
    """h <- U A V h at every application: no skip, no norm, queries that are zero."""
    join = lambda p, size: Residual(State(0), lambda kind: Write(), Stem(), {})  # noqa: E731
    return stack(name, join=join, hidden=FIXED, **(FIXED | tables | p))


def designed(name: str, kind: str, numbers: np.ndarray, p: dict[str, Any]) -> Architecture:
    """Attention that carries the kernels of these numbers (l = 0..L) into each other."""
    if not isinstance(p["mask"], str):
        raise InputError("mask: a table; accepted: none or causal (the kernels are carried by triangular or by symmetric factors)")
    tokens = p["tokens"] or (len(p["words"]) if p["words"] is not None else len(p["input_gram"]) if p["input_gram"] is not None else 3)
    bias, rescale = realised(attention(kind, numbers, tokens, p["mask"] == "causal"))
    return skipless(name, {"attention_bias": bias, "attention_rescale": rescale}, **p)


@register("vanilla", reference="2302.10322", like="transformer", without=WITHOUT)
def vanilla(*, depth: Any = 4, mask: Any = "causal", token_cosine: Any = 0.0, weights: Any = "orthogonal", **rest: Any) -> Architecture:
    """Attention without skips or norms: h <- U A V h, A uniform over the mask. The tokens collapse into one direction."""
    return skipless("vanilla", {}, depth=depth, mask=mask, token_cosine=token_cosine, weights=weights, **rest)

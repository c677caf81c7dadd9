"""DeepScaleLM (Kedia et al. 2403.09635): lambda^2 + beta^2 = 1 skips, branches of unit gain at
the correlation that tokens have there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sigprop.architectures.transformer import transformer
from sigprop.blocks.residual import Join, skip
from sigprop.blocks.stems import stem_parts
from sigprop.blocks.transformer import stack
from sigprop.blocks.variances import resolved
from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.language.formula import Formula
from sigprop.language.scalar import Constant
from sigprop.registry.entries import register


def correlations(
    kinds: list[str], scales: np.ndarray, cosine: float, dropout: float
) -> list[float]:
    """r before each sub-block: r <- lambda^2 r + beta^2 r_b at unit variance, r_b = 1 - p after
    attention, of a relu MLP its cosine map.

    Source: 2403.09635, the authors' initialisation code, beta^2 = ``scales``, of each.
    """
    found = []
    for kind, scale in zip(kinds, map(float, scales), strict=True):
        found.append(cosine)
        mapped = (
            1.0
            if kind == "attention"
            else cosine + (math.sqrt(1 - cosine**2) - cosine * math.acos(cosine)) / math.pi
        )
        cosine = (1 - scale) * cosine + scale * (1 - dropout) * mapped
    return found


def joined(p: dict[str, Any], size: dict[str, int]) -> Join:
    """lambda^2 = 1 - 2/S, beta^2 = 2/S; c_v = c_u = sqrt((1 - p)/r_l), so that what attention
    averages away is put back."""
    plain = skip(p, size)
    if p["c_v"] is not None or p["c_u"] is not None or p["block"] == "mlp":
        return plain
    gram = stem_parts(p)
    gram = np.asarray(
        gram
        if not isinstance(gram, dict)
        else sum(part.variance * part.gram for part in gram.values())
    )
    sizes = np.sqrt(np.diag(gram))
    off = ~np.eye(len(gram), dtype=bool)
    cosine = float(np.mean((gram / np.outer(sizes, sizes))[off])) if len(gram) > 1 else 1.0
    if not 0 < cosine <= 1:
        raise InputError(
            f"token_cosine={cosine:g}: attention would average everything away; accepted: a mean "
            f"cosine of the tokens above 0"
        )
    kinds = {"attention": ["attention"], "parallel": ["attention"]}.get(
        p["block"], ["attention", "mlp"]
    ) * size["L"]
    scales = np.broadcast_to(
        resolved("residual_scale", plain.numbers["residual_scale"], size) ** 2, len(kinds)
    )
    found = correlations(kinds, scales, cosine, p["dropout"])
    gains = np.sqrt((1 - p["dropout"]) / np.array(found))
    # r_l stays between r_0 and 1
    numbers = {
        c: Formula(c, tuple(map(Constant, map(float, gains))), order=Constant(1))
        for c in ("c_v", "c_u")
    }
    return plain._replace(numbers={**plain.numbers, **numbers})


@register("deepscalelm", reference="2403.09635", like=transformer)
def deepscalelm(
    *,
    depth: Any = 2,
    activation: Any = "relu",
    token_cosine: Any = 0.221,
    skip_scale: Any = "sqrt(1-2/S)",
    residual_scale: Any = "sqrt(2/S)",
    **rest: Any,
) -> Architecture:
    """DeepScaleLM transformer: h <- lambda h + beta f(norm h), lambda^2 = 1 - 2/S, beta^2 = 2/S,
    f of unit gain at the tokens' correlation."""
    ratio, kept = rest["mlp_ratio"], 1 - rest["dropout"]
    # r d sigma_2^2 d sigma_1^2/2 = 1 - p
    unit = {"c_w": math.sqrt(2 * kept / ratio), "c_x": ratio * math.sqrt(2 * kept / ratio)}
    rest |= {name: c for name, c in unit.items() if rest[name] is None and not rest["gated"]}
    own = {
        "depth": depth,
        "activation": activation,
        "token_cosine": token_cosine,
        "skip_scale": skip_scale,
        "residual_scale": residual_scale,
    }
    return stack("deepscalelm", join=joined, **own, **rest)

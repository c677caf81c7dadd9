"""DeepNorm (Wang et al. 2203.00555): post-norm, lambda = (2L)^(1/4), and gain (8L)^(-1/4) of the
matrices that values pass through."""

from __future__ import annotations

from typing import Any

from sigprop.architectures.transformer import transformer
from sigprop.blocks.transformer import stack
from sigprop.description.architecture import Architecture
from sigprop.registry.entries import register


def gained(p: dict[str, Any], squared: str) -> dict[str, Any]:
    """The parameters, with Xavier variances 2 fan_in/(fan_in + fan_out) times ``squared`` (an
    expression) for V, U and the MLP, where not chosen."""
    ratio = p["mlp_ratio"]
    variances = {"c_v": 1.0, "c_u": 1.0, "c_w": 2 / (1 + ratio), "c_x": 2 * ratio / (1 + ratio)}
    return p | {name: f"{c!r}*{squared}" for name, c in variances.items() if p[name] is None}


@register("deepnorm", reference="2203.00555, Table 2", like=transformer)
def deepnorm(
    *, depth: Any = 2, norm: Any = "post", skip_scale: Any = "(2*L)**0.25", **rest: Any
) -> Architecture:
    """DeepNorm transformer: h <- norm(lambda h + f(h)), lambda = (2L)^(1/4), f's gain
    (8L)^(-1/4)."""
    return stack(
        "deepnorm", depth=depth, norm=norm, skip_scale=skip_scale, **gained(rest, "(8*L)**-0.5")
    )

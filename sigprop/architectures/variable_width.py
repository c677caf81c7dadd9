"""Variable-width transformers (Wu et al. 2606.18246): wide first and last blocks, narrow ones
between, resized without parameters."""

from __future__ import annotations

from typing import Any

from sigprop.architectures.transformer import transformer
from sigprop.blocks.transformer import stack
from sigprop.blocks.widths import narrowed, vee
from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.registry.entries import register

FIXED = ("norm", "norm_kind", "skip_scale")
"""Not the user's to choose: blocks read the RMS-normed state and add to it."""


def schedule(p: dict[str, Any]) -> tuple[int, ...]:
    """d_1..d_L of the parameters; raises ``InputError``."""
    attends, ratio = p["block"] != "mlp", p["mlp_ratio"] * (p["block"] != "attention")
    share = (p["kv_heads"] or 1) / (p["heads"] or 1) if p["kv_heads"] else 1.0
    matrix = attends * (2 + 2 * share) + ratio * (3 if p["gated"] else 2)
    idle = (1 + 2 * share if attends else ratio * (2 if p["gated"] else 1), ratio or 1.0)
    found = p["schedule"]
    if found == "vee":
        found = vee(
            p["reference_width"],
            p["depth"],
            p["bottleneck"],
            p["position"],
            p["round_to"],
            matrix,
            idle,
        )
    if len(found) != p["depth"]:
        raise InputError(
            f"schedule: {len(found)} widths at depth={p['depth']}; accepted: one for each block"
        )
    heads = p["heads"] if p["score_scale"] == "linear" and attends else None  # else whole heads go
    for block, width in enumerate(found, start=1):
        if heads and width % heads:
            raise InputError(
                f"heads={heads}: it does not divide width {width} of block {block}; accepted: a "
                f"divisor of every width"
            )
    return tuple(found)


@register("variable-width", reference="2606.18246", like=transformer, without=FIXED)
def variable_width(
    *,
    depth: Any = 4,
    activation: Any = "silu",
    gated: Any = True,
    score_scale: Any = "linear",
    heads: Any = 4,
    final_norm: Any = True,
    schedule: Any = "vee",
    reference_width: Any = 64,
    bottleneck: Any = 0.3,
    position: Any = 0.75,
    round_to: Any = 16,
    resize: Any = "carry",
    **rest: Any,
) -> Architecture:
    """Variable-width transformer: block l owns the first d_l coordinates of the stream, others
    pass it by."""
    own = {name: value for name, value in locals().items() if name not in ("rest", "own")}
    return build(own | rest)


def build(p: dict[str, Any]) -> Architecture:
    """The transformer of these parameters, made narrower block by block."""
    widths = schedule(p)
    if p["score_scale"] == "linear" and (p["positions"] == "rotary" or p["qk_norm"]):
        raise InputError(
            "positions=rotary or qk_norm=True at score_scale=linear: heads lose coordinates; "
            "accepted: score_scale=sqrt, where whole heads go"
        )
    shape = ("schedule", "reference_width", "bottleneck", "position", "round_to", "resize")
    plain = stack(
        "variable-width",
        norm="pre",
        norm_kind="rms",
        skip_scale=1.0,
        **{k: v for k, v in p.items() if k not in shape},
    )
    return narrowed(plain, widths, p["reference_width"], p["resize"])

"""Norm-agnostic residual networks (Figliolia, Millidge 2606.16112): a unit direction that
branches rotate, its norm in a lane apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from sigprop.architectures.transformer import transformer
from sigprop.blocks import rules
from sigprop.blocks.residual import Join
from sigprop.blocks.transformer import stack
from sigprop.blocks.variances import resolved
from sigprop.description.architecture import Architecture
from sigprop.description.modulators import thresholds
from sigprop.errors import InputError
from sigprop.language.expression import Normalise, State, Stem
from sigprop.language.formula import Formula, formula
from sigprop.language.scalar import Number
from sigprop.registry.entries import register

SKIP = ("norm", "norm_kind", "norm_eps", "residual_scale", "skip_scale", "final_norm")
"""Parameters of skip connections with norms, which these networks do not have."""


MOD = ("mod_rate", "mod_by", "mod_threshold", "directions", "beta")


def gain(p: dict[str, Any]) -> Formula:
    """alpha_l = alpha_0 l^-p, l = 1, 2, ... over all applications."""
    return formula(
        "alpha", formula("alpha_0", p["alpha_0"]).scalar * Number("a") ** -p["alpha_exponent"]
    )


def gains(p: dict[str, Any], size: dict[str, int]) -> np.ndarray:
    """``gain`` at l = 1..N S; raises ``InputError`` for a negative one."""
    found = np.asarray(resolved("alpha", gain(p), size))
    if found.min() < 0:
        accepted = "accepted: a gain >= 0 (a branch rotates the state towards what it writes)"
        raise InputError(
            f"alpha_0={p['alpha_0']!r}: {float(found.min())} at these sizes; {accepted}"
        )
    return found


def norm_agnostic(p: dict[str, Any], size: dict[str, int]) -> Join:
    """The direction h of the residual R = e^s h, unit at every token; s is what its norms have
    divided by (``log_norm``)."""
    numbers: dict[str, Any] = {"alpha": gain(p)}
    found = gains(p, size)
    if p["skipped_kv"] == "drop" and (p["mod_rate"] == 0 or p["block"] == "mlp"):
        raise InputError(
            f"skipped_kv=drop at mod_rate={p['mod_rate']:g}, block={p['block']}; accepted: a rate "
            f"above 0 and a block with attention"
        )
    if p["modulator"] == "learned":
        numbers |= {"beta": p["beta"]} | (
            {"skip_below": thresholds(found, *(p[name] for name in MOD))}
            if p["mod_rate"] > 0
            else {}
        )

        def join(kind):
            return rules.norm_agnostic(
                rules.modulated(p["directions"], p["mod_rate"] > 0, rules.modulator(kind))
            )[0]

        return Join(State(0), join, Normalise(Stem()), numbers, inverse_temperature=True)
    if p["mod_rate"] > 0:
        raise InputError(
            f"mod_rate={p['mod_rate']:g} at modulator={p['modulator']:g}: every token has the "
            f"same; accepted: modulator=learned"
        )
    fixed = numbers | {"modulator": p["modulator"]}
    return Join(
        State(0),
        lambda kind: rules.norm_agnostic()[0],
        Normalise(Stem()),
        fixed,
        inverse_temperature=True,
    )


@register("nag", reference="2606.16112", like=transformer, without=SKIP)
def nag(
    *,
    depth: Any = 8,
    block: Any = "mlp",
    activation: Any = "relu",
    alpha_0: Any = 1.0,
    alpha_exponent: Any = 0.5,
    modulator: Any = 1.0,
    directions: Any = 32,
    beta: Any = 1.0,
    mod_rate: Any = 0.0,
    mod_by: Any = "gain",
    mod_threshold: Any = "global",
    skipped_kv: Any = "keep",
    **rest: Any,
) -> Architecture:
    """Norm-agnostic residual network: h <- (h + a f_perp) / sqrt(1 + a^2), a = alpha_l m, every
    application with its own weights."""
    own = {name: value for name, value in locals().items() if name != "rest"}
    return stack("nag", join=norm_agnostic, **own, **rest)

"""A system added from outside: residual networks whose skips keep the variance, h <- sqrt(1 -
a_l^2) h + a_l f(h)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import sigprop as sp
from sigprop.architectures.nag import SKIP, gains
from sigprop.blocks.residual import Join
from sigprop.blocks.transformer import stack
from sigprop.errors import InputError

ALPHA = sp.Number("alpha", r"\alpha")


def normalised(p: dict[str, Any], size: dict[str, int]) -> Join:
    """What branches read, the next state, the first one, and the numbers that these name."""
    alpha = gains(p, size)  # alpha_0 l^-p, one for each application
    if alpha.max() >= 1:
        raise InputError(
            f"alpha_0={p['alpha_0']}: nothing is left of the skip; accepted: a gain below 1"
        )
    rule = (1 - ALPHA**2) ** Fraction(1, 2) * sp.State(0) + ALPHA * sp.Write()
    return Join(sp.State(0), lambda kind: rule, sp.Stem(), {"alpha": alpha})


@sp.register(
    "normalised-skip",
    reference="tests/helpers/adding_a_system.py",
    like="transformer",
    without=SKIP,
)
def normalised_skip(
    *,
    depth: Any = 4,
    block: Any = "mlp",
    activation: Any = "relu",
    alpha_0: Any = 0.5,
    alpha_exponent: Any = 0.0,
    **rest: Any,
) -> sp.Architecture:
    """Skips that keep the variance: h <- sqrt(1 - a_l^2) h + a_l f(h)."""
    own = {
        "depth": depth,
        "block": block,
        "activation": activation,
        "alpha_0": alpha_0,
        "alpha_exponent": alpha_exponent,
    }
    return stack("normalised-skip", join=normalised, **own, **rest)

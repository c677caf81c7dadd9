"""E-SPA (He et al. 2302.10322): attention that keeps the tokens' kernel exponential,
exp(-gamma_l |i - j|)."""

from __future__ import annotations

from typing import Any

import numpy as np

from sigprop.architectures.vanilla import vanilla
from sigprop.blocks.skipless import designed
from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.registry.entries import register


def decays(depth: int, final: float, cosine: float) -> np.ndarray:
    """gamma_0..gamma_L with a(gamma) = sqrt(1 - e^(-2 gamma)) falling by one factor a layer,
    from e^(-gamma_0) = ``cosine`` to ``final``."""
    first, last = np.sqrt(1 - cosine**2), np.sqrt(-np.expm1(-2 * final))
    a = first * (last / first) ** (np.arange(depth + 1) / depth)
    with np.errstate(divide="ignore"):
        return -0.5 * np.log1p(-(a**2))


@register("e-spa", reference="2302.10322", like=vanilla)
def e_spa(
    *, gamma_final: Any = 0.005, initial_cosine: Any = 0.0, depth: Any = 4, **rest: Any
) -> Architecture:
    """Signal-preserving attention, exponential kernels: neighbours' cosine from initial_cosine
    to exp(-gamma_final)."""
    if np.exp(-gamma_final) < initial_cosine:
        raise InputError(
            f"gamma_final={gamma_final:g} at initial_cosine={initial_cosine:g}: attention cannot "
            f"make tokens less alike; accepted: a smaller one"
        )
    own = {"depth": depth, "gamma_final": gamma_final, "initial_cosine": initial_cosine}
    return designed("e-spa", "exponential", decays(depth, gamma_final, initial_cosine), rest | own)

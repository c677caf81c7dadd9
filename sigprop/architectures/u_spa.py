"""U-SPA (He et al. 2302.10322): attention that keeps the tokens' kernel uniform, (1 - rho_l) 1 +
rho_l 1 1^T."""

from __future__ import annotations

from typing import Any

import numpy as np

from sigprop.architectures.vanilla import vanilla
from sigprop.blocks.skipless import designed
from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.registry.entries import register


@register("u-spa", reference="2302.10322", like=vanilla)
def u_spa(
    *, rho_final: Any = 0.8, initial_cosine: Any = 0.0, depth: Any = 4, **rest: Any
) -> Architecture:
    """Signal-preserving attention, uniform kernels: rho_l from initial_cosine to rho_final in
    equal steps."""
    if rho_final < initial_cosine:
        raise InputError(
            f"rho_final={rho_final:g} below initial_cosine={initial_cosine:g}: attention cannot "
            f"make tokens less alike; accepted: at least that"
        )
    own = {"depth": depth, "rho_final": rho_final, "initial_cosine": initial_cosine}
    return designed(
        "u-spa", "uniform", np.linspace(initial_cosine, rho_final, depth + 1), rest | own
    )

"""The networks that laws of growth are tested on."""

from __future__ import annotations

from typing import Any

import sigprop as sp
from sigprop.theory.exponents.laws_of import laws_of

TIED, UNTIED = sp.architectures.looped_mlp, sp.architectures.residual_mlp


def found(arch: sp.Architecture, variable: str) -> Any:
    """The laws of an architecture's family in one variable."""
    return laws_of(arch, arch.family, variable)

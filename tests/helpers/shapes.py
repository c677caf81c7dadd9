"""What checks annotated functions in the tests: beartype, numpy's numbers being numbers too."""

from __future__ import annotations

import numpy as np
from beartype import BeartypeConf, FrozenDict, beartype

CHECKED = (
    "sigprop.theory.attention",
    "sigprop.theory.gaussian",
    "sigprop.theory.recursion",
    "sigprop.simulations.network",
    "sigprop.simulations.engines",
)
"""Folders whose functions check the shapes that their annotations name."""

NUMBERS = {
    bool: bool | np.bool_,
    int: int | np.integer,
    float: float | int | np.floating | np.integer,
}
check = beartype(conf=BeartypeConf(hint_overrides=FrozenDict(NUMBERS)))

"""Base and target of a prescription: the architecture at two sizes, and how their settings are
read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sigprop.architectures import entry
from sigprop.description.architecture import Architecture
from sigprop.errors import InputError, near_miss

SIZES = ("width", "inputs")
"""Keys of base and target beside parameters of the architecture: n, and the inputs of a dense
stem."""


@dataclass(frozen=True)
class Side:
    """Base or target: the architecture there, its width n, and inputs of a dense stem."""

    arch: Architecture
    width: int
    inputs: int | None

    @property
    def shown(self) -> dict[str, Any]:
        """Return everything that was chosen, by name."""
        return {
            "width": self.width,
            **({"inputs": self.inputs} if self.inputs else {}),
            **self.arch.parameters,
        }


def built(name: str, sizes: Mapping[str, Any]) -> Side:
    """Build the architecture at these sizes; raises ``InputError`` where the width does not hold
    whole heads or units."""
    if "width" not in sizes:
        raise InputError(
            "width: none given; accepted: an integer from 1 to 10^7, in base and in target"
        )
    width, inputs = (None if sizes.get(key) is None else whole(key, sizes[key]) for key in SIZES)
    if width is None:
        raise InputError("width=None; accepted: an integer from 1 to 10^7, in base and in target")
    arch = entry(name).build(**{key: value for key, value in sizes.items() if key not in SIZES})
    arch.without_experts("prescribe")
    for scores in (node.scores for block in arch.sub_blocks for node in block.attention):
        heads = scores.heads if scores.scale == "linear" else None
        if heads and width % heads:
            raise InputError(
                f"width={width}: {heads} heads do not divide it; accepted: a multiple of "
                f"heads={heads}"
            )
        if heads is None and math.isfinite(scores.head_dim) and width % scores.head_dim:
            trouble = "narrower than one head" if width < scores.head_dim else "not whole heads"
            raise InputError(
                f"width={width}: {trouble}; accepted: a multiple of head_dim={scores.head_dim:g}"
            )
    for group, node in arch.weights.items():
        if (node.rows * width).denominator != 1:
            raise InputError(
                f"width={width}: {group!r} would have {float(node.rows * width):g} rows; "
                f"accepted: a multiple of {node.rows.denominator}"
            )
    return Side(arch, width, inputs)


def whole(key: str, value: Any) -> int:
    """Return a size; raises ``InputError``."""
    try:
        number = float(value)
        if isinstance(value, bool) or not number.is_integer() or not 1 <= number <= 10**7:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{key}={value!r}; accepted: an integer from 1 to 10^7") from None
    return int(number)


def has_setting(key: str, name: str, groups: list[str]) -> bool:
    """Tell that the group has such a setting; raises ``InputError`` otherwise."""
    if name not in groups:
        raise InputError(f"{key}: no such setting for group {name!r}{near_miss(name, groups)}")
    return True


def positive(key: str, value: Any) -> float:
    """Return a finite number above 0 (weight decay and epsilon: from 0); raises ``InputError``."""
    least = 0.0 if key.startswith(("weight_decay", "epsilon", "init")) else math.ulp(0.0)
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not least <= number < math.inf:
        raise InputError(
            f"{key}={value!r}; accepted: a number {'from' if least == 0 else 'above'} 0"
        )
    return number

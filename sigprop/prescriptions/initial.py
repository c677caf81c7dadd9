"""What the base was initialised with: the standard deviation of every group, and whether those of
output matrices already carry a factor of depth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import sympy as sp

from sigprop.blocks.variances import named, variances_at
from sigprop.errors import InputError
from sigprop.language.expression import Linear
from sigprop.language.scalar import Number, evaluate
from sigprop.prescriptions.sides import Side, has_setting, positive
from sigprop.scaling.groups import groups
from sigprop.scaling.rule import Rule
from sigprop.scaling.sizes import sizes_of

ALIKE = 0.1  # relative difference from 1/sqrt(2 L) at which stds look like it
STEM_VARIANCES = {"embedding": "c_we", "position": "c_pe"}


def initial(
    side: Side, init: str | Mapping[str, float] | None, rules: Mapping[str, Rule]
) -> Mapping[str, float]:
    """Return {group: the base's std}; raises ``InputError`` for groups that have none."""
    if init is None:
        return {} if side.arch.parameters.get("init") is None else _described(side)
    if not isinstance(init, Mapping):
        return _named(side, init, side.arch.sizes.get("L", 1))
    drawn = [name for name, rule in rules.items() if rule.init_std is not None]
    return {
        name: positive(f"init of {name}", std)
        for name, std in init.items()
        if has_setting("init", name, drawn)
    }


def carries_depth_factor(
    base: Side, init: str | Mapping[str, float] | None, stated: bool | None
) -> bool:
    """Tell if output matrices' stds fall as 1/sqrt(2 L): as stated, else as ``init`` has it; raises
    ``InputError`` where that does not say."""
    if stated is not None or init is None:
        return bool(stated)
    outputs = {
        name
        for name, group in groups(base.arch, sp.Integer(1), False).items()
        if group.output and isinstance(base.arch.weights.get(name), Linear)
    }
    if isinstance(init, Mapping):
        _refuse_look_alikes(base, init, outputs)
        return False
    return _falls_with_depth(base, init, outputs)


def _refuse_look_alikes(base: Side, init: Mapping[str, float], outputs: set[str]) -> None:
    """Raise ``InputError`` where the std of an output matrix looks as if divided by sqrt(2 L), next
    to those of the other matrices."""
    depth = base.arch.sizes.get("L", 1)
    stds = {name: positive(f"init of {name}", std) for name, std in init.items()}
    scaled = {
        name: std * _fan(base, name)
        for name, std in stds.items()
        if isinstance(base.arch.weights.get(name), Linear) and std > 0
    }
    inner = [value for name, value in scaled.items() if name not in outputs]
    unit = math.exp(sum(map(math.log, inner)) / len(inner)) if inner else 1.0
    alike = [
        name
        for name in sorted(outputs & scaled.keys())
        if abs(scaled[name] / unit * math.sqrt(2 * depth) - 1) < ALIKE
    ]
    if alike and depth > 1:
        raise InputError(
            f"init: the std of {alike[0]!r} looks as if divided by sqrt(2 L); accepted: with "
            f"base_carries_depth_factor=True where the target's will "
            "be too, or False where it is a number of its own"
        )


def _falls_with_depth(base: Side, init: str, outputs: set[str]) -> bool:
    """Tell if a named initialisation divides output matrices by sqrt(2 L); raises ``InputError``
    where depth enters otherwise."""
    depth = base.arch.sizes.get("L", 1)
    near, far = (_named(base, init, depth * times) for times in (1, 4))
    falls = {name for name in near if near[name] and not math.isclose(far[name], near[name])}
    if falls - outputs or any(not math.isclose(far[name] * 2, near[name]) for name in falls):
        raise InputError(
            f"init={init!r}: {sorted(falls)[0]!r} changes with depth as no rule knows; accepted: "
            f"output matrices over sqrt(2 L)"
        )
    return bool(falls)


def _fan(side: Side, name: str) -> float:
    """Return sqrt(n_in) of a matrix."""
    size: Any = groups(side.arch, sp.Integer(1), False)[name].size
    return 1 / float(size.subs(sizes_of(side.arch, side.width, side.inputs)))


def _named(side: Side, init: str, depth: int) -> dict[str, float]:
    """Return {group: std} of a named initialisation, sqrt(c/n_in), at this depth."""
    variances = variances_at(
        named(init), side.width, depth, float(side.arch.parameters.get("mlp_ratio") or 1)
    )
    numbers = {
        name: node.variance.name
        for name, node in side.arch.weights.items()
        if isinstance(node, Linear) and isinstance(node.variance, Number)
    }
    inside = {
        name: math.sqrt(variances[c]) / _fan(side, name)
        for name, c in numbers.items()
        if c in variances
    }
    return inside | {
        name: math.sqrt(variances[c])
        for name, c in STEM_VARIANCES.items()
        if name in side.arch.stem_parts and c in variances
    }


def _described(side: Side) -> dict[str, float]:
    """Return {group: std} that the description itself says, sqrt(C/n_in) in the first block and of
    the stem sqrt(C)."""
    matrices = {name: node for name, node in side.arch.weights.items() if isinstance(node, Linear)}
    tables = side.arch.number_tables
    inside = {
        name: math.sqrt(float(np.ravel(evaluate(node.variance, tables))[0])) / _fan(side, name)
        for name, node in matrices.items()
    }
    return inside | {
        name: math.sqrt(part.variance)
        for name, part in side.arch.stem_parts.items()
        if name in STEM_VARIANCES
    }

"""From the settings of a base model to those of a target: every setting times the ratio of its rule at the two sizes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sigprop.architecture import Architecture
from sigprop.errors import InputError, near_miss
from sigprop.plain import plain
from sigprop.prescription import Prescription
from sigprop.registry import entry
from sigprop.toml import load

MAY_DIFFER = (
    "depth", "loops", "mlp_ratio", "head_dim", "heads", "kv_heads", "vocabulary", "tokens", "words", "input_gram", "token_cosine", "model_width", "schedule",
    "reference_width",
)  # fmt: skip
"""Parameters in which base and target may differ beside width and inputs: sizes, and what is put in. Others say which function a network is."""
SIZES = ("width", "inputs")
"""Keys of base and target beside parameters of the architecture: n, and the inputs of a dense stem."""
NUMBERS = ("learning_rate", "weight_decay", "epsilon", "multiplier")
BASE = (*NUMBERS, "init")
"""Settings that the base's mapping or file may hold."""


@dataclass(frozen=True)
class Side:
    """Base or target: the architecture there, its width n, and inputs of a dense stem."""

    arch: Architecture
    width: int
    inputs: int | None

    @property
    def shown(self) -> dict[str, Any]:
        """Everything that was chosen, by name."""
        return {"width": self.width, **({"inputs": self.inputs} if self.inputs else {}), **self.arch.parameters}


def prescribe(
    name: str,
    *,
    base: Mapping[str, Any] | str | os.PathLike[str],
    target: Mapping[str, Any] | str | os.PathLike[str],
    optimizer: str = "adamw",
    s: float = 1,
    decay: str = "papers",
    parametrisation: str = "standard",
    learning_rate: float | Mapping[str, float] | None = None,
    weight_decay: float | Mapping[str, float] | None = None,
    epsilon: float | Mapping[str, float] | None = None,
    multiplier: float | Mapping[str, float] | None = None,
    init: str | Mapping[str, float] | None = None,
    base_carries_depth_factor: bool | None = None,
    **parameters: Any,
) -> Prescription:
    """setting_target = setting_base rule(target's sizes)/rule(base's sizes), group by group.

    name             a registered architecture; its description gives the rules (``sigprop.scaling.rates.rules``)
    base, target     {width, depth, loops, inputs, any parameter of the architecture}, or a TOML file of these; the base's may hold its settings too
    optimizer        sgd, adam or adamw; s, decay, parametrisation: as in ``rules``
    learning_rate, weight_decay, epsilon   the base's: a number, or {group: number}; what is not given is 1, so that values are ratios
    multiplier       the base's residual multiplier, or {group: number}
    init             the base's stds: a name of ``sigprop.initialisations``, or {group: std} (the architecture's own ``init``, on the command line
    --set init=NAME, says the base's stds too, and how they depend on depth)
    base_carries_depth_factor   whether the stds of the base's output matrices hold 1/sqrt(2 L) and the target's will hold its own; depth then counts
    once: the residual multiplier is residual_scale sqrt(2 L), or residual_scale where that does not depend on L, and rates follow. None: read off a
    named initialisation; stds that look like it must say (False: they are numbers that do not change with depth)
    parameters       of the architecture, for base and target

    Raises ``InputError``: unknown names, a width that is not whole heads or units, sizes that the rules do not cover (``rules``).
    Laws, tested: ratios are 1 where base is target; base to target to a third is base to the third.
    """
    given = {"learning_rate": learning_rate, "weight_decay": weight_decay, "epsilon": epsilon, "multiplier": multiplier, "init": init}
    options = {"optimizer": optimizer, "s": s, "decay": decay, "parametrisation": parametrisation}
    return prescribe_from(name, parameters, (base, target), given, options, base_carries_depth_factor)


def prescribe_from(
    name: str,
    parameters: Mapping[str, Any],
    both: tuple[Mapping[str, Any] | str | os.PathLike[str], Mapping[str, Any] | str | os.PathLike[str]],
    given: Mapping[str, Any],
    options: Mapping[str, Any],
    base_carries_depth_factor: bool | None = None,
) -> Prescription:
    """``prescribe`` with the architecture's parameters as a mapping, whatever their names are.

    both: (base, target); given: of ``BASE``, None where not given; options: optimizer, s, decay, parametrisation.
    """
    from sigprop.transfer import rows_of, settled

    own = {key: value for key, value in parameters.items() if key == "init"}  # the architecture's own: in ``given`` it is how the base was initialised
    shared = {key: value for key, value in parameters.items() if key not in own}
    sides, given, options = [_known(name, side, shared) for side in both], dict(given), dict(options)
    for key in BASE:
        if key in sides[1]:
            raise InputError(f"{key}={sides[1][key]!r} of the target; accepted: of the base, the target's is what is prescribed")
        written = sides[0].pop(key, None)
        given[key] = written if given.get(key) is None else given[key]
    if own and "model_width" not in sides[0]:
        own["model_width"] = sides[0].get("width")
    old, new = built(name, {**own, **sides[0]}), built(name, {**own, **sides[1]})
    check_alike(old, new)
    rules, carried = settled(old, new, options, given["init"], base_carries_depth_factor)
    rows, notes = rows_of(old, new, options, rules, carried, {key: _numbers(key, given[key], rules) for key in NUMBERS}, given["init"])
    one, other = old.shown, new.shown
    differ = [key for key in other if key in ("width", "depth", "loops") or one.get(key) != other[key]]
    shown = {**options, "base": {key: one.get(key) for key in differ}, "target": {key: other[key] for key in differ}}
    return Prescription(name, shown | {key: value for key, value in other.items() if key not in differ}, rows, "prescribe", None, notes, rules)


def check_alike(old: Side, new: Side) -> None:
    """Raise ``InputError`` where base and target are different functions: no rule carries settings from one to the other."""
    for name, value in new.arch.parameters.items():
        before = old.arch.parameters.get(name)
        if name not in MAY_DIFFER and plain(before) != plain(value):
            raise InputError(f"{name}: {plain(before)!r} in base, {plain(value)!r} in target; accepted: sides that differ in sizes alone")


def _known(name: str, given: Mapping[str, Any] | str | os.PathLike[str], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """One side's sizes, parameters and settings, every key known."""
    found = dict(parameters) | (dict(given) if isinstance(given, Mapping) else read(given))
    named = found.pop("architecture", name)
    if named != name:
        raise InputError(f"architecture={named!r} where {name!r} is prescribed for; accepted: the same")
    known = {*SIZES, *BASE, *entry(name).defaults}
    if "loops" in found and "loops" not in known and _whole("loops", found.pop("loops")) > 1:
        raise InputError(f"loops of {name}, whose blocks are not looped; accepted: 1")
    for key in found:
        if key not in known:
            raise InputError(f"{name} has no size or parameter {key!r}{near_miss(key, known)}")
    return found


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The keys of a TOML file; raises ``InputError``."""
    return load(path, repr(os.fspath(path)), "sizes such as width=256,depth=8, or a TOML file of them")


def built(name: str, sizes: Mapping[str, Any]) -> Side:
    """The architecture at these sizes; raises ``InputError`` where the width does not hold whole heads or units."""
    if "width" not in sizes:
        raise InputError("width: none given; accepted: an integer from 1 to 10^7, in base and in target")
    width, inputs = (None if sizes.get(key) is None else _whole(key, sizes[key]) for key in SIZES)
    if width is None:
        raise InputError("width=None; accepted: an integer from 1 to 10^7, in base and in target")
    arch = entry(name).build(**{key: value for key, value in sizes.items() if key not in SIZES})
    for scores in (node.scores for block in arch.sub_blocks for node in block.attention):
        heads = scores.heads if scores.scale == "linear" else None
        if heads and width % heads:
            raise InputError(f"width={width}: {heads} heads do not divide it; accepted: a multiple of heads={heads}")
        if heads is None and math.isfinite(scores.head_dim) and width % scores.head_dim:
            trouble = "narrower than one head" if width < scores.head_dim else "not whole heads"
            raise InputError(f"width={width}: {trouble}; accepted: a multiple of head_dim={scores.head_dim:g}")
    for group, node in arch.weights.items():
        if (node.rows * width).denominator != 1:
            raise InputError(f"width={width}: {group!r} would have {float(node.rows * width):g} rows; accepted: a multiple of {node.rows.denominator}")
    return Side(arch, width, inputs)


def _whole(key: str, value: Any) -> int:
    try:
        number = float(value)
        if isinstance(value, bool) or not number.is_integer() or not 1 <= number <= 10**7:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{key}={value!r}; accepted: an integer from 1 to 10^7") from None
    return int(number)


def _numbers(key: str, given: Any, rules: Mapping[str, Any]) -> dict[str, float]:
    """The base's setting of every group it was given for."""
    if given is None:
        return {}
    groups = [name for name, rule in rules.items() if getattr(rule, key) is not None]
    if not isinstance(given, Mapping):
        given = dict.fromkeys(["residual"] if key == "multiplier" else groups, given)
    return {name: positive(f"{key} of {name}", value) for name, value in given.items() if known_group(key, name, groups)}


def known_group(key: str, name: str, groups: list[str]) -> bool:
    """Whether the group has such a setting; raises ``InputError`` otherwise."""
    if name not in groups:
        raise InputError(f"{key}: no such setting for group {name!r}{near_miss(name, groups)}")
    return True


def positive(key: str, value: Any) -> float:
    """A finite number above 0 (weight decay and epsilon: from 0); raises ``InputError``."""
    least = 0.0 if key.startswith(("weight_decay", "epsilon", "init")) else math.ulp(0.0)
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not least <= number < math.inf:
        raise InputError(f"{key}={value!r}; accepted: a number {'from' if least == 0 else 'above'} 0")
    return number

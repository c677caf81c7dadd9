"""From the settings of a base model to those of a target: every setting times the ratio of its
rule at the two sizes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from sigprop.architectures import entry
from sigprop.errors import InputError, near_miss
from sigprop.prescriptions.prescription import Prescription
from sigprop.prescriptions.sides import SIZES, Side, _whole, built, known_group, positive
from sigprop.registry.toml import load
from sigprop.tables.plain import plain

MAY_DIFFER = (
    "depth",
    "loops",
    "mlp_ratio",
    "head_dim",
    "heads",
    "kv_heads",
    "vocabulary",
    "tokens",
    "words",
    "input_gram",
    "token_cosine",
    "model_width",
    "schedule",
    "reference_width",
)
"""Parameters in which base and target may differ beside width and inputs: sizes, and what is put
in. Others say which function a network is."""
NUMBERS = ("learning_rate", "weight_decay", "epsilon", "multiplier")
BASE = (*NUMBERS, "init")
"""Settings that the base's mapping or file may hold."""


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

    name             a registered architecture; its description gives the rules
                     (``sigprop.scaling.rates.rules``)
    base, target     {width, depth, loops, inputs, any parameter of the architecture}, or a TOML
                     file of these; the base's may hold its settings too
    optimizer        sgd, adam or adamw; s, decay, parametrisation: as in ``rules``
    learning_rate, weight_decay, epsilon   the base's: a number, or {group: number}; what is not
                                           given is 1, so that values are ratios
    multiplier       the base's residual multiplier, or {group: number}
    init             the base's stds: a name of ``sigprop.blocks.variances``, or {group: std} (the
                     architecture's own ``init``, on the command line --set init=NAME, says the
                     base's stds too, and how they depend on depth)
    base_carries_depth_factor   whether the stds of the base's output matrices hold 1/sqrt(2 L) and
                                the target's will hold its own; depth then counts once: the residual
                                multiplier is residual_scale sqrt(2 L), or residual_scale where that
                                does not depend on L, and rates follow. None: read off a named
                                initialisation; stds that look like it must say (False: they are
                                numbers that do not change with depth)
    parameters       of the architecture, for base and target

    Raises ``InputError``: unknown names, a width that is not whole heads or units, sizes that the
    rules do not cover (``rules``). Laws, tested: ratios are 1 where base is target; base to target
    to a third is base to the third.
    """
    given = {
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "epsilon": epsilon,
        "multiplier": multiplier,
        "init": init,
    }
    options = {"optimizer": optimizer, "s": s, "decay": decay, "parametrisation": parametrisation}
    return prescribe_from(
        name, parameters, (base, target), given, options, base_carries_depth_factor
    )


def prescribe_from(
    name: str,
    parameters: Mapping[str, Any],
    both: tuple[
        Mapping[str, Any] | str | os.PathLike[str], Mapping[str, Any] | str | os.PathLike[str]
    ],
    given: Mapping[str, Any],
    options: Mapping[str, Any],
    base_carries_depth_factor: bool | None = None,
) -> Prescription:
    """``prescribe`` with the architecture's parameters as a mapping, whatever their names are.

    both: (base, target); given: of ``BASE``, None where not given; options: optimizer, s, decay,
    parametrisation.
    """
    from sigprop.prescriptions.transfer import rows_of, settled

    # the architecture's own: in ``given`` it is how the base was initialised
    own = {key: value for key, value in parameters.items() if key == "init"}
    shared = {key: value for key, value in parameters.items() if key not in own}
    sides, given, options = (
        [_known(name, side, shared) for side in both],
        dict(given),
        dict(options),
    )
    for key in BASE:
        if key in sides[1]:
            raise InputError(
                f"{key}={sides[1][key]!r} of the target; accepted: of the base, the target's is "
                f"what is prescribed"
            )
        written = sides[0].pop(key, None)
        given[key] = written if given.get(key) is None else given[key]
    if own and "model_width" not in sides[0]:
        own["model_width"] = sides[0].get("width")
    old, new = built(name, {**own, **sides[0]}), built(name, {**own, **sides[1]})
    check_alike(old, new)
    rules, carried = settled(old, new, options, given["init"], base_carries_depth_factor)
    rows, notes = rows_of(
        old,
        new,
        options,
        rules,
        carried,
        {key: _numbers(key, given[key], rules) for key in NUMBERS},
        given["init"],
    )
    one, other = old.shown, new.shown
    differ = [
        key for key in other if key in ("width", "depth", "loops") or one.get(key) != other[key]
    ]
    shown = {
        **options,
        "base": {key: one.get(key) for key in differ},
        "target": {key: other[key] for key in differ},
    }
    return Prescription(
        name,
        shown | {key: value for key, value in other.items() if key not in differ},
        rows,
        "prescribe",
        None,
        notes,
        rules,
    )


def check_alike(old: Side, new: Side) -> None:
    """Raise ``InputError`` where base and target are different functions: no rule carries
    settings from one to the other."""
    for name, value in new.arch.parameters.items():
        before = old.arch.parameters.get(name)
        if name not in MAY_DIFFER and plain(before) != plain(value):
            raise InputError(
                f"{name}: {plain(before)!r} in base, {plain(value)!r} in target; accepted: sides "
                f"that differ in sizes alone"
            )


def _known(
    name: str, given: Mapping[str, Any] | str | os.PathLike[str], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """One side's sizes, parameters and settings, every key known."""
    found = dict(parameters) | (dict(given) if isinstance(given, Mapping) else read(given))
    named = found.pop("architecture", name)
    if named != name:
        raise InputError(
            f"architecture={named!r} where {name!r} is prescribed for; accepted: the same"
        )
    known = {*SIZES, *BASE, *entry(name).defaults}
    if "loops" in found and "loops" not in known and _whole("loops", found.pop("loops")) > 1:
        raise InputError(f"loops of {name}, whose blocks are not looped; accepted: 1")
    for key in found:
        if key not in known:
            raise InputError(f"{name} has no size or parameter {key!r}{near_miss(key, known)}")
    return found


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The keys of a TOML file; raises ``InputError``."""
    return load(
        path, repr(os.fspath(path)), "sizes such as width=256,depth=8, or a TOML file of them"
    )


def _numbers(key: str, given: Any, rules: Mapping[str, Any]) -> dict[str, float]:
    """The base's setting of every group it was given for."""
    if given is None:
        return {}
    groups = [name for name, rule in rules.items() if getattr(rule, key) is not None]
    if not isinstance(given, Mapping):
        given = dict.fromkeys(["residual"] if key == "multiplier" else groups, given)
    return {
        name: positive(f"{key} of {name}", value)
        for name, value in given.items()
        if known_group(key, name, groups)
    }

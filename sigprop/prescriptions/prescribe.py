"""From the settings of a base model to those of a target: every setting times the ratio of its
rule at the two sizes.

The stds of the base's output matrices may hold 1/sqrt(2 L), and the target's will then hold its own
(``base_carries_depth_factor``): depth counts once, the residual multiplier is residual_scale
sqrt(2 L), or residual_scale where that does not depend on L, and rates follow. None: read off a
named initialisation; stds that look like it must say (False: they are numbers that do not change
with depth). The architecture's own ``init``, on the command line --set init=NAME, says the base's
stds too, and how they depend on depth.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from sigprop.architectures import entry
from sigprop.errors import InputError, near_miss, short
from sigprop.prescriptions.prescription import Prescription
from sigprop.prescriptions.sides import SIZES, Side, built, has_setting, positive, whole
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
Given = Mapping[str, Any] | str | os.PathLike[str]
"""A side's sizes, parameters and settings, or a TOML file of them."""


def prescribe(
    name: str,
    *,
    base: Given,
    target: Given,
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
    shape_factor: str | None = None,
    **parameters: Any,
) -> Prescription:
    """Return setting_target = setting_base rule(target's sizes)/rule(base's sizes), group by group.

    name: a registered architecture, whose description gives the rules
    (``sigprop.scaling.rates.rules``); base, target: {width, depth, loops, inputs, any parameter of
    the architecture}, or a TOML file of these (the base's may hold its settings too); optimizer:
    sgd, adam, adamw or muon (matrices in branches; the rest by AdamW); s, decay, parametrisation,
    shape_factor (of muon): as in ``rules``; learning_rate, weight_decay, epsilon, multiplier: the
    base's, a number (multiplier: of residual branches) or {group: number}, of muon also {"muon":
    number, "adamw": number}; what is not given is 1, so that values are ratios; init: the base's
    stds, a name of ``sigprop.blocks.variances`` or {group: std}; base_carries_depth_factor: whether
    the stds of output matrices hold 1/sqrt(2 L); parameters: of the architecture, of both sides.

    Raises ``InputError``: unknown names, a width of no whole heads or units, sizes that ``rules``
    do not cover. Laws, tested: ratios are 1 where base is target; base to target to a third is base
    to the third.
    """
    return prescribe_from(
        name,
        parameters,
        (base, target),
        dict(zip(BASE, (learning_rate, weight_decay, epsilon, multiplier, init), strict=True)),
        options=dict(
            optimizer=optimizer,
            s=s,
            decay=decay,
            parametrisation=parametrisation,
            shape_factor=shape_factor,
        ),
        base_carries_depth_factor=base_carries_depth_factor,
    )


def prescribe_from(
    name: str,
    parameters: Mapping[str, Any],
    both: tuple[Given, Given],
    given: Mapping[str, Any],
    *,
    options: Mapping[str, Any],
    base_carries_depth_factor: bool | None = None,
) -> Prescription:
    """Do as ``prescribe`` with the architecture's parameters as a mapping, whatever their names
    are.

    both: (base, target); given: of ``BASE``, None where not given; options: optimizer, s, decay,
    parametrisation, shape_factor (None where there is none).
    """
    from sigprop.prescriptions.transfer import notes_of, rows_of, transfer

    _check_name(name)
    options = _with_factor(options)
    # the architecture's own init: in ``given`` it is how the base was initialised
    shared = {key: value for key, value in parameters.items() if key != "init"}
    base, target = (_checked_keys(name, side, shared) for side in both)
    settings = _base_settings(base, target, given)
    described = {key: value for key, value in parameters.items() if key == "init"}
    if described and "model_width" not in base:
        described["model_width"] = base.get("width")
    old, new = (built(name, {**described, **sizes}) for sizes in (base, target))
    check_alike(old, new)
    init = settings["init"]
    moved = transfer(old, new, dict(options), init=init, carries=base_carries_depth_factor)
    numbers = {key: _numbers(key, settings[key], moved.rules) for key in NUMBERS}
    rows, notes = rows_of(moved, numbers, init), notes_of(moved)
    shown = {**options, **_shown(old, new)}
    return Prescription(name, shown, rows, "prescribe", None, notes, moved.rules)


def _check_name(name: object) -> None:
    """Raise ``InputError`` for an architecture, or its builder: parameters are by name."""
    if not isinstance(name, str):
        raise InputError(
            f"name={short(repr(name))}; accepted: the name of a registered architecture, whose "
            f"parameters base and target say (one of your own: sigprop.register)"
        )


def _with_factor(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options, Muon's shape factor named and nobody else's."""
    from sigprop.scaling.rates import checked_factor

    kept = {key: value for key, value in options.items() if key != "shape_factor"}
    factor = checked_factor(kept["optimizer"], options.get("shape_factor"))
    return kept | ({"shape_factor": factor} if kept["optimizer"] == "muon" else {})


def _base_settings(
    base: dict[str, Any], target: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Take the base's settings out of its mapping; those that were given apart win. Raises
    ``InputError`` for settings of the target."""
    settings = dict(given)
    for key in BASE:
        if key in target:
            raise InputError(
                f"{key}={target[key]!r} of the target; accepted: of the base, the target's is "
                f"what is prescribed"
            )
        written = base.pop(key, None)
        settings[key] = written if settings.get(key) is None else settings[key]
    return settings


def _shown(old: Side, new: Side) -> dict[str, Any]:
    """Return {base, target: what differs, and all sizes}, then what both have."""
    before, after = old.shown, new.shown
    differ = [
        key for key in after if key in ("width", "depth", "loops") or before.get(key) != after[key]
    ]
    return {
        "base": {key: before.get(key) for key in differ},
        "target": {key: after[key] for key in differ},
        **{key: value for key, value in after.items() if key not in differ},
    }


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


def _checked_keys(name: str, side: Given, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return one side's sizes, parameters and settings; raise ``InputError`` for a key that there
    is not."""
    values = dict(parameters) | (dict(side) if isinstance(side, Mapping) else read(side))
    named = values.pop("architecture", name)
    if named != name:
        raise InputError(
            f"architecture={named!r} where {name!r} is prescribed for; accepted: the same"
        )
    accepted = {*SIZES, *BASE, *entry(name).defaults}
    if "loops" in values and "loops" not in accepted and whole("loops", values.pop("loops")) > 1:
        raise InputError(f"loops of {name}, whose blocks are not looped; accepted: 1")
    for key in values:
        if key not in accepted:
            raise InputError(f"{name} has no size or parameter {key!r}{near_miss(key, accepted)}")
    return values


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the keys of a TOML file; raises ``InputError``."""
    return load(
        path, repr(os.fspath(path)), "sizes such as width=256,depth=8, or a TOML file of them"
    )


def _numbers(key: str, given: Any, rules: Mapping[str, Any]) -> dict[str, float]:
    """Return the base's setting of every group it was given for."""
    if given is None:
        return {}
    groups = [name for name, rule in rules.items() if getattr(rule, key) is not None]
    if not isinstance(given, Mapping):
        given = dict.fromkeys(["residual"] if key == "multiplier" else groups, given)
    return {
        name: positive(f"{key} of {name}", value)
        for name, value in _each_group(key, given, rules).items()
        if has_setting(key, name, groups)
    }


def _each_group(key: str, given: Mapping[str, Any], rules: Mapping[str, Any]) -> dict[str, Any]:
    """Return {group: number}, muon and adamw written out to the groups that each trains where
    both train some; a group's own number wins."""
    trained: dict[str, list[str]] = {}
    for name, rule in rules.items():
        if rule.learning_rate is not None:
            trained.setdefault("adamw" if rule.muon is None else "muon", []).append(name)
    if "muon" not in trained or key == "multiplier":
        return dict(given)
    several = {name: given[label] for label in trained if label in given for name in trained[label]}
    return several | {name: value for name, value in given.items() if name not in trained}

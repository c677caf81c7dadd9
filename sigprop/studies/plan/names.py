"""Whose a name is: an architecture's parameter, or a command's option; and what its value is at a
cell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from sigprop.architectures import entry
from sigprop.description.architecture import Architecture
from sigprop.errors import InputError, near_miss
from sigprop.language.grammar import parse
from sigprop.reading.named import names_a_model
from sigprop.registry.entries import Entry
from sigprop.studies.plan.commands import THEORY, Command
from sigprop.studies.plan.expressions import number

NUMBERS = re.compile(r"(?:int|float)(?: \| None)?")
"""Annotations of options that are one number."""


class Named(NamedTuple):
    """What a study fixes: an architecture (None: cells say it), its parameters, options; described:
    architectures that no registered name says."""

    architecture: Any
    parameters: dict[str, Any]
    options: dict[str, Any]
    described: Mapping[str, Architecture]


def resolve(
    fixed: Named, here: Mapping[str, Any], command: Command
) -> tuple[dict[str, Any], str, dict[str, Any], dict[str, Any]]:
    """Return a cell: what it varies, its architecture, its parameters and its options, expressions
    as their numbers.

    here: the values that the cell varies, by name. Raises ``InputError`` for an architecture that
    is none, a name that neither has, one that both have, one that is fixed and varied.
    """
    given = dict(here)
    name = given.pop("architecture", fixed.architecture)
    own = isinstance(name, str) and name in fixed.described
    known = None if own else _known(name)
    found = fixed._replace(
        architecture=name, parameters=dict(fixed.parameters), options=dict(fixed.options)
    )
    shown: dict[str, Any] = {"architecture": name} if "architecture" in here else {}
    places: dict[str, tuple[dict[str, Any], str]] = {}
    for key, value in given.items():
        of_command, bare = _whose(key, known, command)
        if own and not of_command:
            raise _no_parameter(name, bare, command)
        place = found.options if of_command else found.parameters
        if bare in place:
            raise InputError(f"{bare} is fixed and varied; accepted: one of them")
        if of_command and bare == THEORY:
            raise InputError(f"{bare} is varied; accepted: once for all cells, in [options]")
        place[bare] = value
        places[bare if bare not in shown else key] = place, bare
    for parameter in found.parameters if own else ():
        raise _no_parameter(name, parameter, command)
    for option in found.options:
        command.check(option)
    _evaluate(found, known, command)
    shown |= {key: place[bare] for key, (place, bare) in places.items()}
    return shown, found.architecture, found.parameters, found.options


def _no_parameter(name: object, parameter: str, command: Command) -> InputError:
    """Return the refusal of a parameter of an architecture that was given as an object."""
    return InputError(
        f"{parameter!r}: {name} is an architecture as it stands, without parameters, and "
        f"{command.name} has no such option{near_miss(parameter, command.options)}"
    )


def _known(name: Any) -> Entry | None:
    """Return a registered architecture's entry; None of what names a model."""
    if not isinstance(name, str):
        raise InputError(
            f"architecture={name!r}; accepted: a name (sigprop list), here or a cell's"
        )
    return None if names_a_model(name) else entry(name)


def _whose(key: str, known: Entry | None, command: Command) -> tuple[bool, str]:
    """Return whether a name is the command's, and the name alone."""
    section, dot, bare = key.partition(".")
    if dot and section in ("options", "parameters"):
        return section == "options", bare
    of_command = key in command.options
    of_architecture = known is None or key in known.defaults
    if known is not None and of_command and of_architecture:
        raise InputError(
            f"{key} is a parameter of {known.name} and an option of {command.name}; accepted: "
            f"parameters.{key} or options.{key}"
        )
    if not of_command and not of_architecture:
        assert known is not None
        every = (*known.defaults, *command.options)
        raise InputError(
            f"{key!r} is no parameter of {known.name} and no option of {command.name}"
            f"{near_miss(key, every)}"
        )
    return of_command, key


def _evaluate(found: Named, known: Entry | None, command: Command) -> None:
    """Put the numbers of expressions in their places; raises ``InputError`` for one that has
    none."""
    if known is not None:
        for name in found.parameters:
            if name not in known.defaults:
                raise InputError(
                    f"{known.name} has no parameter {name!r}{near_miss(name, known.defaults)}"
                )
    for own, of in ((found.parameters, known), (found.options, command)):
        own |= {name: _read(value) for name, value in own.items() if _is_text(of, name, value)}
    pending = [
        (own, name)
        for own, of in ((found.parameters, known), (found.options, command))
        for name, value in own.items()
        if of is not None and isinstance(value, str) and _is_expression(of, name, value)
    ]
    while pending:
        defaults = known.defaults if known is not None else {}
        at = {**command.options, **found.options, **defaults, **found.parameters}
        left, trouble = [], None
        for own, name in pending:
            try:
                own[name] = number(own[name], name, at)
            except InputError as error:
                trouble = error
                left.append((own, name))
        if trouble is not None and len(left) == len(pending):
            raise trouble
        pending = left


def _is_text(of: Entry | Command | None, name: str, value: Any) -> bool:
    """Tell if a number is written as text."""
    if not isinstance(value, str) or not _is_number(value) or of is None:
        return False
    if isinstance(of, Command):
        return NUMBERS.fullmatch(of.annotations.get(name, "")) is not None
    return of.parameters[name].type in (int, float)


def _read(text: str) -> int | float:
    """Return the number that text is."""
    value = float(text)
    return int(value) if value.is_integer() else value


def _is_expression(of: Entry | Command, name: str, text: str) -> bool:
    """Tell if text stands for a number that has to be worked out here."""
    if _is_number(text):
        return False
    if isinstance(of, Command):
        return NUMBERS.fullmatch(of.annotations.get(name, "")) is not None
    kinds = getattr(of.parameters[name].type, "__args__", (of.parameters[name].type,))
    if int not in kinds and float not in kinds:
        return False
    if str not in kinds:
        return text != "none"
    try:  # a formula of the architecture's own sizes stays one
        parse(text, name)
    except InputError:
        return True
    return False


def _is_number(text: str) -> bool:
    """Tell if text is a plain number."""
    try:
        float(text)
    except ValueError:
        return False
    return True

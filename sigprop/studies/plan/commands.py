"""The commands that a study can run, what each takes, and a unit's run: what ``sp.NAME`` returns,
as plain rows."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from sigprop.description.applications import numbered
from sigprop.description.architecture import Architecture
from sigprop.description.rows import askable
from sigprop.description.shapes import Row
from sigprop.errors import InputError, NoRule, near_miss
from sigprop.tables.table import Table

NO_OPTIONS = ("arch", "progress", "kept", "theory", "family")
"""Arguments that are no option of a study: objects, and what the study gives."""
THEORY = "theory"
"""Of a study of measurements: whether each row has what theory says of it beside it."""
TUPLES = ("quantities", "applications", "variables", "sizes", "steps")


@dataclass(frozen=True)
class Command:
    """Hold one command: what imports its function, which is seconds for all of them, and whether
    its units accumulate networks."""

    name: str
    load: Callable[[], Callable[..., Any]]
    accumulates: bool = False

    @functools.cached_property
    def function(self) -> Callable[..., Any]:
        """Return the function that a unit calls."""
        return self.load()

    @functools.cached_property
    def options(self) -> dict[str, Any]:
        """Return what the command takes, with defaults."""
        found = {
            name: parameter.default
            for name, parameter in inspect.signature(self.function).parameters.items()
            if name not in NO_OPTIONS
        }
        return found | ({THEORY: True} if self.accumulates else {})

    @functools.cached_property
    def annotations(self) -> dict[str, str]:
        """Return what each option is, as the function says it."""
        found = inspect.signature(self.function).parameters
        return {name: str(found[name].annotation) for name in self.options if name in found}

    def check(self, name: str) -> None:
        """Raise ``InputError`` for an option that the command has not."""
        if name not in self.options:
            raise InputError(f"{self.name} has no option {name!r}{near_miss(name, self.options)}")


def _predict() -> Callable[..., Any]:
    from sigprop.theory.predictions.predict import predict

    return predict


def _measured() -> Callable[..., Any]:
    from sigprop.agreement.finite_width.measuring import measured

    return measured


def _verify() -> Callable[..., Any]:
    from sigprop.agreement.verify import verify

    return verify


def _exponents() -> Callable[..., Any]:
    from sigprop.theory.exponents.table import exponents

    return exponents


def _check() -> Callable[..., Any]:
    from sigprop.coordinate_check.check import check

    return check


COMMANDS = {
    command.name: command
    for command in (
        Command("predict", _predict),
        Command("measure", _measured, accumulates=True),
        Command("verify", _verify),
        Command("exponents", _exponents),
        Command("check", _check),
    )
}


def command(name: object) -> Command:
    """Return the command of that name; raises ``InputError`` with the nearest there is."""
    if not isinstance(name, str) or name not in COMMANDS:
        raise InputError(f"command={name!r}{near_miss(str(name), COMMANDS)}")
    return COMMANDS[name]


def performed(
    name: str, arch: Architecture, options: Mapping[str, Any], kept: Mapping[str, Any] | None
) -> tuple[Table, dict[str, Any] | None]:
    """Run a command on an architecture; return its table, and the moments that a larger
    measurement continues from.

    options: of the command, as plain data; kept: the moments of an earlier, smaller measurement.
    Raises what the command raises.
    """
    asked = {key: option(key, value, arch) for key, value in options.items() if key != THEORY}
    if not COMMANDS[name].accumulates:
        return COMMANDS[name].function(arch, **asked), None
    from sigprop.simulations.engines.moments import Moments

    before = None if kept is None else Moments.from_dict(kept)
    table, moments = COMMANDS[name].function(arch, **asked, kept=before)
    if options.get(THEORY, True):
        _put_theory(table, arch)
    return table, moments.to_dict()


def option(name: str, value: Any, arch: Architecture) -> Any:
    """Return an option as the function takes it: lists as tuples, applications as numbers."""
    if name == "applications" and isinstance(value, str):
        return numbered(value, arch.depth)
    if name in TUPLES and isinstance(value, str):
        return (value,)
    return tuple(value) if name in TUPLES and value is not None else value


def _put_theory(table: Table, arch: Architecture) -> None:
    """Write beside every measured row what theory says of it; None where it has no value."""
    predict = COMMANDS["predict"].function
    keys = tuple(key.name for key in fields(Row))
    there = askable(arch)
    names = [name for name in dict.fromkeys(row["quantity"] for row in table) if name in there]
    at = {
        row[key]
        for row in table
        for key in ("application", "application_2")
        if row.get(key) is not None
    }
    known: dict[tuple[Any, ...], Any] = {}
    for asked in (names, *([name] for name in names)):  # one that has no rule hides no other
        if not asked or (asked != names and len(names) == 1):
            continue
        try:
            found = predict(arch, asked, tuple(sorted(at)) or None)
        except (InputError, NoRule):
            continue
        known |= {tuple(row.get(key) for key in keys): row for row in found}
        if asked == names:
            break
    for row in table.rows:
        said = known.get(tuple(row.get(key) for key in keys), {})
        row |= {"theory": said.get("value"), "theory_error": said.get("error")}

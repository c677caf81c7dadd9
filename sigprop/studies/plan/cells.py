"""The cells of a study: the product of its grid, its list, its sample and its seeds, each with
every parameter and option that it has."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sigprop.description.architecture import Architecture
from sigprop.errors import InputError, short
from sigprop.studies.plan.commands import Command
from sigprop.studies.plan.expressions import is_range, spread
from sigprop.studies.plan.names import Named, resolve
from sigprop.studies.plan.samples import points

MOST = 10**6  # cells of a study


@dataclass(frozen=True)
class Cell:
    """Hold what one unit runs.

    varied: what tells it from others, as results show it; architecture: a registered name, or what
    the command line takes for one; parameters, options: everything that is not a default.
    """

    varied: Mapping[str, Any]
    architecture: str
    parameters: Mapping[str, Any]
    options: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "varied": dict(self.varied),
            "architecture": self.architecture,
            "parameters": dict(self.parameters),
            "options": dict(self.options),
        }

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.varied.items()) or "the cell"


def cells(
    document: Mapping[str, Any], command: Command, described: Mapping[str, Architecture]
) -> list[Cell]:
    """Return a study's cells in their order: the list's entries outermost, then the sample's, then
    the grid's with its last parameter fastest, seeds innermost.

    document: of ``document.checked``; described: architectures that no name says. Raises
    ``InputError`` for an empty grid, a parameter that two sections have, a cell that occurs twice,
    a name that is no parameter and no option.
    """
    axes = {
        "list": _list(document.get("list")),
        "random": _sample("random", document),
        "sobol": _sample("sobol", document),
        "grid": _grid(document.get("grid")),
        "seeds": _seeds(document.get("seeds"), command),
    }
    _check_apart(axes)
    _check_count(math.prod(map(len, axes.values())))
    fixed = Named(
        architecture=document.get("architecture"),
        parameters=dict(document.get("parameters", {})),
        options=dict(document.get("options", {})),
        described=described,
    )
    found = [
        Cell(*resolve(fixed, _joined(entries), command))
        for entries in itertools.product(*axes.values())
    ]
    _check_once(found)
    return found


def _check_count(count: int) -> None:
    """Raise ``InputError`` for more cells than a study may have."""
    if count > MOST:
        raise InputError(f"study: {count} cells; accepted: at most 10^6")


def _joined(entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the values of all sections at a cell."""
    return {name: value for entry in entries for name, value in entry.items()}


def dotted(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section's values by name: options.readout is the command's where an architecture has
    a parameter of that name, parameters.readout the architecture's."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name in ("options", "parameters") and isinstance(value, Mapping):
            found |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            found[name] = value
    return found


def _grid(given: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the grid's cells; one of nothing where there is none."""
    if given is None:
        return [{}]
    axes = {name: list(_axis(f"grid.{name}", value)) for name, value in dotted(given).items()}
    if not axes:
        raise InputError("grid: empty; accepted: a list a parameter, such as depth = [4, 8]")
    _check_count(math.prod(map(len, axes.values())))
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _axis(name: str, value: Any) -> Sequence[Any]:
    """Return the values of one axis; raises ``InputError`` where there are none."""
    if is_range(value):
        return spread(name, value)
    if not isinstance(value, list) or not value:
        raise InputError(
            f"{name}={short(value)}; accepted: a list that is not empty, or a range such as 1..5 "
            f"or 4..64 times 2"
        )
    return value


def _list(given: Any) -> list[dict[str, Any]]:
    """Return the list's entries; one of nothing where there is none."""
    if given is None:
        return [{}]
    if not isinstance(given, list) or not given or not all(isinstance(e, Mapping) for e in given):
        raise InputError(f"list={short(given)}; accepted: tables, [[list]] each, at least one")
    return [dotted(entry) for entry in given]


def _sample(section: str, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the points of a sample; one of nothing where there is none."""
    given = document.get(section)
    return [{}] if given is None else points(section, dotted(given))


def _seeds(given: Any, command: Command) -> list[dict[str, Any]]:
    """Return a seed a cell: so many from 0, or those that are listed."""
    if given is None:
        return [{}]
    if "seed" not in command.options:
        raise InputError(
            f"seeds={short(given)} of {command.name}, which draws nothing; accepted: none"
        )
    if isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= MOST:
        return [{"options.seed": seed} for seed in range(given)]
    if is_range(given):
        given = spread("seeds", given)
    seeds = given if isinstance(given, list) else []
    if not seeds or not all(type(seed) is int for seed in seeds):
        raise InputError(f"seeds={short(given)}; accepted: how many, from 1, or a list of them")
    return [{"options.seed": seed} for seed in seeds]


def _check_apart(axes: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Raise ``InputError`` for a parameter that two sections vary."""
    at: dict[str, str] = {}
    for section, entries in axes.items():
        for name in dict.fromkeys(key for entry in entries for key in entry):
            bare = name.removeprefix("options.").removeprefix("parameters.")
            if at.setdefault(bare, section) != section:
                raise InputError(
                    f"{bare} stands in {at[bare]} and in {section}; accepted: one of them"
                )


def _check_once(found: Sequence[Cell]) -> None:
    """Raise ``InputError`` for a cell that occurs twice."""
    seen: dict[str, Cell] = {}
    for cell in found:
        text = json.dumps([cell.architecture, cell.parameters, cell.options], sort_keys=True)
        if text in seen:
            raise InputError(f"the cell {cell} occurs twice; accepted: each once")
        seen[text] = cell

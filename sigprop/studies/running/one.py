"""One unit run: its table as plain rows, or the line that says why there is none."""

from __future__ import annotations

import time
from collections.abc import Mapping

from sigprop.description.architecture import Architecture
from sigprop.errors import InputError, line_of
from sigprop.reading.named import built
from sigprop.studies.plan.commands import performed
from sigprop.studies.plan.units import machine, source, versions
from sigprop.studies.store.queue import Outcome
from sigprop.studies.store.store import Unit
from sigprop.tables.plain import plain


def run(command: str, unit: Unit, described: Mapping[str, Architecture]) -> Outcome:
    """Run one unit and return what came of it; nothing that the unit raises goes further.

    described: architectures that cells call by a name of theirs.
    """
    started = time.monotonic()
    try:
        outcome = _done(command, unit, described)
    except Exception as error:
        line = line_of(error) or f"an error of ours: {type(error).__name__}: {error}"
        outcome = Outcome(failed=" ".join(line.split()))
    seconds = round(time.monotonic() - started, 4)
    return outcome._replace(
        seconds=seconds, machine=machine(), ended=Outcome.now(), samples=unit.samples
    )


def _done(command: str, unit: Unit, described: Mapping[str, Architecture]) -> Outcome:
    """Return a unit's rows; raises what the command raises."""
    cell, name = unit.cell, unit.cell["architecture"]
    arch = described[name] if name in described else built(name, cell["parameters"])
    options = dict(cell["options"])
    if unit.samples is not None:
        options["samples"] = unit.samples
    table, moments = performed(command, arch, options, unit.kept)
    said = table.to_dict()
    notes = {
        key: value
        for key, value in said.items()
        if key not in ("architecture", "parameters", "rows", "verdict")
    }
    return Outcome(said["rows"], plain(notes), table.verdict, moments)


def identity() -> str:
    """Return what numbers of this process come from, in a line."""
    platform = machine().partition(":")[0]
    return f"sources {source()}, jax {versions()['jax']}, {platform}"


def check_same(expected: str) -> None:
    """Raise ``InputError`` where numbers of this process come from elsewhere than a study's."""
    if identity() != expected:
        raise InputError(f"a worker has {identity()}; accepted: those of the study, {expected}")

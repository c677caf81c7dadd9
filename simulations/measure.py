"""``measure``: the table of finite networks, every number with its standard error."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

from sigprop.description.architecture import Architecture
from sigprop.description.quantities import QUANTITIES
from sigprop.description.rows import require_rows, select
from sigprop.description.shapes import Row
from sigprop.errors import InputError
from sigprop.simulations.engines.controlled import check_control, controlled
from sigprop.simulations.engines.monte_carlo import engine_for, moments
from sigprop.simulations.network.precision import BEYOND, SINGLE
from sigprop.simulations.network.twin import Twin
from sigprop.tables.table import Table

SHOWN = {"value": "mean", "se": "error"}
CONTROLLED = ("se_of_control", "variance_ratio")
LEAST = {"width": 1, "samples": 2, "seed": 0, "memory_mib": 1}


def check_sizes(**given: int | None) -> None:
    """Raise ``InputError`` for a width, samples, seed or memory_mib that is not a whole number
    in range."""
    for name, value in given.items():
        if value is None:
            continue
        if (
            isinstance(value, bool)
            or not isinstance(value, numbers.Integral)
            or not LEAST[name] <= value < 2**32
        ):
            raise InputError(
                f"{name}={value}; accepted: an integer from {LEAST[name]} to {2**32 - 1}"
            )


def measure(
    arch: Architecture,
    *,
    width: int = 256,
    samples: int = 512,
    seed: int = 0,
    engine: str = "auto",
    dtype: str = SINGLE,
    quantities: Sequence[str] | None = None,
    applications: Sequence[int] | None = None,
    memory_mib: int = 1024,
    control: Twin | None = None,
    progress: Any = None,
) -> Table:
    """Mean and standard error, over ``samples`` independent networks of width n, of every selected
    row.

    arch: the description; width: n; samples: networks (>= 2); seed: 0 to 2^32 - 1, with the
    description and the sample's index it fixes every random number, whatever the chunking or device
    count; engine: 'dense', 'matrix-free' (docs/matrix-free.md) or 'auto', the cheaper one; dtype:
    'float32' or 'float64', the precision of the networks, which are the same ones in both;
    quantities, applications: see ``rows.select``; memory_mib: ceiling for a chunk; control: a twin
    of these networks, whose deviations are taken off (``network.twin``): the mean is the same, its
    error smaller, and rows gain se_of_control, the part of the error that is the twin's own mean,
    and variance_ratio, by how much a network's variance is smaller; progress: an object with start
    and advance.

    A network that overflows is not averaged away: rows at and after its application (and everything
    backward) have value null and the table's note says at which application. Raises ``InputError``.
    """
    check_sizes(width=width, samples=samples, seed=seed, memory_mib=memory_mib)
    rows = select(arch, quantities, applications)
    require_rows(arch, quantities, rows)
    if control is not None:
        check_control(arch, rows, control)
    runner = engine_for(engine, arch, rows, width, memory_mib, dtype=dtype, twin=control)
    if progress is not None:
        progress.start(samples, f"width {width}")
    advance = progress.advance if progress is not None else None
    measured = moments(runner, samples, seed, advance)
    if control is not None:
        measured = controlled(runner, measured, seed)
    settings = {"samples": samples, "width": width, "seed": seed, "engine": runner.name}
    table = _table(rows, measured, settings | {"dtype": runner.dtype})
    notes = _notes(table, measured["diverged"], BEYOND[dtype])
    return Table(arch.name, dict(arch.parameters), table, "measure", notes=notes)


def _table(
    rows: Sequence[Row], measured: dict[str, Any], settings: dict[str, Any]
) -> list[dict[str, Any]]:
    """Show every row with its numbers, and how they were measured."""
    diverged = measured["diverged"]
    shown = SHOWN | {name: name for name in CONTROLLED if name in measured}
    return [
        row.to_dict()
        | _numbers(row, {name: float(measured[of][i]) for name, of in shown.items()}, diverged)
        | settings
        for i, row in enumerate(rows)
    ]


def _numbers(row: Row, found: dict[str, float], diverged: int | None) -> dict[str, float | None]:
    """Return a row's value, standard error and what else was found of it, None where networks
    diverged before it."""
    lost = diverged is not None and (
        QUANTITIES[row.quantity].backward
        or max(row.application or 0, row.application_2 or 0) >= diverged
    )
    usable = not lost and all(map(math.isfinite, found.values()))
    return {name: number if usable else None for name, number in found.items()}


def _notes(table: list[dict[str, Any]], diverged: int | None, beyond: str) -> dict[str, str]:
    """Note where networks diverged."""
    if diverged is not None:
        return {"diverged": f"networks diverged at application {diverged} {beyond}"}
    if any(row["value"] is None for row in table):
        return {"diverged": f"gradients of networks diverged {beyond}"}
    return {}

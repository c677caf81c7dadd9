"""``measure``: the table of finite networks, every number with its standard error; ``measured``,
which goes on from what is kept; ``estimate``, of what that takes."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

from sigprop.description.architecture import Architecture
from sigprop.description.quantities import QUANTITIES
from sigprop.description.rows import require_rows, select
from sigprop.description.shapes import Row
from sigprop.errors import InputError
from sigprop.simulations.engines.controlled import check_control, controlled
from sigprop.simulations.engines.moments import Moments
from sigprop.simulations.engines.monte_carlo import engine_for, missing, moments
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
    return measured(
        arch,
        width=width,
        samples=samples,
        seed=seed,
        engine=engine,
        dtype=dtype,
        quantities=quantities,
        applications=applications,
        memory_mib=memory_mib,
        control=control,
        progress=progress,
    )[0]


def measured(
    arch: Architecture,
    *,
    kept: Moments | None = None,
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
) -> tuple[Table, Moments]:
    """Measure as ``measure`` does, going on from what is kept of an earlier run: (the table, what
    to keep of this one).

    kept: the moments that ``measured`` returned of the same networks and rows, by the same engine
    (which 'auto' then is), seed and precision: that they are is for the caller to know. Networks
    that they count are not sampled again, but for a batch at most; where there are ``samples`` of
    them or more, none is, and the table is of all of them and says how many. It is the table of one
    run over all: to the bit where batches have one size, which architecture, width, rows, dtype,
    control, memory_mib and the kind of device decide (``Engine.batch_size``), else up to rounding.
    The others: as of ``measure``. Raises ``InputError``, of moments of another number of columns
    or another engine too.
    """
    check_sizes(width=width, samples=samples, seed=seed, memory_mib=memory_mib)
    if kept is not None and not isinstance(kept, Moments):
        raise InputError(f"kept={type(kept).__name__}; accepted: Moments, or None")
    rows = select(arch, quantities, applications)
    require_rows(arch, quantities, rows)
    if control is not None:
        check_control(arch, rows, control)
    if kept is not None and engine == "auto":
        engine = kept.engine
    runner = engine_for(engine, arch, rows, width, memory_mib, dtype=dtype, twin=control)
    advance = None
    if progress is not None:
        advance = progress.advance
        more = missing(runner, samples, kept)
        if more:
            progress.start(more, f"width {width}")
    found = moments(runner, samples, seed, advance, kept)
    statistics = found.statistics()
    if control is not None:
        statistics = controlled(runner, statistics, seed)
    settings = {"samples": found.count, "width": width, "seed": seed, "engine": runner.name}
    table = _table(rows, statistics, settings | {"dtype": runner.dtype})
    notes = _notes(table, found.diverged, BEYOND[dtype])
    return Table(arch.name, dict(arch.parameters), table, "measure", notes=notes), found


class Estimate(NamedTuple):
    """What a measurement takes: seconds on two cores, one for compiling among them; bytes of the
    batches in flight on this machine; networks of a batch; the engine's name."""

    seconds: float
    bytes: int
    batch_size: int
    engine: str


def estimate(
    arch: Architecture,
    *,
    width: int = 256,
    samples: int = 512,
    engine: str = "auto",
    dtype: str = SINGLE,
    quantities: Sequence[str] | None = None,
    applications: Sequence[int] | None = None,
    memory_mib: int = 1024,
) -> Estimate:
    """Estimate what ``measure`` with these arguments takes, from sizes alone: nothing is compiled,
    drawn or timed.

    Arguments are those of ``measure``; where some networks are kept, samples: the further ones.
    Whole batches are counted. Seconds are rough, within a factor of five, the first of them
    compiling, which a program that is kept compiled does not take; bytes are what the batches are
    planned by, two to five times what they take. Raises ``InputError`` as ``measure``
    does, where one network does not fit into memory too.
    """
    check_sizes(width=width, samples=samples, memory_mib=memory_mib)
    rows = select(arch, quantities, applications)
    require_rows(arch, quantities, rows)
    runner = engine_for(engine, arch, rows, width, memory_mib, dtype=dtype)
    size = runner.batch_size
    batches = math.ceil(samples / size)
    seconds = runner.compiling * len(runner.shapes) + batches * size * runner.seconds
    held = min(runner.lanes, batches) * size * runner.bytes_per_network
    return Estimate(seconds, max(held, runner.least_bytes), size, runner.name)


def _table(
    rows: Sequence[Row], statistics: dict[str, Any], settings: dict[str, Any]
) -> list[dict[str, Any]]:
    """Show every row with its numbers, and how they were measured."""
    diverged = statistics["diverged"]
    shown = SHOWN | {name: name for name in CONTROLLED if name in statistics}
    return [
        row.to_dict()
        | _numbers(row, {name: float(statistics[of][i]) for name, of in shown.items()}, diverged)
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

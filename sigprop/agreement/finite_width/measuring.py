"""``measure``: finite networks, with a twin beside them or without; ``measured``, which goes on
from what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sigprop.description.architecture import Architecture, check_described
from sigprop.description.rows import require_rows, select
from sigprop.errors import InputError, near_miss
from sigprop.simulations.engines.moments import Moments
from sigprop.simulations.measure import measured as plain
from sigprop.simulations.network.precision import SINGLE
from sigprop.tables.table import Table

NONE, TWIN, AUTO = CONTROLS = ("none", "twin", "auto")


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
    control: str = NONE,
    progress: Any = None,
) -> Table:
    """Mean and standard error, over ``samples`` independent networks of width n, of every selected
    row.

    arch: the description; width: n; samples: networks (>= 2); seed: 0 to 2^32 - 1, with the
    description and the sample's index it fixes every random number, whatever the chunking or device
    count; engine: 'dense', 'matrix-free' (docs/matrix-free.md) or 'auto', the cheaper one; dtype:
    'float32' or 'float64', the precision of the networks, which are the same ones in both;
    quantities, applications: see ``rows.select``; memory_mib: ceiling for a chunk; control: 'none',
    'twin' (rows that have a form are measured beside a twin: their means are the same, their errors
    smaller; they gain ``variance_ratio``, and ``se_of_control``, the part of the error that is the
    twin's own mean) or 'auto' (with one where there is a form); progress: an object with start and
    advance.

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
    control: str = NONE,
    progress: Any = None,
) -> tuple[Table, Moments]:
    """Measure as ``measure`` does, going on from what is kept of an earlier run: (the table, what
    to keep of this one).

    kept: the moments that ``measured`` returned with the same arguments and any number of samples,
    as of ``simulations.measure.measured``; those of networks with a twin are of other columns than
    those without. The others: as of ``measure``. Raises ``InputError``, of moments of another
    number of columns or another engine too.
    """
    check_described(arch)
    check_control(control)
    twin = None
    if control != NONE:
        rows = select(arch, quantities, applications)
        require_rows(arch, quantities, rows)
        # theory is needed for this alone
        from sigprop.agreement.finite_width.controlled import twin_of

        twin = twin_of(arch, rows, required=control == TWIN)
    return plain(
        arch,
        kept=kept,
        width=width,
        samples=samples,
        seed=seed,
        engine=engine,
        dtype=dtype,
        quantities=quantities,
        applications=applications,
        memory_mib=memory_mib,
        control=twin,
        progress=progress,
    )


def check_control(control: str) -> None:
    """Raise ``InputError`` for a control that is none."""
    if control not in CONTROLS:
        raise InputError(f"control={control!r}{near_miss(control, CONTROLS)}")

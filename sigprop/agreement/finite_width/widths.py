"""``wide_enough``: the smallest widths at which the mean of networks, and one network, are within a
tolerance of the wide limit, row by row, from predicted shift and scatter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from sigprop.description.architecture import Architecture
from sigprop.description.shapes import Row
from sigprop.errors import InputError
from sigprop.simulations.measure import measure
from sigprop.simulations.network.weights import least_width
from sigprop.tables.table import Table
from sigprop.theory.fluctuations.fluctuations import fluctuations

INSIDE = 1.96  # standard deviations, of 95 % of networks
MOST = 2**20
KEYS = tuple(key.name for key in fields(Row))


def wide_enough(
    arch: Architecture,
    tolerance: float = 0.02,
    quantities: Sequence[str] | None = None,
    applications: Sequence[int] | None = None,
    *,
    check: int = 0,
) -> Table:
    """Find, for every row, the smallest width at which the mean of networks is within ``tolerance``
    of the wide limit (``width_of_mean``), and at which 95 % of networks are within it of their mean
    (``width_of_one``), to first order in 1/n.

    arch: the description; tolerance: relative, of cosines absolute, of covariances relative to the
    tokens' variances; quantities, applications: as of ``fluctuations``; check: networks that are
    measured at both widths (0: none), of the row that decides each. Returns a ``Table`` whose notes
    hold both widths over all rows, rounded up to what heads and layers divide; remarks name the
    rows that decide, and what was measured of them. The stated errors of shift and scatter are
    taken to be in the way. Raises ``InputError`` as ``fluctuations`` does. Source: derived
    (docs/finite-width.md; tests/agreement/finite_width/test_widths.py).
    """
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance={tolerance!r}; accepted: a number between 0 and 1")
    if isinstance(check, bool) or not (check == 0 or check >= 8):
        raise InputError(f"check={check!r}; accepted: 0, or networks from 8 on")
    found = fluctuations(arch, quantities, applications)
    rows = [_row(dict(row), tolerance) for row in found]
    step = least_width(arch, MOST)
    notes: dict[str, Any] = {"tolerance": tolerance}
    remarks: list[str] = []
    for name in ("width_of_mean", "width_of_one"):
        worst = max(rows, key=lambda row, name=name: row[name])
        width = max(step, math.ceil(worst[name] / step) * step)
        notes[name] = width
        remarks.append(f"{name} {width}: {_key(worst)} decides")
        if check:
            remarks.append(_checked(arch, worst, width, check))
    return Table(
        arch.name, dict(arch.parameters), rows, "width", notes=notes | {"remarks": remarks}
    )


def _row(row: dict[str, Any], tolerance: float) -> dict[str, Any]:
    """Return a row with its widths."""
    allowed = tolerance * row["scale"]
    shift = abs(row["n_shift"]) + row["n_shift_error"]
    variance = row["n_variance"] + row["n_variance_error"]
    kept = {name: row[name] for name in (*KEYS, "value", "scale") if row.get(name) is not None}
    return kept | {
        "n_shift": row["n_shift"],
        "n_variance": row["n_variance"],
        "width_of_mean": math.ceil(shift / allowed),
        "width_of_one": math.ceil(variance * (INSIDE / allowed) ** 2),
    }


def _key(row: Mapping[str, Any]) -> Row:
    """Return what a row of a table is about."""
    return Row(**{name: row[name] for name in KEYS if name in row})


def _checked(arch: Architecture, row: dict[str, Any], width: int, networks: int) -> str:
    """Measure a row at a width; returns what is predicted beside it, over the row's scale."""
    at = sorted({row[name] for name in ("application", "application_2") if name in row})
    table = measure(
        arch, width=width, samples=networks, quantities=[row["quantity"]], applications=at or None
    )
    (found,) = (other for other in table if _key(other) == _key(row))
    scale, se = row["scale"], found["se"]
    off, sd = (found["value"] - row["value"]) / scale, se * math.sqrt(networks) / scale
    return (
        f"{networks} networks of width {width}: mean off by {off:.2g} +- {se / scale:.1g} "
        f"(predicted {row['n_shift'] / width / scale:.2g}), sd {sd:.3g} "
        f"+- {sd / math.sqrt(2 * networks):.1g} "
        f"(predicted {math.sqrt(row['n_variance'] / width) / scale:.3g})"
    )

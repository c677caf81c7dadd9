"""``fluctuations``: how far one network of a finite width scatters about every row, and by how much
the mean of networks is off, to first order in 1/n."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sigprop.description.architecture import Architecture
from sigprop.description.rows import known, require_rows, select
from sigprop.description.shapes import Row
from sigprop.errors import InputError
from sigprop.tables.table import Table
from sigprop.theory.calculus.independence import check_writes
from sigprop.theory.fluctuations.forms import (
    FORMS,
    TANGENT,
    check,
    check_quantities,
    check_tangent,
    having_forms,
    is_backward,
)
from sigprop.theory.fluctuations.units import SETS, STEP, traced
from sigprop.theory.predictions.evaluate import half_width, unscaled
from sigprop.theory.predictions.predict import predict
from sigprop.theory.predictions.values import Values
from sigprop.theory.recursion.passes import FORWARD, GRADIENTS, NTK

UNITS = 2048  # of one set
LEFT_OUT = ("assumes", "log_value")  # of what the wide limit says of a row
ASSUMES = "n -> infinity at fixed depth; relative corrections of order n_variance / (n value^2)"


class Moments(NamedTuple):
    """Of every row: n times the variance between networks, and n times the shift of their mean,
    each with the half-width of a 99 % interval."""

    variance: Float[np.ndarray, " R"]
    variance_error: Float[np.ndarray, " R"]
    shift: Float[np.ndarray, " R"]
    shift_error: Float[np.ndarray, " R"]


def fluctuations(
    arch: Architecture,
    quantities: Sequence[str] | None = None,
    applications: Sequence[int] | None = None,
    *,
    width: int | None = None,
    units: int = UNITS,
) -> Table:
    """Predict what finite networks have beside the wide limit: of a row's scatter between networks
    and of the shift of its mean the terms of first order in 1/n.

    arch: the description; quantities, applications: as of ``predict`` (None: those that have a
    form, but for tangent kernels, which are asked for by name); width: n; units: sampled in each of
    eight sets, a power of two from 64 on. Returns a ``Table`` with value, error and status as of
    ``predict`` and ``n_variance`` = n Var, ``n_shift`` = n (mean - value); at a width instead
    ``sd`` = sqrt(n_variance / n), of one network, and ``shift`` = n_shift / n; each with an
    ``_error``, half a 99 % interval. Raises ``InputError`` and ``NoRule`` for what has no form yet:
    tangent kernels through gates, grouped queries, heads of several kinds, several widths,
    modulators, experts, orthogonal matrices, dropout, an activation of what LayerNorm returns.
    Source: derived (docs/finite-width.md; tests/theory/fluctuations).
    """
    _check(width, units)
    asked = (
        having_forms(arch, applications)
        if quantities is None
        else check_quantities(quantities, (*FORMS, TANGENT))
    )
    check(arch, is_backward(asked))
    if TANGENT in asked:
        check_tangent(arch)
    check_writes(arch)
    rows = select(arch, known(arch, asked), applications)
    require_rows(arch, quantities, rows)
    base = predict(arch, asked, applications)
    if lost := next((row for row in base if row["value"] is None), None):
        raise InputError(
            f"{lost['quantity']}: no number that a float holds at application "
            f"{lost.get('application')}; accepted: parameters at which every row has a value"
        )
    found = moments(arch, rows, units)
    table = [_row(row, found, k, width) for k, row in enumerate(base)]
    notes: dict[str, Any] = {} if width is None else {"width": width}
    return Table(arch.name, dict(arch.parameters), table, "fluctuations", notes=notes or None)


def moments(arch: Architecture, rows: Sequence[Row], units: int = UNITS) -> Moments:
    """Return both coefficients of rows.

    With one unit of weight t among all, K(t): n Var -> E (dK/dt)^2, n shift -> E d2K/dt2 / 2 at t =
    0, over that unit (``recursion.units``).
    """
    found = np.zeros((len(Moments._fields), len(rows)))
    for reach, at in _by_reach(rows).items():
        found[:, at] = _moments(arch, [rows[k] for k in at], units, reach)
    return Moments(*found)


def _by_reach(rows: Sequence[Row]) -> dict[int, list[int]]:
    """Return which rows are read off passes that go how far."""
    others = [row.quantity for row in rows if row.quantity != TANGENT]
    reach = GRADIENTS if is_backward(others) else FORWARD
    found: dict[int, list[int]] = {}
    for k, row in enumerate(rows):
        found.setdefault(NTK if row.quantity == TANGENT else reach, []).append(k)
    return found


def _moments(arch: Architecture, rows: Sequence[Row], units: int, reach: int) -> Moments:
    """Return ``moments`` of rows that the same passes have."""
    variances, shifts = [], []
    for seed in range(SETS):
        more, less, (middle,) = traced(arch, units, seed, reach)
        at_0 = _read(arch, [middle], rows)[0]
        up, down = _read(arch, more, rows), _read(arch, less, rows)
        variances.append(np.mean(((up - down) / (2 * STEP)) ** 2, axis=0))
        shifts.append(np.mean(up - 2 * at_0 + down, axis=0) / (2 * STEP**2))
    return Moments(*_interval(variances), *_interval(shifts))


def _read(
    arch: Architecture, kernels: Sequence[Any], rows: Sequence[Row]
) -> Float[np.ndarray, "N R"]:
    """Read rows off the kernels of every unit."""
    values = [Values(arch, each) for each in kernels]
    return np.array([[unscaled(*each.value(row)) for row in rows] for each in values], dtype=float)


def _interval(
    sets: Sequence[Float[np.ndarray, " R"]],
) -> tuple[Float[np.ndarray, " R"], Float[np.ndarray, " R"]]:
    """Return the mean over sets, and half the width of its interval."""
    return np.mean(sets, axis=0), half_width(len(sets)) * np.std(sets, axis=0, ddof=1)


def _row(base: dict[str, Any], found: Moments, k: int, width: int | None) -> dict[str, Any]:
    """Return a predicted row with its coefficients."""
    row = {name: value for name, value in base.items() if name not in LEFT_OUT}
    variance, shift = float(found.variance[k]), float(found.shift[k])
    variance_error, shift_error = float(found.variance_error[k]), float(found.shift_error[k])
    if width is None:
        coefficients = {
            "n_variance": variance,
            "n_variance_error": variance_error,
            "n_shift": shift,
            "n_shift_error": shift_error,
        }
    else:
        sd = math.sqrt(variance / width)
        coefficients = {
            "sd": sd,
            "sd_error": sd * variance_error / (2 * variance) if variance else 0.0,
            "shift": shift / width,
            "shift_error": shift_error / width,
        }
    return row | coefficients | {"assumes": ASSUMES}


def _check(width: int | None, units: int) -> None:
    """Raise ``InputError`` for sizes that are none."""
    if width is not None and (isinstance(width, bool) or not 1 <= width < 2**32):
        raise InputError(f"width={width!r}; accepted: an integer from 1 to {2**32 - 1}")
    if isinstance(units, bool) or units < 64 or units & (units - 1):
        raise InputError(f"units={units!r}; accepted: a power of two from 64 on")

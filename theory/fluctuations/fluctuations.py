"""``fluctuations``: how far one network of a finite width scatters about every row, and by how much
the mean of networks is off, to first order in 1/n."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sigprop.description.architecture import Architecture
from sigprop.description.rows import known, require_rows, select, token_means
from sigprop.description.shapes import Row
from sigprop.errors import InputError
from sigprop.tables.table import Table
from sigprop.theory.calculus.independence import check_writes
from sigprop.theory.fluctuations.averages.influence import has_influence, influences
from sigprop.theory.fluctuations.forms import (
    FORMS,
    TANGENT,
    check,
    check_products,
    check_quantities,
    having_forms,
    is_backward,
)
from sigprop.theory.fluctuations.units import FEW, MEMBERS, SETS, STEP, traced
from sigprop.theory.predictions.evaluate import half_width, unscaled
from sigprop.theory.predictions.predict import predict
from sigprop.theory.predictions.values import Values
from sigprop.theory.recursion.passes import FORWARD, GRADIENTS, NTK

UNITS = 2048  # of one set
TAIL = 5
"""Units: at which 99 % intervals of a gated unit's scatter hold 98 % with sets of 512 units and all
of 200 runs with sets of 2048, where without they hold 93 % and 96 %."""
LEFT_OUT = ("assumes", "log_value")  # of what the wide limit says of a row
ASSUMES = "n -> infinity at fixed depth; relative corrections of order n_variance / (n value^2)"


class Moments(NamedTuple):
    """Of every row: n times the variance between networks, and n times the shift of their mean,
    each with the half-width of a 99 % interval."""

    variance: Float[np.ndarray, " R"]
    variance_error: Float[np.ndarray, " R"]
    shift: Float[np.ndarray, " R"]
    shift_error: Float[np.ndarray, " R"]


Means = Float[np.ndarray, "means rows"]
"""Weights of rows in means of them."""


def fluctuations(
    arch: Architecture,
    quantities: Sequence[str] | None = None,
    applications: Sequence[int] | None = None,
    *,
    width: int | None = None,
    units: int = UNITS,
    shift: bool = True,
    over_tokens: bool = False,
    fixed_stem: bool = False,
) -> Table:
    """Predict what finite networks have beside the wide limit: of a row's scatter between networks
    and of the shift of its mean the terms of first order in 1/n.

    arch: the description; quantities, applications: as of ``predict`` (None: those that have a
    form, but for tangent kernels, which are asked for by name); width: n; units: sampled in each of
    eight sets, a power of two from 64 on; shift: whether shifts are wanted (where not, one
    recursion serves all units: that is what many tokens need);
    over_tokens: whether rows that differ in tokens alone come as one, their mean over tokens or
    pairs; fixed_stem: whether the stem's output is data that all networks share (without shifts
    alone). Returns a ``Table`` with value, error and status as of ``predict`` and ``n_variance`` =
    n Var, ``n_shift`` = n (mean - value); at a width instead ``sd`` = sqrt(n_variance / n), of one
    network, and ``shift`` = n_shift / n; each with an ``_error``, half a 99 % interval. Raises
    ``InputError`` and ``NoRule`` for what has no form yet: tangent kernels through gates, heads of
    several kinds, LayerNorm in networks of several widths, gradients by scores that vanish with the
    width, modulators, experts, orthogonal matrices backward, of attention or not square, dropout,
    a product of what LayerNorm returns, gradients through a kinked activation of it. Source:
    derived (docs/finite-width.md; tests/theory/fluctuations).
    """
    _check(width, units)
    if fixed_stem and shift:
        raise InputError("fixed_stem=True: shifts have no form yet; accepted: with shift=False")
    asked = (
        having_forms(arch, applications)
        if quantities is None
        else check_quantities(quantities, (*FORMS, TANGENT))
    )
    check(arch, is_backward(asked))
    check_products(arch, asked)
    check_writes(arch)
    rows = select(arch, known(arch, asked), applications)
    require_rows(arch, quantities, rows)
    base = [dict(row) for row in predict(arch, asked, applications)]
    if lost := next((row for row in base if row["value"] is None), None):
        raise InputError(
            f"{lost['quantity']}: no number that a float holds at application "
            f"{lost.get('application')}; accepted: parameters at which every row has a value"
        )
    means = None
    if over_tokens:
        named, means = token_means(rows)
        base = _means(base, named, means)
    found = (
        moments(arch, rows, units, means)
        if shift
        else variances(arch, rows, units, means, fixed_stem)
    )
    table = [_row(row, found, k, width) for k, row in enumerate(base)]
    notes: dict[str, Any] = {} if width is None else {"width": width}
    return Table(arch.name, dict(arch.parameters), table, "fluctuations", notes=notes or None)


def moments(
    arch: Architecture,
    rows: Sequence[Row],
    units: int = UNITS,
    means: Means | None = None,
    members: int = MEMBERS,
) -> Moments:
    """Return both coefficients of rows, or of means of them; members: as of ``traced``.

    With one unit of weight t among all, K(t): n Var -> E (dK/dt)^2, n shift -> E d2K/dt2 / 2 at t =
    0, over that unit (``recursion.units``).
    """
    found = np.zeros((len(Moments._fields), len(rows) if means is None else len(means)))
    for reach, at in _by_reach(rows).items():
        of, part = np.array(at), None
        if means is not None:
            of = np.flatnonzero(means[:, at].any(axis=1))
            part = means[of][:, at]
        given = units, reach, members
        found[:, of] = _moments(arch, [rows[k] for k in at], part, *given)
    return Moments(*found)


def _by_reach(rows: Sequence[Row]) -> dict[int, list[int]]:
    """Return which rows are read off passes that go how far."""
    others = [row.quantity for row in rows if row.quantity != TANGENT]
    reach = GRADIENTS if is_backward(others) else FORWARD
    found: dict[int, list[int]] = {}
    for k, row in enumerate(rows):
        found.setdefault(NTK if row.quantity == TANGENT else reach, []).append(k)
    return found


def _moments(
    arch: Architecture,
    rows: Sequence[Row],
    means: Means | None,
    units: int,
    reach: int,
    members: int,
) -> Moments:
    """Return ``moments`` of rows that the same passes have."""
    squares, shifts = [], []
    for seed in range(SETS):
        more, less, (middle,) = traced(arch, units, seed, reach, members)
        at_0 = _read(arch, [middle], rows, means)[0]
        up, down = _read(arch, more, rows, means), _read(arch, less, rows, means)
        squares.append(((up - down) / (2 * STEP)) ** 2)
        shifts.append(np.mean(up - 2 * at_0 + down, axis=0) / (2 * STEP**2))
    return Moments(*_of_squares(np.stack(squares)), *_interval(shifts))


def variances(
    arch: Architecture,
    rows: Sequence[Row],
    units: int = UNITS,
    means: Means | None = None,
    fixed_stem: bool = False,
) -> tuple[Float[np.ndarray, " R"], Float[np.ndarray, " R"]]:
    """Return n Var alone, and the half-width of its 99 % interval: dK/dt from derivatives by
    averages (``influence``) where it can be, else of units whose gradients act on few others."""
    if not has_influence(arch, rows):
        if fixed_stem:
            raise InputError(
                f"{arch.name}: fixed_stem=True: has no form here yet; accepted: without"
            )
        return moments(arch, rows, units, means, FEW)[:2]
    return _of_squares(influences(arch, rows, means, units, range(SETS), fixed_stem) ** 2)


def _read(
    arch: Architecture,
    kernels: Sequence[Any],
    rows: Sequence[Row],
    means: Means | None,
) -> Float[np.ndarray, "N R"]:
    """Read rows, or means of them, off the kernels of every unit."""
    values = [Values(arch, each) for each in kernels]
    read = np.array([[unscaled(*each.value(row)) for row in rows] for each in values], dtype=float)
    return read if means is None else read @ means.T


def _means(
    base: Sequence[dict[str, Any]], named: Sequence[Row], means: Means
) -> list[dict[str, Any]]:
    """Return means of predicted rows; the mean of bounds bounds a mean's error."""
    found = []
    for row, weights in zip(named, means, strict=True):
        of = [base[int(k)] for k in np.flatnonzero(weights)]
        statuses = dict.fromkeys(each["status"] for each in of)
        numbers = {
            name: sum(each[name] for each in of) / len(of) for name in ("value", "error", "scale")
        }
        found.append({**row.to_dict(), **numbers, "status": ", ".join(statuses)})
    return found


def _interval(
    sets: Sequence[Float[np.ndarray, " R"]],
) -> tuple[Float[np.ndarray, " R"], Float[np.ndarray, " R"]]:
    """Return the mean over sets, and half the width of its interval."""
    return np.mean(sets, axis=0), half_width(len(sets)) * np.std(sets, axis=0, ddof=1)


def _of_squares(
    squares: Float[np.ndarray, "sets N R"],
) -> tuple[Float[np.ndarray, " R"], Float[np.ndarray, " R"]]:
    """Return the mean, and half the width of its interval. Where the largest is beyond what N
    squares of Gaussians hold, the tail is heavy, as of gated units: most samples miss some of it
    and their scatter does not show that, so that the interval has what ``TAIL`` more like the
    largest would add."""
    mean, half = _interval(squares.mean(axis=1))
    count = squares.shape[0] * squares.shape[1]
    usual = (2 * math.log(2 * count) - 1) ** 2 / 2 * mean
    return mean, half + TAIL * np.maximum(0.0, squares.max(axis=(0, 1)) - usual) / count


def _row(
    base: dict[str, Any], found: Sequence[Float[np.ndarray, " R"]], k: int, width: int | None
) -> dict[str, Any]:
    """Return a predicted row with its coefficients. found: of ``Moments``, or its first two."""
    row = {name: value for name, value in base.items() if name not in LEFT_OUT}
    variance, variance_error, *shift = (float(each[k]) for each in found)
    if width is None:
        coefficients = {"n_variance": variance, "n_variance_error": variance_error}
    else:
        sd = math.sqrt(variance / width)
        error = sd * variance_error / (2 * variance) if variance else 0.0
        coefficients = {"sd": sd, "sd_error": error}
    name, n = ("n_shift", 1) if width is None else ("shift", width)
    names = (name, f"{name}_error") if shift else ()
    shifts = {name: each / n for name, each in zip(names, shift, strict=True)}
    return row | coefficients | shifts | {"assumes": ASSUMES}


def _check(width: int | None, units: int) -> None:
    """Raise ``InputError`` for sizes that are none."""
    if width is not None and (isinstance(width, bool) or not 1 <= width < 2**32):
        raise InputError(f"width={width!r}; accepted: an integer from 1 to {2**32 - 1}")
    if isinstance(units, bool) or units < 64 or units & (units - 1):
        raise InputError(f"units={units!r}; accepted: a power of two from 64 on")

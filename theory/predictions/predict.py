"""``predict``: the table of wide-limit values, each with its numerical error."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sigprop.description.architecture import Architecture, check_described
from sigprop.description.quantities import QUANTITIES
from sigprop.description.rows import known, require_rows, select
from sigprop.description.shapes import Row
from sigprop.errors import InputError
from sigprop.tables.table import Table
from sigprop.theory.attention.approximations import check_approximation
from sigprop.theory.predictions.evaluate import evaluate, unscaled
from sigprop.theory.predictions.refine import check_error, evaluate_to
from sigprop.theory.predictions.statuses import DIVERGED, UNDEFINED
from sigprop.theory.predictions.values import Scaled

ASSUMES = "width -> infinity; i.i.d. Gaussian weights and stem; read-out independent of the weights"


def approximated() -> list[str]:
    """Quantities that attention's approximations say."""
    return [name for name, quantity in QUANTITIES.items() if quantity.approximated]


def predict(
    arch: Architecture,
    quantities: Sequence[str] | None = None,
    applications: Sequence[int] | None = None,
    approximation: str | None = None,
    *,
    error: float | None = None,
) -> Table:
    """The wide limit of every selected row: value, log_value, error (absolute, numerical), status,
    assumes, and the ``scale`` that a deviation from it is measured in; with a learned modulator
    also sd, the standard deviation between networks that it makes of a forward row (it does not
    average out: the value is the mean).

    arch: the description; quantities, applications: see ``rows.select``; approximation: a name of
    ``theory.attention.approximations``: forward rows with attention's expectation replaced by it at
    every application, each with its ``reference``, the wide limit itself, and ``deviation`` =
    (value - reference)/scale; error: sampled heads are bought until every row's error is at most
    so much of its scale (of variances relative, of cosines absolute; None: a fixed number of them),
    and the note ``remarks`` names the row and the cost where that is too many. status 'exact':
    closed-form kernels, error is rounding; 'quadrature': Hermite series or sampled heads, error as
    ``evaluate.evaluate`` states it; 'sampled': behind a function without a rule (``Sampled``),
    which was tried on Gaussian tokens; 'diverged', 'undefined': no value, and the note ``remarks``
    says where. Raises ``InputError``, and
    ``NoRule`` for a network that the calculus cannot expand. Source: docs/theory.md.
    """
    check_described(arch)
    check_error(error)
    if approximation is not None and error is not None:
        raise InputError(
            f"error={error} at approximation={approximation}; accepted: one of the two (an "
            f"approximation samples nothing)"
        )
    if approximation is not None:
        return _approximated(arch, quantities, applications, check_approximation(approximation))
    rows = select(arch, known(arch, quantities), applications)
    require_rows(arch, quantities, rows)
    return _table(arch, rows, error)


def _table(arch: Architecture, rows: Sequence[Row], target: float | None = None) -> Table:
    found, short = evaluate_to(arch, rows, target)
    table = []
    for row, value, scale, error, spread, state in zip(
        rows, found.values, found.scales, found.errors, found.sds, found.statuses, strict=True
    ):
        shown = {
            "value": unscaled(*value),
            "log_value": _log(value),
            "error": error,
            "status": state,
            "assumes": ASSUMES,
        }
        more = {} if spread is None else {"sd": spread}
        table.append(row.to_dict() | shown | {"scale": unscaled(*scale)} | more)
    return Table(
        arch.name,
        dict(arch.parameters),
        table,
        "predict",
        notes={"remarks": remarks} if (remarks := found.remarks + short) else None,
    )


def _log(value: Scaled) -> float | None:
    """ln |value|; None of zero and of what is no number."""
    size = value[1] + math.log(abs(value[0])) if value[0] else -math.inf
    return size if math.isfinite(size) else None


def _approximated(
    arch: Architecture,
    quantities: Sequence[str] | None,
    applications: Sequence[int] | None,
    name: str,
) -> Table:
    """The forward rows under an approximation, beside the wide limit's."""
    said = approximated()
    if quantities is not None and (others := [q for q in quantities if q not in said]):
        raise InputError(
            f"quantity={others[0]} at approximation={name}; accepted: {', '.join(said)}"
        )
    every = [quantity for quantity in said if quantity in known(arch)]
    rows = select(arch, every if quantities is None else known(arch, quantities), applications)
    require_rows(arch, quantities, rows)
    reference, found = _table(arch, rows), evaluate(arch, rows, name)
    table = []
    for row, value, state in zip(reference, found.values, found.statuses, strict=True):
        state = state if state in (DIVERGED, UNDEFINED) else "approximation"
        true, own = (
            unscaled(*value),
            {"status": state, "approximation": name, "reference": row["value"]},
        )
        off = (
            (true - row["value"]) / row["scale"]
            if true is not None and row["value"] is not None and row["scale"]
            else None
        )
        table.append({**row, "value": true, "log_value": _log(value), **own, "deviation": off})
    return Table(
        arch.name,
        dict(arch.parameters),
        table,
        "predict",
        notes={"remarks": found.remarks} if found.remarks else None,
    )

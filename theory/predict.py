"""``predict``: the table of wide-limit values, each with its numerical error."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sigprop.architecture import Architecture
from sigprop.rows import select
from sigprop.table import Table
from sigprop.theory.numerics import evaluate, status, unscaled

ASSUMES = "width -> infinity; i.i.d. Gaussian weights and stem; read-out independent of the weights"


def predict(arch: Architecture, quantities: Sequence[str] | None = None, applications: Sequence[int] | None = None) -> Table:
    """The wide limit of every selected row: value, log_value, error (absolute, numerical), status, assumes, and the
    ``scale`` that a deviation from it is measured in.

    arch: the description; quantities, applications: see ``rows.select``. status 'exact': closed-form kernels, error is
    rounding; 'quadrature': Hermite series or sampled heads, error as ``numerics.evaluate`` states it. Raises ``InputError``, and
    ``NoRule`` for a network that the calculus cannot expand. Source: DESIGN sections 2 and 3.
    """
    rows = select(arch, quantities, applications)
    values, scales, errors = evaluate(arch, rows)
    table = []
    for row, (value, log), scale, error in zip(rows, values, scales, errors, strict=True):
        true, size = unscaled(value, log), log + math.log(abs(value)) if value else -math.inf
        shown = {"value": true, "log_value": size if math.isfinite(size) else None, "error": error, "status": status(arch), "assumes": ASSUMES}
        table.append(row.to_dict() | shown | {"scale": unscaled(*scale)})
    return Table(arch.name, dict(arch.parameters), table, "predict")

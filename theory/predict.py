"""``predict``: the table of wide-limit values, each with its numerical error."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sigprop.architecture import Architecture
from sigprop.errors import InputError
from sigprop.rows import known, select
from sigprop.table import Table
from sigprop.theory.attention.approximations import check_approximation
from sigprop.theory.numerics import evaluate, status, unscaled

ASSUMES = "width -> infinity; i.i.d. Gaussian weights and stem; read-out independent of the weights"


APPROXIMATED = (
    "residual_variance",
    "token_covariance",
    "state_cosine",
    "write_cosine",
    "logit_variance",
    "logit_contact",
    "cross_entropy",
    "participation",
    "angle_exponent",
    "log_norm",
    "rotation",
)


def predict(arch: Architecture, quantities: Sequence[str] | None = None, applications: Sequence[int] | None = None, approximation: str | None = None) -> Table:
    """The wide limit of every selected row: value, log_value, error (absolute, numerical), status, assumes, and the
    ``scale`` that a deviation from it is measured in; with a learned modulator also sd, the standard deviation between networks
    that it makes of a forward row (it does not average out: the value is the mean).

    arch: the description; quantities, applications: see ``rows.select``; approximation: a name of
    ``theory.attention.approximations``: forward rows with attention's expectation replaced by it at every application, each
    with its ``reference``, the wide limit itself, and ``deviation`` = (value - reference)/scale. status 'exact': closed-form kernels, error is
    rounding; 'quadrature': Hermite series or sampled heads, error as ``numerics.evaluate`` states it. Raises ``InputError``, and
    ``NoRule`` for a network that the calculus cannot expand. Source: docs/theory.md.
    """
    if approximation is not None:
        return _approximated(arch, quantities, applications, check_approximation(approximation))
    rows = select(arch, known(arch, quantities), applications)
    values, scales, errors, spreads = evaluate(arch, rows)
    table = []
    for row, (value, log), scale, error, spread in zip(rows, values, scales, errors, spreads, strict=True):
        true, size = unscaled(value, log), log + math.log(abs(value)) if value else -math.inf
        shown = {"value": true, "log_value": size if math.isfinite(size) else None, "error": error, "status": status(arch), "assumes": ASSUMES}
        more = {} if spread is None else {"sd": spread}
        table.append(row.to_dict() | shown | {"scale": unscaled(*scale)} | more)
    return Table(arch.name, dict(arch.parameters), table, "predict")


def _approximated(arch: Architecture, quantities: Sequence[str] | None, applications: Sequence[int] | None, name: str) -> Table:
    """The forward rows under an approximation, beside the wide limit's."""
    if quantities is not None and (backward := [q for q in quantities if q not in APPROXIMATED]):
        raise InputError(f"quantity={backward[0]} at approximation={name}; accepted: {', '.join(APPROXIMATED)}")
    reference = predict(arch, quantities or APPROXIMATED, applications)
    values, *_ = evaluate(arch, select(arch, quantities or APPROXIMATED, applications), name)
    table = []
    for row, (value, log) in zip(reference, values, strict=True):
        true, own = unscaled(value, log), {"status": "approximation", "approximation": name, "reference": row["value"]}
        off = (true - row["value"]) / row["scale"] if true is not None and row["value"] is not None and row["scale"] else None
        table.append({**row, "value": true, "log_value": log + math.log(abs(value)) if value else None, **own, "deviation": off})
    return Table(arch.name, dict(arch.parameters), table, "predict")

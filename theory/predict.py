"""``predict``: the table of wide-limit values, each with its numerical error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sigprop.architecture import Architecture
from sigprop.expression import Activate, walk
from sigprop.rows import QUANTITIES, Row, select
from sigprop.table import Table
from sigprop.theory import dual
from sigprop.theory.kernels import COARSE, DEGREE, Kernels, kernels
from sigprop.theory.program import READOUT

LARGEST = 1e300  # beyond it a value is given by its logarithm only
ASSUMES = "width -> infinity; i.i.d. Gaussian weights and stem; read-out independent of the weights"

Scaled = tuple[float, float]
"""(mantissa, log): the value mantissa * exp(log)."""


def predict(arch: Architecture, quantities: Sequence[str] | None = None, applications: Sequence[int] | None = None) -> Table:
    """The wide limit of every selected row: value, log_value, error (absolute, numerical), status, assumes, and the
    ``scale`` that a deviation from it is measured in.

    arch: the description; quantities, applications: see ``rows.select``. status 'exact': closed-form kernels, error is
    rounding; 'quadrature': Hermite series, error is the difference between two resolutions. Raises ``InputError``, and
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


def status(arch: Architecture) -> str:
    """'exact' where every activation has a closed form, else 'quadrature'."""
    found = {dual.status(node.activation) for block in _branches(arch) for node in walk(block) if isinstance(node, Activate)}
    return "quadrature" if "quadrature" in found else "exact"


def _branches(arch: Architecture) -> list[Any]:
    return [block.branch for block in arch.sub_blocks] + [arch.readout.branch]


def unscaled(value: float, log: float) -> float | None:
    """The plain number, or None beyond 1e300."""
    if value == 0:
        return 0.0
    return math.copysign(math.exp(log + math.log(abs(value))), value) if log + math.log(abs(value)) < math.log(LARGEST) else None


def evaluate(arch: Architecture, rows: Sequence[Row]) -> tuple[list[Scaled], list[Scaled], list[float | None]]:
    """(values, scales, errors) of the rows; a scale is what a deviation is divided by (DESIGN section 5, step 2)."""
    columns = tuple(sorted({row.application for row in rows if row.application_2 is not None and row.application is not None})) or (0,)
    fine = _Values(arch, kernels(arch, columns, DEGREE))
    values = [fine.value(row) for row in rows]
    errors: list[float | None] = [None if (v := unscaled(*value)) is None else abs(v) * 1e-14 * (10 + arch.depth) for value in values]
    if status(arch) == "quadrature":
        coarse = _Values(arch, kernels(arch, columns, COARSE))
        for i, row in enumerate(rows):
            own, other = unscaled(*values[i]), unscaled(*coarse.value(row))
            errors[i] = None if own is None or other is None else max(abs(own - other), errors[i] or 0.0)
    return values, [fine.scale(row, value) for row, value in zip(rows, values, strict=True)], errors


class _Values:
    """Rows read off the kernels."""

    def __init__(self, arch: Architecture, k: Kernels):
        self.arch, self.k = arch, k
        self.steps = np.flatnonzero(~k.program.taps)  # application -> step
        self.column = {a: c for c, a in enumerate(k.columns)}

    def value(self, row: Row) -> Scaled:
        """(mantissa, log) of a row."""
        a, b, t = row.application or 0, row.application_2, row.token or 0
        s = t if row.token_2 is None else row.token_2
        match row.quantity:
            case "residual_variance" | "token_covariance":
                return self._entry(self.k.states, self.k.state_log, (a,), t, s)
            case "gradient_variance" | "gradient_covariance":
                return self._entry(self.k.gradients, self.k.gradient_log, (0, a), t, s)
            case "state_cosine":
                return self._state_cosine(a, b or 0, t), 0.0
            case "write_cosine":
                return self._write_cosine(a - 1, (b or 0) - 1, t), 0.0
            case "weight_gradient":
                used = next(u for u in self.arch.applications_of(row.group or "").values() if u[0] == a)
                mantissa, log = self.k.groups[row.group or ""]
                return _sum(mantissa[0, self.steps[used]].ravel(), (log[0, self.steps[used]][:, :, None] + log[0, self.steps[used]][:, None, :]).ravel())
            case "ntk":
                return self._ntk(row.group, t, s)
        raise KeyError(row.quantity)

    def scale(self, row: Row, value: Scaled) -> Scaled:
        """|value| for variances, sqrt of the two diagonals for covariances, 1 for cosines."""
        kind = QUANTITIES[row.quantity].scale
        if kind == "one":
            return 1.0, 0.0
        if kind == "value" or row.token == row.token_2:
            return abs(value[0]), value[1]
        ends = [self.value(Row(row.quantity, row.application, token=t, token_2=t, group=row.group)) for t in (row.token, row.token_2)]
        return math.sqrt(ends[0][0] * ends[1][0]), (ends[0][1] + ends[1][1]) / 2

    @staticmethod
    def _entry(gram: np.ndarray, log: np.ndarray, at: tuple[int, ...], t: int, s: int) -> Scaled:
        return float(gram[*at, t, s]), float(log[*at, t] + log[*at, s])

    def _state_cosine(self, a: int, b: int, t: int) -> float:
        early, late = min(a, b), max(a, b)
        cross = self.k.crossed[late, self.column[early], t, t]
        return float(cross / math.sqrt(self.k.states[a, t, t] * self.k.states[b, t, t]))

    def _write_cosine(self, a: int, b: int, t: int) -> float:
        early, late = self.steps[min(a, b)], self.steps[max(a, b)]
        found = np.flatnonzero(self.k.program.partners[late] == early)
        if not len(found) or self.k.write_pairs is None:
            return 0.0  # no weight in common: the writes are independent
        return float(self.k.write_pairs[late, found[0], t, t] / math.sqrt(self.k.writes[a, t, t] * self.k.writes[b, t, t]))

    def _ntk(self, group: str | None, t: int, s: int) -> Scaled:
        if group is None:
            parts = [self._ntk(g, t, s) for g in (*self.arch.weights, READOUT, "stem")]
            return _sum(np.array([p[0] for p in parts]), np.array([p[1] for p in parts]))
        if group == "stem":
            gram, log = self.k.stem, self.k.stem_log
            return float(gram[t, s] * self.arch.input_gram[t, s]), float(log[t] + log[s])
        mantissa, log = self.k.groups[group]
        rows = float(self.arch.weights[group].rows) if group in self.arch.weights else 1.0
        value, size = _sum(mantissa[1, :, t, s], log[1, :, t] + log[1, :, s])
        return rows * value, size


def _sum(mantissa: np.ndarray, log: np.ndarray) -> Scaled:
    """sum mantissa exp(log), on the largest log."""
    if not len(mantissa):
        return 0.0, 0.0
    top = float(log.max())
    return float(np.sum(mantissa * np.exp(log - top))), top

"""Predicted slopes of a verdict's rows: n (mean - value) of ``sp.fluctuations``, over the rows'
scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from sigprop.description.architecture import Architecture
from sigprop.description.shapes import Row
from sigprop.errors import InputError, near_miss
from sigprop.theory.calculus.independence import check_writes
from sigprop.theory.fluctuations.fluctuations import moments
from sigprop.theory.fluctuations.forms import (
    check,
    check_quantities,
    having_forms,
    is_backward,
)
from sigprop.verdict import CONFIRMED, INCONCLUSIVE, REJECTED, Judgement, Predicted

FITTED, JUDGED, PREDICTED = SLOPES = ("fitted", "judged", "predicted")
"""What a verdict does with slopes: fits them; judges predicted ones too; and fixes them in the fit
of the limit where they are confirmed."""
UNITS = 512  # of one set: its error is small beside the margin, and a verdict stays quick


def check_slope(slope: str, theory: Architecture, rows: Sequence[Row]) -> str:
    """Return ``slope`` as it is; raises ``InputError`` for one that is none of ``SLOPES``, and for
    predicted ones of a theory, or of rows, that have no form for their fluctuations."""
    if slope not in SLOPES:
        raise InputError(f"slope={slope!r}{near_miss(str(slope), SLOPES)}")
    if slope != FITTED:
        having = having_forms(theory)
        check_writes(theory)
        if not any(row.quantity in having for row in rows):
            asked = check_quantities([row.quantity for row in rows])
            check(theory, is_backward(asked))
    return slope


def predicted_slopes(
    theory: Architecture, rows: Sequence[Row], scale: Float[np.ndarray, " R"], use: bool
) -> Predicted:
    """Predict b, and n Var of one network, of every row that has a form, deviation = a + b/n over
    ``scale``; use: see ``Predicted``. Source: docs/finite-width.md;
    tests/agreement/test_slopes.py."""
    slope, error, scatter = (np.full(len(rows), np.nan) for _ in range(3))
    having = having_forms(theory)
    has = np.array([row.quantity in having for row in rows])
    found = moments(theory, [row for row in rows if row.quantity in having], UNITS)
    slope[has], error[has] = found.shift / scale[has], found.shift_error / scale[has]
    scatter[has] = found.variance / scale[has] ** 2
    return Predicted(slope, error, use, scatter)


def columns(judgement: Judgement, i: int) -> dict[str, Any]:
    """Return what row i says of its predicted slope; nothing where none is predicted."""
    if not judgement.slopes[i]:
        return {}
    shown = ("predicted_slope", "predicted_slope_error", "slope_margin")
    numbers = {name: float(getattr(judgement, name)[i]) for name in shown}
    times = float(judgement.slope_times[i])
    more = {"slope_times": times} if math.isfinite(times) else {}
    return numbers | {"slope_verdict": judgement.slopes[i]} | more


def remarks(judgement: Judgement) -> dict[str, list[str]]:
    """Return the note that counts slopes by verdict, names what a wrong one rejects for, and the
    networks a rung that would decide those that are left."""
    counts = {name: judgement.slopes.count(name) for name in (CONFIRMED, REJECTED, INCONCLUSIVE)}
    if not any(counts.values()):
        return {}
    said = "slopes: " + ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    times = judgement.slope_times[np.isfinite(judgement.slope_times)]
    if len(times):
        needed = [math.ceil(count * max(times.max(), 1.0)) for count in judgement.samples]
        said += f"; {len(times)} of those would be decided by networks: {needed}"
    wrong = [judgement.reason] if judgement.reason.startswith("slope") else []
    return {"remarks": [said, *wrong]}

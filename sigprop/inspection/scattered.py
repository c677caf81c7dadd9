"""One network of a module beside the scatter that theory predicts for it: is a row that is off a
fluctuation, or a fault?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from scipy import stats

from sigprop.description.quantities import QUANTITIES
from sigprop.errors import InputError
from sigprop.inspection.compared import (
    COMPARED,
    JUDGED,
    ROUNDING,
    Row,
    Value,
    log_of,
    numbers,
    possible,
    predictions,
)
from sigprop.reading.read import Reading
from sigprop.runtime.progress import Progress
from sigprop.verdict.judgement import INCONCLUSIVE, REJECTED

CERTAIN = 0.99
"""Of all rows of a right network at once."""
STEM = ("residual_variance", "token_cosine")
"""Of which no row fluctuates where what comes before the first application is data. Both: a norm
behind an embedding holds the first alone."""
SAID = (
    "sd: of one network of this width, predicted; deviation: of the logarithm (of cosines: itself) "
    "in sd; tolerance: what all rows of a right one lie within at once, 99 %, the errors of theory "
    "and of sd included"
)
DATA = "what comes before the first application is data: its second moments do not fluctuate"


class Scatter(NamedTuple):
    """How far one network lies from a prediction: its standard deviation, with a bound."""

    sd: float
    error: float


def one_network(
    reading: Reading,
    quantities: Sequence[str] | None,
    error: float | None,
    progress: Progress,
) -> tuple[list[dict[str, Any]], str, list[str]]:
    """Return the rows of one network, each with its predicted scatter and a verdict (rejected
    outside of what all rows lie within at once with 99 %, else inconclusive), their common verdict,
    and remarks.

    quantities: of those compared by application (None: those that theory has). Raises
    ``InputError`` and ``NoRule`` for what has no form for its fluctuations (``sp.fluctuations``).
    Source: derived (docs/finite-width.md; tests/inspection/test_scattered.py).
    """
    from sigprop.inspection.networks import networks

    asked, left_out = _asked(reading, quantities)
    stem = tuple(Row(name, "", 0) for name in possible(STEM, reading))
    every = tuple(dict.fromkeys((*asked, *(row.quantity for row in stem))))
    predicted, remarks = predictions(reading, every, error)
    progress.start(1, "networks")
    (network,) = networks(reading, range(1), progress.advance)
    measured = numbers(network, reading, every)
    fixed = all(_alike(row, measured[row], predicted[row].value) for row in stem)
    scatter = _scatter(reading, asked, fixed)
    keys = [row for row in measured if row in predicted and row in scatter]
    limit = float(stats.norm.isf((1 - CERTAIN) / (2 * len(keys))))
    rows = [_judged(row, measured[row], predicted[row], scatter[row], limit) for row in keys]
    outside = [row for row in rows if row["verdict"] == REJECTED]
    verdict = REJECTED if outside else INCONCLUSIVE
    data = [DATA] if fixed else []
    return rows, verdict, [SAID, *_first(outside), *data, *left_out, *remarks]


def _asked(reading: Reading, quantities: Sequence[str] | None) -> tuple[tuple[str, ...], list[str]]:
    """Return what is compared, and remarks on what has no form."""
    from sigprop.theory.fluctuations.forms import having_forms

    arch = reading.architecture
    if quantities is not None:
        if other := [name for name in quantities if name not in JUDGED]:
            raise InputError(f"quantities={other[0]!r} with scatter; accepted: {', '.join(JUDGED)}")
        return tuple(quantities), []
    names, having = possible(JUDGED, reading), having_forms(arch)
    left = [f"{name}: its scatter has no form yet" for name in names if name not in having]
    return tuple(name for name in names if name in having), left


def _alike(row: Row, measured: float, value: float) -> bool:
    """Tell if a row is the predicted one to rounding, of cosines absolute."""
    return abs(measured - value) <= ROUNDING * (1.0 if COMPARED[row.quantity].absolute else value)


def _scatter(reading: Reading, quantities: Sequence[str], fixed_stem: bool) -> dict[Row, Scatter]:
    """Predict the scatter of the rows' means over tokens, forward and back by passes of their
    own."""
    from sigprop.theory.fluctuations.fluctuations import fluctuations

    arch, paths = reading.architecture, ("", *reading.paths)
    every, found = range(arch.depth + 1), dict[Row, Scatter]()
    for backward in (False, True):
        names = [name for name in quantities if QUANTITIES[name].backward == backward]
        if not names:
            continue
        given: dict[str, Any] = {"shift": False, "over_tokens": True, "fixed_stem": fixed_stem}
        for row in fluctuations(arch, names, every, width=reading.width, **given):
            at = row["application"]
            found[Row(row["quantity"], paths[at], at)] = Scatter(row["sd"], row["sd_error"])
    return found


def _judged(
    row: Row, measured: float, theory: Value, scatter: Scatter, limit: float
) -> dict[str, Any]:
    """One row, deviation and tolerance in standard deviations (of what no draw changes, in
    roundings of its value), but for cosines of logarithms: their law is closer to a Gaussian's."""
    size = 1.0 if COMPARED[row.quantity].absolute else abs(theory.value)
    rounding = ROUNDING * max(abs(theory.value), abs(measured)) / size
    sd, sd_error, error = (each / size for each in (scatter.sd, scatter.error, theory.error))
    off = (measured - theory.value) / size
    off = off if COMPARED[row.quantity].absolute else log_of(1 + off)
    unit = sd or rounding
    deviation, tolerance = off / unit, (limit * (sd + sd_error) + error + rounding) / unit
    return {
        "module": row.module,
        "quantity": row.quantity,
        "application": row.application,
        "measured": measured,
        "theory": theory.value,
        "error": theory.error,
        "sd": scatter.sd,
        "sd_error": scatter.error,
        "deviation": deviation,
        "tolerance": tolerance,
        "verdict": REJECTED if abs(deviation) > tolerance else INCONCLUSIVE,
    }


def _first(outside: Sequence[dict[str, Any]]) -> list[str]:
    """Say where a change shows first."""
    if not outside:
        return []
    forward = [row for row in outside if not QUANTITIES[row["quantity"]].backward] or outside
    row = min(forward, key=lambda row: row["application"])
    return [f"first outside: {row['quantity']} at {row['module'] or 'the stem'}"]

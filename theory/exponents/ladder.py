"""What the exact recursion says on a ladder of sizes: logarithms of the quantities that
exponents are of, and their slopes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.scaling.growth_rows import COSINE, FIRST, LANE, LAST, Key, growth_rows, silent
from sigprop.theory.predictions.evaluate import evaluate
from sigprop.theory.recursion.program import Room

DIGITS = 12  # of a slope; beyond is rounding


def logarithms(arch: Architecture, room: Room = Room()) -> dict[Key, float]:  # noqa: B008 (a tuple)
    """ln of residual_rms and update of the last state, gradient at the stem, weight_gradient and
    ntk of every group (``growth_rows``); zeros are left out."""
    wanted = growth_rows(arch)
    values, *_ = evaluate(
        arch, tuple(row for rows in wanted.values() for row in rows), room=room, sets=1
    ).required()
    found, at, without = {}, iter(values), silent(arch)
    for key, rows in wanted.items():
        parts = [next(at) for _ in rows]
        top = max(log for _, log in parts)
        amount = sum(value * math.exp(log - top) for value, log in parts)
        if key[0] in (LANE, COSINE):
            found[key] = parts[0][0]
        elif amount > 0 and key[1] not in without:
            found[key] = math.log(amount) + top
    return _states(found) | {
        key: value for key, value in found.items() if key[0] not in (LAST, FIRST, COSINE, LANE)
    }


def _states(found: Mapping[Key, float]) -> dict[Key, float]:
    """rms of the last state, and of what was added to the first (one cosine stands for all
    tokens': the first token's)."""
    if (LANE, None) in found:
        return {("residual_rms", None): found[LANE, None]}
    last, ratio = (
        found[LAST, None],
        math.exp(min((found[FIRST, None] - found[LAST, None]) / 2, 300.0)),
    )
    added = 1 + ratio**2 - 2 * found[COSINE, None] * ratio
    states: dict[Key, float] = {("residual_rms", None): last / 2}
    return states | ({("update", None): last / 2 + math.log(added) / 2} if added > 0 else {})


def slope(sizes: Sequence[int], logs: Sequence[float]) -> float:
    """Least-squares slope of ln y in ln size: what a fit of the same ladder would find."""
    x = np.log(np.asarray(sizes, dtype=float))
    return round(float(np.polyfit(x, np.asarray(logs, dtype=float), 1)[0]), DIGITS)


def end_to_end(sizes: Sequence[int], logs: Sequence[float]) -> float:
    """ln(y_last/y_first)/ln(size_last/size_first)."""
    return round(float((logs[-1] - logs[0]) / math.log(sizes[-1] / sizes[0])), DIGITS)

"""``evaluate_to``: sampled heads, or draws of scores, are bought until no stated error is above
what was asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from sigprop.description.architecture import Architecture
from sigprop.description.shapes import Row
from sigprop.errors import InputError
from sigprop.theory.predictions.evaluate import Evaluated, evaluate, sampled, unscaled

MOST = 64  # times the heads of a prediction that asks for no error


class Short(NamedTuple):
    """A row whose stated error is above the target: its number, the error over its scale, and how
    many times the heads would meet the target (inf: none would)."""

    row: int
    error: float
    times: float


def check_error(error: float | None) -> float | None:
    """The target, if it is one; else ``InputError``."""
    if error is not None and not 0 < error < 1:
        raise InputError(
            f"error={error!r}; accepted: a number between 0 and 1, of a row's value (of a cosine "
            f"itself)"
        )
    return error


def evaluate_to(
    arch: Architecture, rows: Sequence[Row], target: float | None
) -> tuple[Evaluated, list[str]]:
    """``evaluate`` with as many heads as bring every row's error to ``target`` times its scale,
    at most ``MOST`` times as many; and a remark that says so where it does not.

    An error falls as the root of the heads, or faster: what is missing is bought at once, and again
    where that was not enough. What more than ``MOST`` times would meet is not begun.
    """
    finer, found = 1, evaluate(arch, rows)
    while target is not None and (short := shortest(found, target)) is not None:
        grows = (sampled(arch) or arch.scored) and math.isfinite(short.times)
        more = 2 ** max(1, math.ceil(math.log2(short.times))) if grows else 1
        if more == 1 or finer * more > MOST:
            return found, [_remark(rows[short.row], short, target, finer if grows else None)]
        finer *= more
        found = evaluate(arch, rows, finer=finer)
    return found, []


def shortest(found: Evaluated, target: float) -> Short | None:
    """Find the row that needs most heads, if any error is above ``target`` times its scale."""
    rows = []
    for at, (scale, error, sampling) in enumerate(
        zip(found.scales, found.errors, found.sampling, strict=True)
    ):
        size = unscaled(*scale) if all(map(math.isfinite, scale)) else None
        if not size or error is None or sampling is None or error <= target * size:
            continue
        left = target * size - (error - sampling)
        rows.append(Short(at, error / size, (sampling / left) ** 2 if left > 0 else math.inf))
    return max(rows, key=lambda short: (short.times, short.error), default=None)


def _remark(row: Row, short: Short, target: float, finer: int | None) -> str:
    """Say which row has what error, and what it would cost to meet the target."""
    name = ", ".join(f"{key} {value}" for key, value in row.to_dict().items() if key != "quantity")
    said = f"error={target:g} is not met: {row.quantity} at {name} has {short.error:.2g}"
    if finer is None:
        return f"{said}, of which more sampled heads would take nothing"
    # at equal accuracy, time is in proportion
    times = finer * short.times
    return (
        f"{said}; {times:.0f} times the heads (and time) of a prediction without error= would "
        f"meet it, and at most {MOST} times are bought"
    )

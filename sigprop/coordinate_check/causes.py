"""Where a rejected change comes from: the groups of parameters whose own step, at their module's
output, does not go with size as the prescribed rule's does.

The effective part of a group after the first step depends on its own rate, and on what comes back
to it; a wrong exponent in one group's rate is seen there and nowhere else. Source: docs/check.md;
tests/coordinate_check/test_causes.py plants wrong exponents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sigprop.coordinate_check.slopes import Cell, Changes
from sigprop.simulations.training.parts import EFFECTIVE
from sigprop.verdict.judgement import REJECTED
from sigprop.verdict.slope import Fit, judge

NAMED = 3
"""Groups in the sentence; ``breaks`` has all."""
LETTERS = {"width": "n", "depth": "L", "loops": "N"}


class Cause(NamedTuple):
    """A group whose effective part is off, on one ladder: fitted slope, its standard error, the
    reference's."""

    variable: str
    group: str
    slope: float
    se: float
    reference: float

    def __str__(self) -> str:
        return (
            f"group {self.group}: its effective part {_power(self.variable, self.slope)} "
            f"(reference {_two(self.reference)})"
        )


def causes(changes: Changes) -> list[Cause]:
    """Return the groups that break, the farthest off first; none where theory has no number."""
    found = [
        Cause(changes.variable, group, line.slope, line.se, line.reference)
        for group, line in _groups(changes)
        if judge(line) == REJECTED
    ]
    return sorted(found, key=lambda cause: -abs(cause.slope - cause.reference))


def _groups(changes: Changes) -> list[tuple[str, Fit]]:
    """Return every group's effective part after the fewest steps, where there is a reference."""
    cells = {
        column.group: Cell(0, j)
        for j, column in enumerate(changes.columns)
        if column.quantity == EFFECTIVE and column.group is not None
    }
    return [
        (group, changes.fit(cell))
        for group, cell in cells.items()
        if changes.about(changes.reference, cell) is not None
    ]


def rejected(changes: Changes) -> bool:
    """Tell if a row is rejected, as last looked at."""
    return REJECTED in changes.verdicts[-1].values()


def told(ladders: Sequence[Changes]) -> str | None:
    """Say which groups break, ladder by ladder, of those that are rejected; None where none is."""
    said = [_told(changes) for changes in ladders if rejected(changes)]
    return "; ".join(said) or None


def _told(changes: Changes) -> str:
    found = causes(changes)
    if found:
        left = len(found) - NAMED
        more = [f"and {left} more group{'s' if left > 1 else ''}"] if left > 0 else []
        return ", ".join([*map(str, found[:NAMED]), *more])
    if not _groups(changes):
        return f"in {changes.variable} no group is named: theory has no first step to compare with"
    rows = {cell: changes.fit(cell) for cell, v in changes.verdicts[-1].items() if v == REJECTED}
    cell = max(rows, key=lambda at: abs(rows[at].slope - rows[at].reference))
    return (
        f"{changes.columns[cell.column].quantity} {_power(changes.variable, rows[cell].slope)} "
        f"(reference {_two(rows[cell].reference)}), and no group's effective part is off: what "
        f"changes pass through is (std of the read-out, residual scale)"
    )


def remarks(changes: Changes) -> list[str]:
    """Say how many networks decided a ladder, and what is off without a row that shows it."""
    found = [changes.decided(cell) for cell in changes.cells()]
    decided = sorted({count for count in found if count is not None})
    by = " to ".join(map(str, dict.fromkeys((decided[0], decided[-1])))) if decided else "none"
    lines = [
        f"in {changes.variable}: {len(found) - found.count(None)} of {len(found)} rows decided, "
        f"by {by} networks of the largest size ({len(changes.squares[-1])} of it in all, "
        f"{len(changes.squares[0])} of the smallest)"
    ]
    quiet = [] if rejected(changes) else causes(changes)
    return lines + [f"in {changes.variable}: no row shows it yet, but {cause}" for cause in quiet]


def notes(ladders: Sequence[Changes]) -> dict[str, Any]:
    """Return what the table says of causes: each as a dict, and the sentence."""
    found = [cause for changes in ladders if rejected(changes) for cause in causes(changes)]
    cause = told(ladders)
    return {
        **({"cause": cause} if cause is not None else {}),
        "breaks": [one._asdict() for one in found],
        "remarks": [line for changes in ladders for line in remarks(changes)],
    }


def _power(variable: str, slope: float) -> str:
    """Say how something goes with size: ``grows as n^0.50``."""
    rounded = _two(slope)
    verb = "goes" if not float(rounded) else "grows" if slope > 0 else "falls"
    return f"{verb} as {LETTERS[variable]}^{rounded}"


def _two(slope: float) -> str:
    """Write with two decimals, and no -0.00."""
    return f"{round(slope, 2) + 0.0:.2f}"

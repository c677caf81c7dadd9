"""The changes of one ladder of networks: their slopes beside theory's, and every point."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from sigprop.coordinate_check.ladder import Rung
from sigprop.verdict.judgement import INCONCLUSIVE
from sigprop.verdict.slope import LEVEL, TOLERANCE, Fit, Known, fit, judge, point


class Column(NamedTuple):
    """What is looked at: quantity; group, of parts; judged: whether it is a row of the table (else
    it only tells which group breaks); absolute: compared with 0 where theory has no number."""

    quantity: str
    group: str | None = None
    judged: bool = True
    absolute: bool = True


class Cell(NamedTuple):
    """Indices into a ladder's numbers of steps and into its columns."""

    step: int
    column: int


@dataclass
class Changes:
    """Squared changes [networks, steps, columns] of each rung of a ladder at one base rate; ln of
    what theory has for every column after one step of base rate 1 at every size (None where it has
    it not everywhere), under the rule in use and, for reference, under the prescribed one; looks:
    numbers of networks of the last rung at which verdicts were asked for, each in ``verdicts``.
    At rates of the linear regime k steps on one batch of the linear loss change k times as much as
    the first."""

    variable: str
    rate: float
    steps: tuple[int, ...]
    loss: str
    columns: tuple[Column, ...]
    ladder: Sequence[Rung]
    theory: list[list[Known]] | None
    reference: list[list[Known]] | None
    squares: list[np.ndarray]
    confidence: float = LEVEL
    looks: list[int] = field(default_factory=list)
    verdicts: list[dict[Cell, str]] = field(default_factory=list)

    @property
    def sizes(self) -> list[int]:
        return [rung.size for rung in self.ladder]

    def cells(self) -> list[Cell]:
        """Return every number of steps with every judged column that has a reference."""
        return [
            cell
            for cell in (
                Cell(i, j)
                for i in range(len(self.steps))
                for j, column in enumerate(self.columns)
                if column.judged
            )
            if self.columns[cell.column].absolute or self.about(self.reference, cell) is not None
        ]

    def about(self, logs: list[list[Known]] | None, at: Cell) -> list[Known] | None:
        """Return theory's logs of this number of steps and column, where it has them."""
        steps = self.steps[at.step]
        if logs is None or (steps > 1 and self.loss != "linear"):
            return None
        found = [known[at.column] for known in logs]
        found = [known._replace(log=known.log + math.log(steps)) for known in found]
        return found if all(math.isfinite(known.log) for known in found) else None

    def fit(self, at: Cell) -> Fit:
        """Return the networks' slope beside the reference's."""
        line = self._line(at, self.about(self.reference, at))
        # of the output: the rule's own prediction is not flat, and no network makes it so (states
        # and parts hold an ever smaller or larger share of a network whose output is right)
        drifts = self.columns[at.column].quantity == "output" and abs(line.reference) > TOLERANCE
        return line._replace(reference=0.0, exact=False) if drifts else line

    def predicted(self, at: Cell) -> float | None:
        """Return theory's slope under the rule in use, where it has one."""
        logs = self.about(self.theory, at)
        return None if logs is None else self._line(at, logs).reference

    def look(self, networks: int) -> bool:
        """Judge every row at this number of networks; tell if one is inconclusive."""
        self.looks.append(networks)
        self.verdicts.append({cell: judge(self.fit(cell)) for cell in self.cells()})
        return INCONCLUSIVE in self.verdicts[-1].values()

    def decided(self, at: Cell) -> int | None:
        """Return at how many networks of the last rung a row's verdict was found; None if it
        was not."""
        found = [verdicts[at] for verdicts in self.verdicts]
        if found[-1] == INCONCLUSIVE:
            return None
        first = len(found)
        while first and found[first - 1] == found[-1]:
            first -= 1
        return self.looks[first]

    def _line(self, at: Cell, logs: list[Known] | None) -> Fit:
        measured = [point(squares[:, at.step, at.column]) for squares in self.squares]
        return fit(self.sizes, measured, logs, self.confidence)


def rows(changes: Changes) -> list[dict[str, Any]]:
    """Return a row for every number of steps and judged column, with its verdict."""
    return [_labels(changes, at) | _row(changes, at) for at in changes.cells()]


def points(changes: Changes) -> list[dict[str, Any]]:
    """Return every rung's rms change for each of ``rows``, beside theory's where it has one."""
    return [
        _labels(changes, at) | values for at in changes.cells() for values in _points(changes, at)
    ]


def _labels(changes: Changes, at: Cell) -> dict[str, Any]:
    """Name what a row is about."""
    column = changes.columns[at.column]
    return {
        "quantity": column.quantity,
        "variable": changes.variable,
        "steps": changes.steps[at.step],
        **({} if column.group is None else {"group": column.group}),
    }


def _row(changes: Changes, at: Cell) -> dict[str, Any]:
    """Judge one slope; numbers that are not finite become None."""
    line = changes.fit(at)
    widths = {rung.width for rung in changes.ladder}
    off = line.slope - line.reference
    row = {
        "slope": line.slope,
        "se": line.se,
        "predicted": changes.predicted(at),
        "reference": line.reference,
        "deviation": off,
        "lower": off - line.half,
        "upper": off + line.half,
        "tolerance": TOLERANCE,
        "verdict": judge(line),
        "decided": changes.decided(at),
        "sizes": changes.sizes,
        "samples": len(changes.squares[-1]),
        "width": widths.pop() if len(widths) == 1 else None,
    }
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def _points(changes: Changes, at: Cell) -> Iterator[dict[str, Any]]:
    """Yield each rung's rms change for one row, and theory's at the base rate in use."""
    logs = changes.about(changes.theory, at) or [None] * len(changes.ladder)
    for rung, squares, known in zip(changes.ladder, changes.squares, logs, strict=True):
        measured = point(squares[:, at.step, at.column])
        yield {
            "size": rung.size,
            "value": math.exp(measured.log),
            "relative_se": measured.se,
            "theory": None if known is None else changes.rate * math.exp(known.log),
            "relative_error": None if known is None else known.error,
            "samples": measured.networks,
            "width": rung.width,
            "applications": rung.arch.depth,
        }

"""``evaluate``: rows read off the kernels, at resolutions whose disagreement is the stated
numerical error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.quantities import QUANTITIES
from sigprop.description.shapes import Row
from sigprop.errors import InputError
from sigprop.language.expression import Activate, Attend
from sigprop.language.traversal import walk
from sigprop.theory.attention.draws import law
from sigprop.theory.gaussian import dual, field
from sigprop.theory.predictions.statuses import SAMPLED, explain
from sigprop.theory.predictions.values import Scaled, Values
from sigprop.theory.recursion.kernels import COARSE, DEGREE, sampled_kernels
from sigprop.theory.recursion.passes import FORWARD, GRADIENTS, NTK
from sigprop.theory.recursion.program import Room

LARGEST = 1e300  # beyond it a value is given by its logarithm only
# independent sets of sampled heads, whose mean is the value and whose scatter is its error
REPLICATES = 16
CONFIDENCE = 0.99  # of the error stated for sampled heads
EPSILON = 2.0**-52
MOVED = 4  # a square root moves by up to 2.4 times as much inwards of its end as outwards


def status(arch: Architecture) -> str:
    """'exact' where every activation has a closed form and attention is uniform, else
    'quadrature'."""
    return "quadrature" if _series(arch) or sampled(arch) or arch.scored else "exact"


def behind(arch: Architecture, row: Row) -> bool:
    """Tell whether a row is of a state that a function without a rule has changed."""
    at = [a for a in (row.application, row.application_2) if a is not None]
    return bool(arch.sampled) and max(at, default=arch.depth) > arch.sampled[0]


def _nodes(arch: Architecture, kind: type) -> list:  # type: ignore[type-arg]
    """Return all nodes of a kind, the read-out's too."""
    branches = [block.branch for block in arch.sub_blocks] + [arch.readout.branch]
    return [node for branch in branches for node in walk(branch) if isinstance(node, kind)]


def _series(arch: Architecture) -> bool:
    """Tell if a Hermite series is used."""
    return any(dual.status(node.activation) == "quadrature" for node in _nodes(arch, Activate))


def sampled(arch: Architecture) -> bool:
    """Tell if numbers come of draws: attention's expectation over sampled heads, functions without
    a rule."""
    return (
        bool(arch.sampled)
        or arch.tokens > 1
        and any(not law(node).certain for node in _nodes(arch, Attend))
    )


def unscaled(value: float, log: float) -> float | None:
    """The plain number, or None beyond 1e300, and where it is no number."""
    if value == 0 and not math.isnan(log):
        return 0.0
    return (
        math.copysign(math.exp(log + math.log(abs(value))), value)
        if log + math.log(abs(value)) < math.log(LARGEST)
        else None
    )


class Evaluated(NamedTuple):
    """The rows: values, scales (what a deviation is divided by, docs/verdict.md, step 2),
    errors, and with learned modulators the standard deviations between networks (of forward
    rows; else None); statuses, and remarks that say why a value is not there; sampling: the part of
    the errors that comes of sampled heads or modulators' scores (0 where there are none)."""

    values: list[Scaled]
    scales: list[Scaled]
    errors: list[float | None]
    sds: list[float | None]
    statuses: list[str]
    remarks: list[str]
    sampling: list[float | None]

    def required(self) -> Evaluated:
        """Return it as it is; raise ``InputError`` where a value is no number."""
        if self.remarks:
            raise InputError(
                f"theory has no value: {self.remarks[0]}; accepted: parameters at which every "
                f"value is finite"
            )
        return self


class _Reader(NamedTuple):
    """Reads rows off the kernels, at any fineness."""

    arch: Architecture
    rows: Sequence[Row]
    columns: tuple[int, ...]
    reach: int
    approximation: str | None
    room: Room
    finer: int

    def draws(
        self, seed: int = 0, degree: int = DEGREE, nudge: float = 0.0, tail: float = 1.0
    ) -> list[Values]:
        """Run the recursion, once for each draw of the modulators' scores."""
        grams = sampled_kernels(
            self.arch,
            self.columns,
            degree,
            seed,
            reach=self.reach,
            approximation=self.approximation,
            room=self.room,
            nudge=nudge,
            tail=tail,
            finer=self.finer,
        )
        return [Values(self.arch, each, nudge) for each in grams]

    def means(self, draws: Sequence[Values]) -> list[Scaled]:
        """Average the rows over draws of the modulators' scores."""
        return [_mean([values.value(row) for values in draws]) for row in self.rows]


def evaluate(
    arch: Architecture,
    rows: Sequence[Row],
    approximation: str | None = None,
    room: Room = Room(),  # noqa: B008 (a tuple)
    sets: int = REPLICATES,
    finer: int = 1,
) -> Evaluated:
    """The rows' wide limits; room: ``program.Room``; sets: of sampled heads or modulators' scores,
    where there are any; finer: times as many heads in each, a power of two.

    errors, which add: rounding, relative to the row's diagonals; four times what the rows move by
    when every 1 - cos^2 that was read from rounded Grams is moved by its rounding, and what series
    leave out is left out; where a Hermite series is used, the difference of two degrees; where
    heads or modulators' scores are sampled, the half-width of a 99 % interval (Student's t) over
    ``REPLICATES`` independent sets, whose mean is the value.
    """
    reader = _reader(arch, rows, approximation, room)._replace(finer=finer)
    seeds = range(sets if (sampled(arch) or arch.scored) and approximation is None else 1)
    draws = [reader.draws(seed) for seed in seeds]
    by_draw = [[[values.value(row) for values in each] for row in rows] for each in draws]
    by_set = [_set_means(arch, rows, each) for each in by_draw]
    values = [_mean([means[r] for means in by_set]) for r in range(len(rows))]
    usual = [SAMPLED if behind(arch, row) else status(arch) for row in rows]
    statuses, remarks = explain([each.k for each in draws[0]], rows, values, usual)
    errors = [_rounding(draws[0][0], row, value) for row, value in zip(rows, values, strict=True)]
    others = _numerical(reader, draws[0], by_set[0])
    sampling: list[float | None] = [0.0] * len(rows)
    if len(draws) > 1:
        sampling = _sampling(by_set, values)
    others.append(sampling)
    for other in others:
        errors = [
            None if error is None or more is None else error + more
            for error, more in zip(errors, other, strict=True)
        ]
    sds = [
        _spread([v for each in by_draw for v in each[r]], values[r][1], 1.0)
        if arch.scored and not QUANTITIES[row.quantity].backward
        else None
        for r, row in enumerate(rows)
    ]
    scales = [_scale(draws[0], row, value) for row, value in zip(rows, values, strict=True)]
    return Evaluated(values, scales, errors, sds, statuses, remarks, sampling)


def _set_means(
    arch: Architecture, rows: Sequence[Row], draws: Sequence[Sequence[Scaled]]
) -> list[Scaled]:
    """Average each row over one set of draws; a rate of skipping is what it was set to."""
    return [
        (field.skip_rate(arch, row.application or 0), 0.0)
        if row.quantity == "skip_rate"
        else _mean(values)
        for row, values in zip(rows, draws, strict=True)
    ]


def _sampling(by_set: Sequence[Sequence[Scaled]], values: Sequence[Scaled]) -> list[float | None]:
    """Return the half-width of the interval that independent sets give for their mean."""
    width = half_width(len(by_set))
    return [
        _spread([means[r] for means in by_set], log, width) for r, (_, log) in enumerate(values)
    ]


def half_width(sets: int) -> float:
    """Half the interval of the mean of independent sets, in standard deviations of one."""
    from scipy.special import stdtrit  # a tenth of a second: only where something is sampled

    return float(stdtrit(sets - 1, (1 + CONFIDENCE) / 2)) / math.sqrt(sets)


def _reader(
    arch: Architecture, rows: Sequence[Row], approximation: str | None, room: Room
) -> _Reader:
    """Find the states whose overlaps the rows need, and how far the passes go for them."""
    tracked = {
        row.application
        for row in rows
        if row.application_2 is not None and row.application is not None
    }
    tracked |= set(
        range(max((row.application or 0 for row in rows if row.quantity == "rotation"), default=0))
    )
    columns = tuple(
        sorted(tracked | {0} if any(row.quantity == "logit_contact" for row in rows) else tracked)
    ) or (0,)
    return _Reader(
        arch,
        rows,
        columns,
        max((_reach(row.quantity) for row in rows), default=FORWARD),
        approximation,
        room,
        1,
    )


def _rounding(values: Values, row: Row, value: Scaled) -> float | None:
    """Return the arithmetic's error, relative to the row's magnitude; a logarithm's rounding is
    relative to itself."""
    if unscaled(*value) is None:
        return None
    size, log = values.magnitude(row, value)
    relative = 1e-14 * (10 + values.arch.depth) + 4 * EPSILON * (abs(log) + values.largest_log)
    return unscaled(relative * abs(size), log)


def _numerical(
    reader: _Reader, draws: Sequence[Values], means: Sequence[Scaled]
) -> list[list[float | None]]:
    """Return the errors that other runs of the same program show: moved by rounding, and of fewer
    degrees."""
    arch, series = reader.arch, _series(reader.arch)
    nudge = 8 * EPSILON * math.sqrt(16 + arch.depth)
    again = (arch.tokens > 1 or arch.tied) and (_nodes(arch, Activate) or _nodes(arch, Attend))
    moved = (
        reader.draws(nudge=nudge, tail=0.0 if series else 1.0)
        if again
        else [Values(arch, each.k, nudge) for each in draws]
    )
    pairs = zip(means, reader.means(moved), strict=True)
    others: list[list[float | None]] = [
        [None if (d := _difference(*pair)) is None else MOVED * d for pair in pairs]
    ]
    if series:
        coarse = reader.means(reader.draws(degree=COARSE))
        others.append([_difference(*pair) for pair in zip(means, coarse, strict=True)])
    return others


def _reach(quantity: str) -> int:
    """Return how far the passes go for it."""
    if quantity == "ntk":
        return NTK
    return GRADIENTS if QUANTITIES[quantity].backward else FORWARD


def _scale(sets: Sequence[Values], row: Row, value: Scaled) -> Scaled:
    """Return ``Values.scale``; of a covariance from the means of its two ends."""
    return (
        sets[0].scale(row, value)
        if len(sets) == 1
        else _mean([values.scale(row, value) for values in sets])
    )


def _mean(values: Sequence[Scaled]) -> Scaled:
    """Average values on their largest scale; nan where one is no number."""
    top = max(log for _, log in values)
    if not all(map(math.isfinite, (number for value in values for number in value))):
        return math.nan, 0.0
    return float(np.mean([v * math.exp(log - top) for v, log in values])), top


def _spread(values: Sequence[Scaled], log: float, width: float) -> float | None:
    """Return the standard deviation of values, times ``width``."""
    scaled = [v * math.exp(own_log - log) for v, own_log in values]
    return unscaled(width * float(np.std(scaled, ddof=1)), log)


def _difference(value: Scaled, other: Scaled) -> float | None:
    """Return by how much two values differ, None where one is too large."""
    a, b = unscaled(*value), unscaled(*other)
    return None if a is None or b is None else abs(a - b)

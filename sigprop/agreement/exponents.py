"""``verify --exponents``: slopes of finite networks over a ladder of depths or loops, against
the recursion's slopes on that same ladder.

fitted: slope of ln(mean over networks) in ln(size), weighted by the means' own errors; effective:
the recursion's with the same weights. Networks are added, 128 to 2048 a size, until the interval is
within tolerance/2. rejected: the 99 % interval, Bonferroni over rows, lies outside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from sigprop.agreement.sampler import Simulation
from sigprop.description.architecture import Architecture
from sigprop.description.family import Family
from sigprop.description.shapes import Row
from sigprop.errors import InputError
from sigprop.runtime.progress import Progress, Silent
from sigprop.scaling.growth_rows import COSINE, FIRST, LANE, LAST, Key, growth_rows
from sigprop.simulations.engines.monte_carlo import engine_for, sample
from sigprop.simulations.measure import check_sizes
from sigprop.simulations.network.precision import SINGLE
from sigprop.tables.table import Table
from sigprop.theory.exponents.table import default_ladder, exponents, sized
from sigprop.verdict.judgement import CONFIRMED, INCONCLUSIVE, REJECTED, overall
from sigprop.verdict.slope import Fit, Known, Point, fit

FIRST_LOOK, MOST = 128, 2048  # networks a size: at first, and at most
CONFIRM, REJECT = 0.90, 0.99


def verify_exponents(
    arch: Architecture,
    tolerance: float = 0.05,
    width: int = 256,
    seed: int = 0,
    engine: str = "auto",
    variables: Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
    memory_mib: int = 1024,
    progress: Progress | None = None,
    family: Family | None = None,
    dtype: str = SINGLE,
) -> Table:
    """Test if abs(fitted - effective) <= tolerance for every quantity. Rows of ``exponents`` with
    fitted, fitted_se, lower, upper (90 %), verdict, as this module says.

    width: of all networks, whose own 1/width the tolerance has to cover; dtype: their precision;
    seed, engine, memory_mib, progress: as in ``measure``; variables, sizes, family: as in
    ``exponents``. Raises ``InputError``. Source: docs/exponents.md.
    """
    check_sizes(width=width, seed=seed, memory_mib=memory_mib)
    _check(tolerance, variables)
    family = family or arch.family
    theory = exponents(arch, variables, sizes, family)
    assert family is not None  # ``exponents`` refuses
    simulation = Simulation(seed=seed, engine=engine, dtype=dtype, memory_mib=memory_mib)
    networks = _Networks(arch, family, width, simulation, tolerance, progress or Silent())
    rows = _rows(theory, networks, tuple(sizes or default_ladder(arch)))
    verdict = overall([row["verdict"] for row in rows])
    notes = {"seed": seed, "engine": engine, "dtype": dtype, "width": width, **(theory.notes or {})}
    return Table(arch.name, dict(arch.parameters), rows, "verify", verdict, notes)


def _check(tolerance: float, variables: Sequence[str] | None) -> None:
    """Raise ``InputError`` for a tolerance or a variable that cannot be used."""
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance={tolerance}; accepted: a number between 0 and 1")
    for name in variables or ():
        if name not in ("depth", "loops"):
            raise InputError(
                f"variable={name!r}: networks are compared over depth and loops; accepted: depth, "
                f"loops"
            )


def _rows(theory: Table, networks: _Networks, ladder: tuple[int, ...]) -> list[dict[str, Any]]:
    """Judge every row of ``exponents`` that networks are sampled for and that has a slope."""
    rows: list[dict[str, Any]] = []
    for variable in dict.fromkeys(row["variable"] for row in theory):
        compared = [
            row
            for row in theory
            if row["variable"] == variable and _sampled((row["quantity"], row["group"]))
        ]
        measured = networks.means(variable, ladder)
        rows += [
            {key: value for key, value in row.items() if key != "logs"}
            | _judged(
                _slopes(ladder, measured[row["quantity"], row["group"]], row["logs"]),
                networks.tolerance,
                len(compared),
            )
            for row in compared
            if row["logs"] is not None
        ]
    return rows


def _sampled(key: Key) -> bool:
    """Tell if networks are sampled for it: not first steps (``check`` takes them), nor single
    groups of the tangent kernel, which are weight gradients again."""
    return not key[0].startswith("output_change") and (key[0] != "ntk" or key[1] is None)


@dataclass(frozen=True)
class _Networks:
    """The finite networks of a family that slopes are measured on, all of one width."""

    arch: Architecture
    family: Family
    width: int
    simulation: Simulation
    tolerance: float
    progress: Progress

    def means(self, variable: str, ladder: Sequence[int]) -> dict[Key, list[Point]]:
        """Return ln of each quantity's mean at every size."""
        x = np.log(np.array(ladder, dtype=float))
        # of each size's ln mean
        allowed = float(
            self.tolerance / 2 / ndtri((1 + CONFIRM) / 2) * math.sqrt(((x - x.mean()) ** 2).sum())
        )
        points: dict[Key, list[Point]] = {}
        for size in ladder:
            member = sized(self.arch, self.family, variable, size)
            for key, point in self._enough(member, allowed, f"{variable} {size}").items():
                points.setdefault(key, []).append(point)
        return points

    def _enough(self, member: Architecture, allowed: float, label: str) -> dict[Key, Point]:
        """Return ln of each quantity's mean, from as many networks as its error asks for."""
        how = self.simulation
        wanted = {key: rows for key, rows in growth_rows(member).items() if _sampled(key)}
        every = tuple(row for rows in wanted.values() for row in rows)
        engine = engine_for(how.engine, member, every, self.width, how.memory_mib, dtype=how.dtype)
        count = FIRST_LOOK
        while True:
            self.progress.start(count, label)
            values = sample(engine, count, how.seed, 0, self.progress.advance)
            points = {
                key: _log_mean(numbers, key) for key, numbers in _quantities(wanted, values).items()
            }
            if count >= MOST or all(point.se <= allowed for point in points.values()):
                return points
            count = min(4 * count, MOST)


def _quantities(wanted: dict[Key, list[Row]], values: np.ndarray) -> dict[Key, np.ndarray]:
    """Return [networks] of each quantity: sums over tokens and slots network by network."""
    ends = np.cumsum([len(rows) for rows in wanted.values()])
    parts = {
        key: values[:, end - len(rows) : end].sum(axis=1)
        for (key, rows), end in zip(wanted.items(), ends, strict=True)
    }
    summed = {key: part for key, part in parts.items() if key[0] not in (LAST, FIRST, COSINE, LANE)}
    if (LANE, None) in parts:
        return {("residual_rms", None): np.exp(2 * parts[LANE, None])} | summed
    last, first, cosine = (parts[name, None] for name in (LAST, FIRST, COSINE))
    return {
        ("residual_rms", None): last,
        ("update", None): last + first - 2 * cosine * np.sqrt(last * first),
    } | summed


def _log_mean(numbers: np.ndarray, key: Key) -> Point:
    """Return ln of the mean (half of it for rms values) and its standard error."""
    power = 0.5 if key[0] in ("residual_rms", "update") else 1.0
    mean, count = float(numbers.mean()), len(numbers)
    if mean <= 0:
        return Point(-math.inf, 0.0, count)
    error = power * float(numbers.std(ddof=1)) / math.sqrt(count) / mean
    return Point(power * math.log(mean), error, count)


class _Slopes(NamedTuple):
    """The networks' slope beside the recursion's with the same weights; networks a size at most."""

    fit: Fit
    samples: int


def _slopes(ladder: Sequence[int], points: Sequence[Point], logs: Sequence[float]) -> _Slopes:
    """Fit both; logs: the recursion's."""
    return _Slopes(
        fit(ladder, points, [Known(log) for log in logs]), max(point.networks for point in points)
    )


def _judged(slopes: _Slopes, tolerance: float, rows: int) -> dict[str, Any]:
    """Return fitted beside effective, and what their difference says; rows: how many are judged
    together."""
    line = slopes.fit
    half, far = (
        float(ndtri(1 - (1 - level) / 2)) * line.se for level in (CONFIRM, 1 - (1 - REJECT) / rows)
    )
    off = line.slope - line.reference
    verdict = INCONCLUSIVE
    if abs(off) + half <= tolerance:
        verdict = CONFIRMED
    elif abs(off) - far > tolerance:
        verdict = REJECTED
    return {
        "effective": line.reference,
        "fitted": line.slope,
        "fitted_se": line.se,
        "deviation": off,
        "lower": off - half,
        "upper": off + half,
        "tolerance": tolerance,
        "samples": slopes.samples,
        "verdict": verdict,
    }

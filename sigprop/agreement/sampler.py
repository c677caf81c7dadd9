"""The networks that a verdict is about: their rows, at any width, and how wide they may be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sigprop.agreement.finite_width.controlled import Beside
from sigprop.agreement.identities import Origins
from sigprop.description.architecture import Architecture
from sigprop.description.shapes import Row
from sigprop.errors import InputError
from sigprop.runtime.progress import Progress, Silent
from sigprop.simulations.engines.controlled import check_control
from sigprop.simulations.engines.engine import Engine
from sigprop.simulations.engines.monte_carlo import ENGINES, TYPICAL, engine_for, sample
from sigprop.simulations.engines.population import expected
from sigprop.simulations.network.precision import SINGLE
from sigprop.simulations.network.twin import Twin
from sigprop.simulations.network.weights import least_width

SMALLEST = 32  # coordinates of the narrowest block at the first n1, which heads must divide


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """Say how networks are simulated: seed, engine, dtype, memory_mib as in ``measure``; typical:
    networks a width, roughly, which the choice of an engine is made for."""

    seed: int
    engine: str = "auto"
    dtype: str = SINGLE
    memory_mib: int = 1024
    typical: int = TYPICAL


class Sampler:
    """Sample networks: (width, samples, stream) -> rows; one engine a width.

    origins: {row: (its origin's column, what theory has there)} of rows that are given as the
    change from their origin on.
    """

    def __init__(
        self,
        arch: Architecture,
        rows: tuple[Row, ...],
        simulation: Simulation,
        progress: Progress | None = None,
    ):
        self.arch, self.rows, self.judged = arch, rows, len(rows)
        self.simulation, self.progress = simulation, progress or Silent()
        self.origins: dict[int, tuple[int, float]] = {}
        self.engines: dict[int, Engine] = {}
        self.beside: Beside | None = None
        self.ratios: dict[int, tuple[int, np.ndarray]] = {}

    def watch(self, origins: Origins, pairs: dict[int, int]) -> None:
        """Sample these rows' origins too (of all widths one set of rows, so that each compiles
        once)."""
        wanted = {start for start in pairs.values() if start >= self.judged}
        if wanted:
            self.rows = (*self.rows, *(origins.rows[start] for start in sorted(wanted)))
            self.engines.clear()

    def put_beside(self, twin: Twin, width: int, wanted: np.ndarray) -> None:
        """Sample networks with a twin of theirs from now on. wanted [R]: the standard error that
        its own mean may have, which is taken on units of this width."""
        check_control(self.arch, self.rows, twin)
        nothing = np.zeros(len(self.rows))
        self.engines.clear()
        self.beside = Beside(twin, nothing, nothing, nothing.astype(bool))
        found = expected(self.engine(width), self.simulation.seed, wanted)
        self.beside = Beside(twin, found.value, found.error, np.any(twin.rows != 0, axis=1))

    def note_ratios(self, width: int, values: np.ndarray, rows: np.ndarray) -> None:
        """Keep by how much the twin made networks' variances smaller, of the most networks of a
        width that were drawn at a time."""
        if len(values) > max(2, self.ratios.get(width, (0, rows))[0]):
            plain = values[:, : self.judged].var(axis=0)
            smaller = np.where(rows.var(axis=0) > 0, rows.var(axis=0), np.inf)
            ratios = np.where(plain > 0, plain / smaller, 1.0)
            self.ratios[width] = len(values), ratios

    def about(self, row: int) -> dict[str, float]:
        """Say what a twin did for a row: by how much it made one network's variance smaller at the
        narrowest width, and the standard error of its own mean; nothing where there was none."""
        if self.beside is None or not self.ratios:
            return {}
        ratio = self.ratios[min(self.ratios)][1][row]
        error = self.beside.error[row] * self.beside.used[row]
        return {"variance_ratio": float(ratio), "se_of_control": float(error)}

    def at(self, origins: Origins, start: int) -> int:
        """Return the column of a row that is sampled."""
        return self.rows.index(origins.rows[start])

    def engine(self, width: int) -> Engine:
        """Return the engine of a width."""
        if width not in self.engines:
            how = self.simulation
            self.engines[width] = engine_for(
                how.engine,
                self.arch,
                self.rows,
                width,
                how.memory_mib,
                how.typical,
                how.dtype,
                None if self.beside is None else self.beside.twin,
            )
        return self.engines[width]

    def cost(self, width: int) -> float:
        """Return the seconds of a network, roughly."""
        return float(self.engine(width).seconds)

    def __call__(self, width: int, samples: int, stream: int) -> np.ndarray:
        self.progress.start(samples, f"width {width}")
        values = sample(
            self.engine(width), samples, self.simulation.seed, stream, self.progress.advance
        )
        rows = values[:, : self.judged].copy()
        if self.beside is not None:
            rows = self.beside.taken_off(values)[:, : self.judged]
            self.note_ratios(width, values, rows)
        for row, (start, theory) in self.origins.items():
            rows[:, row] = theory + (values[:, row] - values[:, start])
        return rows


class Ladder(NamedTuple):
    """Widths of a verdict: n1, its multiples, and the widest network."""

    start: int
    factors: tuple[int, ...]
    ceiling: int


def choose_ladder(sampler: Sampler, width: int | None, loose: bool) -> Ladder:
    """Return the ladder of the engine that would sample its widest; raise ``InputError`` where
    there is none. width: n1, when given; loose: with few multiples."""
    most = max(engine.widest for engine in ENGINES.values())
    reach = max(engine.ladder[-1] for engine in ENGINES.values())
    step = least_width(sampler.arch, most // reach)
    start = 2 * step * math.ceil(SMALLEST / float(sampler.arch.owned.min()) / (2 * step))
    engine = sampler.engine((width or start) * reach)
    factors, ceiling = engine.loose if loose else engine.ladder, engine.widest
    # each width's engine is chosen for itself: the ladder ends where the last of them does
    if loose and sampler.simulation.engine == "auto":
        ceiling = max(other.widest for other in ENGINES.values() if other.can(sampler.arch))
    if width is not None and (width % (2 * step) or factors[-1] * width > ceiling):
        raise InputError(
            f"width={width}; accepted: the smallest width of the ladder, a multiple of {2 * step} "
            f"up to {ceiling // factors[-1]}"
        )
    if factors[-1] * start > ceiling:
        most = ceiling // (2 * factors[-1])
        raise InputError(
            f"heads and layers need widths that are multiples of {step}; accepted for a ladder up "
            f"to {ceiling}: at most {most}"
        )
    return Ladder(width or start, factors, ceiling)

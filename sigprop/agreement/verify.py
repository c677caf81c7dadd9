"""``verify``: the theory's rows against finite networks, as an equivalence test
(``sigprop.verdict``, docs/verdict.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sigprop.agreement.identities import ROUNDING, Origins, change_limit, unmoved
from sigprop.description.architecture import Architecture
from sigprop.description.quantities import QUANTITIES
from sigprop.description.rows import judged, require_rows
from sigprop.description.shapes import Row
from sigprop.errors import Diverged, InputError
from sigprop.simulations.engines.monte_carlo import ENGINES, TYPICAL, engine_for, sample
from sigprop.simulations.measure import check_sizes
from sigprop.simulations.network.precision import BEYOND, SINGLE, check_dtype
from sigprop.simulations.network.weights import least_width
from sigprop.tables.table import Table
from sigprop.theory.predictions.evaluate import evaluate, unscaled
from sigprop.verdict import IDENTITY, INCONCLUSIVE, Judgement, judge

FIXED_SAMPLES = 16  # networks that identities are looked for on
SMALLEST = 32  # coordinates of the narrowest block at the first n1, which heads must divide
ZERO = 1e-12  # relative to a quantity's largest scale
# a tolerance from which on few networks decide: what counts is how many widths are compiled
LOOSE = 0.05
FEW = 600  # networks a width at LOOSE, its pilot's among them, of which there are TYPICAL at 1 %
# stream of the networks that identities are looked for on; the verdict's own start at 0
SCOUT = 2**31


def verify(
    arch: Architecture,
    *,
    tolerance: float = 0.01,
    theory: Architecture | None = None,
    width: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    engine: str = "auto",
    dtype: str = SINGLE,
    quantities: Sequence[str] | None = None,
    applications: Sequence[int] | None = None,
    memory_mib: int = 1024,
    progress: Any = None,
) -> Table:
    """Is abs(lim_n (mean - theory)/scale) <= tolerance on every row? The table's ``verdict`` says,
    and each row its evidence.

    arch: the network that is sampled; theory: the architecture whose theory judges it (default: its
    own); tolerance: relative; width: n1, the ladder is n1 x {1/2, 1, 2, 4, 8}, or n1 x {1/2, 1, 4,
    16} where the matrix-free engine samples the widest networks, from a tolerance of 5 % on {1, 2,
    8} or {1, 4, 16} (default: found by a pilot); samples: networks a rung (default: sized so that a
    true theory is confirmed with probability 0.95); seed, engine, dtype, memory_mib, progress: as
    in ``measure``; quantities, applications: see ``rows.judged``.

    Rows: theory, measured (extrapolated to infinite width), scale, deviation a, se, lower and upper
    (90 %), tolerance, slope b (deviation a + b/n) and slope_se, detectable, verdict. A row's
    verdict is ``identity`` where theory and every network are alike within rounding
    (``identities``): it speaks against a theory, never for one. Notes: engine (as asked) and
    engines (the one of each rung), identities (how many rows). Raises ``InputError``.
    """
    check_sizes(width=width, samples=samples, seed=seed, memory_mib=memory_mib)
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance={tolerance}; accepted: a number between 0 and 1")
    rows = judged(arch, quantities, applications)
    require_rows(arch, quantities, rows)
    sampler = Sampler(
        arch, rows, seed, engine, memory_mib, progress, _typical(tolerance), check_dtype(dtype)
    )
    start, ladder, ceiling = _ladder(sampler, width, tolerance >= LOOSE)
    origins = Origins.find(arch, rows)
    values, scales, all_errors, *_ = evaluate(theory or arch, origins.rows).required()
    every = [unscaled(*v) for v in values]
    predicted, scale, errors = (
        every[: len(rows)],
        [unscaled(*s) for s in scales[: len(rows)]],
        all_errors[: len(rows)],
    )
    notes: dict[str, Any] = {
        "seed": seed,
        "engine": engine,
        "dtype": dtype,
        "theory": (theory or arch).name,
    }
    lost = [row for row, value in zip(rows, predicted, strict=True) if value is None]
    if lost:
        return Table(
            arch.name,
            dict(arch.parameters),
            [r.to_dict() for r in rows],
            "verify",
            INCONCLUSIVE,
            notes | {"reason": f"{lost[0]} is beyond 1e300: no finite network reaches it"},
        )
    ruler = _rulers(rows, scale)
    alike, unchanged = _identities(sampler, start, origins, every, ruler)
    found = judge(
        sampler,
        np.array(predicted),
        ruler,
        np.array(errors, dtype=float),
        tolerance=tolerance,
        widths=ladder,
        start_width=start,
        ceiling=ceiling,
        cost=sampler.cost,
        samples=samples,
        half_rung=tolerance < LOOSE,
        identities=alike | unchanged,
        on_average=unchanged,
        rounding=ROUNDING[dtype].allowed,
        progress=None,
    )
    notes |= {"engines": [sampler.engine(n).name for n in found.widths]} | _about(
        rows, found, dtype
    )
    return Table(
        arch.name,
        dict(arch.parameters),
        _table(rows, predicted, ruler, found),
        "verify",
        found.verdict,
        notes,
    )


def _typical(tolerance: float) -> int:
    """Networks a width, roughly: what the choice of an engine is made for."""
    return int(np.clip(TYPICAL * 0.01 / tolerance, FEW, TYPICAL))


def _ladder(sampler: Sampler, width: int | None, loose: bool) -> tuple[int, tuple[int, ...], int]:
    """(n1, its multiples, the widest network): of the engine that would sample the first
    ladder's widest. loose: with few multiples."""
    most, reach = (
        max(sizes)
        for sizes in zip(
            *((engine.widest, engine.ladder[-1]) for engine in ENGINES.values()), strict=True
        )
    )
    step = least_width(sampler.arch, most // reach)
    start = 2 * step * math.ceil(SMALLEST / float(sampler.arch.owned.min()) / (2 * step))
    engine = sampler.engine((width or start) * reach)
    ladder, ceiling = engine.loose if loose else engine.ladder, engine.widest
    # each width's engine is chosen for itself: the ladder ends where the last of them does
    if loose and sampler.name == "auto":
        ceiling = max(other.widest for other in ENGINES.values() if other.can(sampler.arch))
    if width is not None and (width % (2 * step) or ladder[-1] * width > ceiling):
        raise InputError(
            f"width={width}; accepted: the smallest width of the ladder, a multiple of {2 * step} "
            f"up to {ceiling // ladder[-1]}"
        )
    if ladder[-1] * start > ceiling:
        most = ceiling // (2 * ladder[-1])
        raise InputError(
            f"heads and layers need widths that are multiples of {step}; accepted for a ladder up "
            f"to {ceiling}: at most {most}"
        )
    return width or start, ladder, ceiling


def _rulers(rows: Sequence[Row], scale: Sequence[float | None]) -> np.ndarray:
    """What deviations are divided by: the scale; 1 for a row that is zero by symmetry (next to
    its quantity's largest, rounding)."""
    largest: dict[str, float] = {}
    for row, s in zip(rows, scale, strict=True):
        largest[row.quantity] = max(largest.get(row.quantity, 0.0), s or 0.0)
    return np.array(
        [
            s if s and s > ZERO * largest[row.quantity] else 1.0
            for row, s in zip(rows, scale, strict=True)
        ]
    )


def _identities(
    sampler: Sampler,
    width: int,
    origins: Origins,
    predicted: Sequence[float | None],
    scale: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """([R], [R]) boolean: rows that all networks have alike, and others that theory and every
    network leave as the stem (or the read-out) has them; of these the sampler gives the change
    from there on."""
    limit = change_limit(sampler.dtype, sampler.arch.depth)
    pairs = origins.without_change(predicted, scale, limit)
    sampler.watch(origins, pairs)
    values = sample(sampler.engine(width), FIXED_SAMPLES, sampler.seed, SCOUT)
    pairs = unmoved(
        values, {row: sampler.at(origins, start) for row, start in pairs.items()}, scale, limit
    )
    sampler.origins = {
        row: (start, float(predicted[origins.of[row]] or 0.0)) for row, start in pairs.items()
    }
    alike = (values[:, : len(scale)] / scale).std(axis=0) < ROUNDING[sampler.dtype].spread
    alike &= ~np.array([QUANTITIES[row.quantity].event for row in origins.rows[: len(scale)]])
    unchanged = np.zeros_like(alike)
    unchanged[list(pairs)] = True
    return alike & ~unchanged, unchanged


class Sampler:
    """(width, samples, stream) -> rows; one engine a width."""

    def __init__(
        self,
        arch: Architecture,
        rows: tuple[Row, ...],
        seed: int,
        engine: str,
        memory_mib: int,
        progress: Any,
        typical: int = TYPICAL,
        dtype: str = SINGLE,
    ):
        self.arch, self.rows, self.seed, self.name, self.memory_mib, self.progress = (
            arch,
            rows,
            seed,
            engine,
            memory_mib,
            progress,
        )
        self.typical, self.dtype, self.judged = typical, dtype, len(rows)
        self.origins: dict[int, tuple[int, float]] = {}
        self.engines: dict[int, Any] = {}

    def watch(self, origins: Origins, pairs: dict[int, int]) -> None:
        """Sample these rows' origins too (of all widths one set of rows, so that each compiles
        once)."""
        wanted = {start for start in pairs.values() if start >= self.judged}
        if wanted:
            self.rows = (*self.rows, *(origins.rows[start] for start in sorted(wanted)))
            self.engines.clear()

    def at(self, origins: Origins, start: int) -> int:
        """The column of a row that is sampled."""
        return self.rows.index(origins.rows[start])

    def engine(self, width: int) -> Any:
        if width not in self.engines:
            self.engines[width] = engine_for(
                self.name, self.arch, self.rows, width, self.memory_mib, self.typical, self.dtype
            )
        return self.engines[width]

    def cost(self, width: int) -> float:
        """Seconds of a network, roughly."""
        return float(self.engine(width).seconds)

    def __call__(self, width: int, samples: int, stream: int) -> np.ndarray:
        if self.progress is not None:
            self.progress.start(samples, f"width {width}")
        values = sample(
            self.engine(width),
            samples,
            self.seed,
            stream,
            self.progress.advance if self.progress is not None else None,
        )
        found = values[:, : self.judged].copy()
        for row, (start, theory) in self.origins.items():
            found[:, row] = theory + (values[:, row] - values[:, start])
        return found


def _table(
    rows: Sequence[Row], predicted: Sequence[Any], scale: np.ndarray, found: Judgement
) -> list[dict[str, Any]]:
    shown = ("measured", "deviation", "se", "lower", "upper", "slope", "slope_se", "detectable")
    return [
        row.to_dict()
        | {"theory": predicted[i], "scale": float(scale[i])}
        | {name: float(getattr(found, name)[i]) for name in shown}
        | {"tolerance": found.tolerance, "verdict": str(found.rows[i])}
        for i, row in enumerate(rows)
    ]


def _about(rows: Sequence[Row], found: Judgement, dtype: str) -> dict[str, Any]:
    about: dict[str, Any] = {
        "reason": found.reason,
        "identities": found.rows.count(IDENTITY),
        "widths": list(found.widths),
        "samples": list(found.samples),
        "looks": found.looks,
    }
    if about["identities"] == len(rows):
        more = "; what could: other quantities" + (
            ", or these in float64" if dtype == SINGLE else ""
        )
        about["reason"] = (
            f"every row is an identity within rounding ({dtype}): nothing could have failed{more}"
        )
    elif found.reason.startswith(str(Diverged())):
        about["reason"] = f"{found.reason} {BEYOND[dtype]}"
    if found.row is not None:
        about["deciding_row"] = str(rows[found.row])
    return about | ({"samples_needed": list(found.needed)} if found.needed else {})

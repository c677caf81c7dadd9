"""Many networks in chunks under a memory ceiling; sums over networks in float64."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Float64, Integer

from sigprop.description.architecture import Architecture
from sigprop.description.shapes import Row
from sigprop.errors import Diverged, InputError, near_miss
from sigprop.runtime import memory
from sigprop.simulations.engines.dense import DenseEngine
from sigprop.simulations.engines.engine import Engine
from sigprop.simulations.engines.matrix_free import MatrixFreeEngine
from sigprop.simulations.network.precision import SINGLE, check_dtype
from sigprop.simulations.network.twin import Twin

ENGINES: dict[str, type[Engine]] = {
    engine.name: engine for engine in (DenseEngine, MatrixFreeEngine)
}
TYPICAL = 1000  # not what is asked for: the first networks of many are those of few
Advance = Callable[[int], None]
Chunk = tuple[Float64[np.ndarray, "chunk R"], Integer[np.ndarray, " chunk"]]


def engine_for(
    name: str,
    arch: Architecture,
    rows: tuple[Row, ...],
    width: int,
    memory_mib: int,
    typical: int = TYPICAL,
    dtype: object = SINGLE,
    twin: Twin | None = None,
) -> Engine:
    """The engine of that name ('auto': of those that can, the one that is sooner done with
    ``typical`` networks), its networks in the precision ``dtype``, with a twin or without. Raises
    ``InputError``."""
    precision = check_dtype(dtype)
    if name == "auto":
        able = [
            engine(arch, rows, width, memory_mib * 2**20, precision, twin)
            for engine in ENGINES.values()
            if engine.can(arch)
        ]
        there = memory.available()
        fit = [engine for engine in able if there is None or engine.least_bytes <= there]
        if not fit:
            min(able, key=lambda engine: engine.least_bytes).require_memory()
        return min(
            fit, key=lambda engine: engine.compiling * len(engine.shapes) + typical * engine.seconds
        )
    if name not in ENGINES:
        raise InputError(f"engine={name!r}{near_miss(name, ['auto', *ENGINES])}")
    if not ENGINES[name].can(arch):
        others = ", ".join(f"engine={other}" for other in ENGINES if ENGINES[other].can(arch))
        raise InputError(f"engine={name} at weights={arch.ensemble}; accepted: {others}")
    found = ENGINES[name](arch, rows, width, memory_mib * 2**20, precision, twin)
    found.require_memory()
    return found


def chunks(
    engine: Engine, samples: int, seed: int, stream: int = 0, advance: Advance | None = None
) -> Iterator[Chunk]:
    """(rows [chunk, R] float64, first diverged application [chunk]) until ``samples`` networks are
    done, in order.

    ``engine.lanes`` batches are in flight at a time: a scan over applications keeps one core busy,
    not two.
    """
    size = engine.batch_size

    def one(start: int) -> Chunk:
        # one shape, one compilation
        rows, diverged = engine.batch(seed, stream, np.arange(start, start + size))
        count = min(size, samples - start)
        return np.asarray(rows, dtype=np.float64)[:count], np.asarray(diverged)[:count]

    starts = iter(range(0, samples, size))
    with ThreadPoolExecutor(engine.lanes) as pool:
        waiting = deque([pool.submit(one, next(starts))])
        try:
            if not engine.compiled:
                waiting[0].result()  # alone: two at a time would both compile
                engine.compiled = True
            waiting.extend(pool.submit(one, start) for start in islice(starts, engine.lanes))
            while waiting:
                found = waiting.popleft().result()
                yield found
                if advance is not None:
                    advance(len(found[0]))
                waiting.extend(pool.submit(one, start) for start in islice(starts, 1))
        finally:
            for future in waiting:
                future.cancel()


def sample(
    engine: Engine, samples: int, seed: int, stream: int = 0, advance: Advance | None = None
) -> Float64[np.ndarray, "{samples} R"]:
    """[samples, R] float64; raises ``Diverged`` with the first application at which a network
    was not finite."""
    parts = []
    for rows, diverged in chunks(engine, samples, seed, stream, advance):
        if (diverged <= engine.arch.depth).any():
            raise Diverged(int(diverged.min()))
        if not np.isfinite(rows).all():
            raise Diverged  # states are finite, a gradient is not
        parts.append(rows)
    return np.concatenate(parts)


def moments(
    engine: Engine, samples: int, seed: int, advance: Advance | None = None
) -> dict[str, Any]:
    """Mean and standard error of every row by Welford's update over chunks, and the first diverged
    application (or None).

    Each row is counted in units of a power of two near its first value, so that the squares of
    1e160 stay finite.
    """
    count, mean, scatter, first = (
        0,
        np.zeros(engine.columns),
        np.zeros(engine.columns),
        engine.arch.depth + 1,
    )
    unit = np.zeros(0)
    for rows, diverged in chunks(engine, samples, seed, 0, advance):
        unit = unit if count else _unit(rows[0])
        with np.errstate(invalid="ignore", over="ignore"):  # a diverged row is reported as such
            rows = rows / unit
            own = rows.mean(axis=0)
            shift = own - mean
            scatter += ((rows - own) ** 2).sum(axis=0) + shift**2 * count * len(rows) / (
                count + len(rows)
            )
            mean += shift * len(rows) / (count + len(rows))
        count += len(rows)
        first = min(first, int(diverged.min()))
    with np.errstate(invalid="ignore", over="ignore"):
        found = {"mean": mean * unit, "error": np.sqrt(scatter / (count - 1) / samples) * unit}
    return found | {"diverged": first if first <= engine.arch.depth else None}


def _unit(values: Float64[np.ndarray, " R"]) -> Float64[np.ndarray, " R"]:
    """The powers of two at or below these values, 1 for zero and for what is not finite:
    dividing by them rounds nothing."""
    usable = np.isfinite(values) & (values != 0)
    return np.ldexp(1.0, np.where(usable, np.frexp(np.where(usable, values, 1.0))[1] - 1, 0))

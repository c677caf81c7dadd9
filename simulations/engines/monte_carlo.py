"""Many networks in chunks under a memory ceiling; sums over networks in float64."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from jaxtyping import Float64, Integer

from sigprop.description.architecture import Architecture
from sigprop.description.shapes import Row
from sigprop.errors import Diverged, InputError, near_miss
from sigprop.runtime import memory
from sigprop.simulations.engines.dense import DenseEngine
from sigprop.simulations.engines.engine import Engine
from sigprop.simulations.engines.matrix_free import MatrixFreeEngine
from sigprop.simulations.engines.moments import Moments, check_kept
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
    engine: Engine,
    samples: int,
    seed: int,
    stream: int = 0,
    advance: Advance | None = None,
    *,
    start: int = 0,
) -> Iterator[Chunk]:
    """(rows [chunk, R] float64, first diverged application [chunk]) of networks from ``start``
    until ``samples`` are done, in order.

    Batches are those of a run from 0 on, to the bit: the first may begin before ``start``, and
    what of it lies there is left out. ``engine.lanes`` batches are in flight at a time: a scan
    over applications keeps one core busy, not two.
    """
    size = engine.batch_size

    def one(begin: int) -> Chunk:
        # one shape, one compilation
        rows, diverged = engine.batch(seed, stream, np.arange(begin, begin + size))
        wanted = slice(max(start - begin, 0), min(size, samples - begin))
        return np.asarray(rows, dtype=np.float64)[wanted], np.asarray(diverged)[wanted]

    starts = iter(range(start - start % size, samples, size))
    with ThreadPoolExecutor(engine.lanes) as pool:
        waiting = deque([pool.submit(one, next(starts))])
        try:
            if not engine.compiled:
                waiting[0].result()  # alone: two at a time would both compile
                engine.compiled = True
            waiting.extend(pool.submit(one, begin) for begin in islice(starts, engine.lanes))
            while waiting:
                found = waiting.popleft().result()
                yield found
                if advance is not None:
                    advance(len(found[0]))
                waiting.extend(pool.submit(one, begin) for begin in islice(starts, 1))
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
    engine: Engine,
    samples: int,
    seed: int,
    advance: Advance | None = None,
    kept: Moments | None = None,
) -> Moments:
    """Moments of every row over ``samples`` networks by Welford's update over chunks.

    kept: what an earlier run of these networks left. It is gone on from (``Moments.before``); where
    it has as many networks already, it is returned. The networks are those of one run that asked
    for all of them, and so to the bit are the moments where runs have the same batch size; else up
    to rounding. Raises ``InputError`` for what is kept of another engine or of other columns.
    """
    now = _before(engine, kept)
    if kept is not None and kept.count >= samples:
        return kept
    for rows, diverged in chunks(engine, samples, seed, advance=advance, start=now.count):
        now = now.and_of(rows, diverged, size=engine.batch_size, depth=engine.arch.depth)
    return now


def missing(engine: Engine, samples: int, kept: Moments | None) -> int:
    """How many networks ``moments`` samples. Raises ``InputError`` as it does."""
    begun = _before(engine, kept)
    return 0 if kept is not None and kept.count >= samples else samples - begun.count


def _before(engine: Engine, kept: Moments | None) -> Moments:
    """What a run with this engine goes on from."""
    if kept is None:
        return Moments.none(engine.name, engine.columns)
    check_kept(kept, engine.name, engine.columns)
    return kept.before(engine.batch_size)

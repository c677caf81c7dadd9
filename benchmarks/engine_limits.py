"""What a job of an engine needs at least, and how fast this machine does such things alone."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sigprop as sp
from sigprop.description.rows import select
from sigprop.runtime.compiling import jit
from sigprop.simulations.engines.batches import pace
from sigprop.simulations.engines.engine import program
from sigprop.simulations.engines.monte_carlo import engine_for, sample

QUANTITIES = ("residual_variance", "gradient_variance")
# normals a call: the best of these is the rate, whatever the caches; of an accelerator as many as
# keep all of it busy
COUNTS, MANY = (2**16, 2**18, 2**20), (2**20, 2**24, 2**28)
PRODUCTS = "products"
CALL_SECONDS, MOST_ROUNDS = 0.5, 4  # of batches in flight, a call
MEMORY_MIB = 10240


class Job:
    """One architecture at one width under one engine: what a call does, and what it needs at
    least."""

    def __init__(self, name: str, parameters: dict[str, Any], engine: str, width: int):
        self.arch = getattr(sp.architectures, name)(**parameters)
        self.engine = engine_for(
            engine, self.arch, select(self.arch, list(QUANTITIES)), width, MEMORY_MIB
        )
        at_once = self.engine.batch_size * self.engine.lanes
        self.networks = at_once * int(
            np.clip(CALL_SECONDS / at_once / self.seconds, 1, MOST_ROUNDS)
        )
        self.width, self.tokens = width, self.arch.tokens
        self.free = engine == "matrix-free"
        others = 2 * self.tokens * width  # stem and read-out
        self.normals, self.products = (
            x + y
            for x, y in zip(
                (self._queries() if self.free else self._matrices()), (others, 0), strict=True
            )
        )

    @property
    def seconds(self) -> float:
        """Roughly what a network costs on this device."""
        return self.engine.seconds / pace()

    @property
    def flops(self) -> int:
        """Of a network's matrix products: two a multiply-add."""
        return 2 * self.products

    @property
    def bytes_moved(self) -> int:
        """Of a network at least: each normal is written once, and what vectors are multiplied
        with (a matrix, or the known directions and images) is read once a product of all tokens,
        forward and backward. Vectors are not counted."""
        return 4 * (self.normals + self.products // self.tokens)

    def _uses(self, shape: Any) -> list[int]:
        return [len(used) for used in self.arch.applications_of(shape.name).values()]

    def _matrices(self) -> tuple[int, int]:
        """Every entry once (again for the way back where they are not kept), every product
        forward and backward."""
        entries = sum(s.size for s in self.engine.shapes)
        products = (
            2
            * self.tokens
            * sum(used * s.size // s.slots for s in self.engine.shapes for used in self._uses(s))
        )
        return entries * (1 if getattr(self.engine, "keep", True) else 2), products

    def _queries(self) -> tuple[int, int]:
        """An image's normals a query. Per query of a slot asked K times in all: where it is
        asked again, two projections on the known directions and the known images (5 K), forward
        and backward; backward what the forward queries say (3 K)."""
        normals = products = 0
        for s in self.engine.shapes:
            for used in self._uses(s):
                normals += used * self.tokens * sum(s.shape)
                known = used * self.tokens
                products += (
                    used * self.tokens * known * sum(s.shape) * ((10 if used > 1 else 0) + 3) // 2
                )
        return normals, products

    def call(self) -> Any:
        return sample(self.engine, self.networks, 0)

    @functools.cached_property
    def memory(self) -> int:
        """Bytes a network that the compiled program of a batch holds at most."""
        found = program(self.engine, self.engine.batch_size).memory_analysis()
        return (
            int(
                found.temp_size_in_bytes + found.output_size_in_bytes + found.argument_size_in_bytes
            )
            // self.engine.batch_size
        )

    def rate(self, name: str, seconds: float) -> float:
        """Normals, or multiply-adds, a second of one of the calls of ``rates``."""
        return (self._work[name]) / seconds

    @functools.cached_property
    def _work(self) -> dict[str, int]:
        return (
            dict.fromkeys(_names(), 0)
            | {name: _count(name) for name in _names() if not name.startswith(PRODUCTS)}
            | {
                f"{PRODUCTS} {how}": self._many * self.tokens * self._rows * self.width
                for how in ("plain", "light")
            }
        )

    @property
    def _rows(self) -> int:
        """Of the array that vectors are multiplied with: a matrix, or the directions asked so
        far."""
        return (
            max(max(self._uses(s)) for s in self.engine.shapes) * self.tokens
            if self.free
            else self.width
        )

    @property
    def _many(self) -> int:
        return max(1, counts()[-1] // (self._rows * self.width))


def counts() -> tuple[int, ...]:
    """Numbers a call of what is timed alone on this device."""
    return COUNTS if jax.default_backend() == "cpu" else MANY


def _names() -> list[str]:
    return [f"normals {count} {how}" for count in counts() for how in ("plain", "light")] + [
        f"{PRODUCTS} {how}" for how in ("plain", "light")
    ]


def _count(name: str) -> int:
    return int(name.split()[1])


def rates(job: Job) -> dict[str, Callable[[], Any]]:
    """Calls that do nothing but draw normals, or multiply as the engine does."""
    calls: dict[str, Callable[[], Any]] = {}
    many = job._many
    matrices = jnp.ones((many, job._rows, job.width), dtype=jnp.float32)
    vectors = jnp.ones((many, job.tokens, job.width), dtype=jnp.float32)
    for how in ("plain", "light"):
        for count in counts():
            calls[f"normals {count} {how}"] = functools.partial(
                _drawing(count, how), jax.random.key(0)
            )
        calls[f"{PRODUCTS} {how}"] = functools.partial(_multiplying(how), matrices, vectors)
    return calls


@functools.cache
def _drawing(count: int, how: str) -> Callable[[Any], Any]:
    """Compiled once for all jobs."""

    def normals(key: Any) -> Any:
        return jax.random.normal(key, (count,), dtype=jnp.float32)

    return _compiler(how)(normals)


@functools.cache
def _multiplying(how: str) -> Callable[[Any, Any], Any]:
    return _compiler(how)(_products)


def _compiler(how: str) -> Callable[..., Any]:
    return jax.jit if how == "plain" else jit(static=())


def _products(matrices: Any, vectors: Any) -> Any:
    """Every network its own matrix, on the vectors of its tokens."""
    return jnp.einsum("bij,btj->bti", matrices, vectors, precision=jax.lax.Precision.HIGHEST)


def clock(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The fastest of ``repeats`` rounds of each call, in seconds, all calls in turns, after one
    round that compiles."""
    best: dict[str, float] = {}
    for turn in range(1 + repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds = time.perf_counter() - start
            if turn:
                best[name] = min(seconds, best.get(name, seconds))
    return best

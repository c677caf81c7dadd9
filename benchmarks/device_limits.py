"""How fast this device multiplies matrices and moves numbers: what an engine's rates are held
against.

Matrix products: of two square matrices of normals, 2 side^3 operations each, in float32 as the
engines multiply (precision HIGHEST), in float32 as jax does unasked (TF32 on recent GPUs), in
bfloat16 and in float64. ``rounding``: the root mean square error of such a product over that of its
entries, against numpy's in float64; it says what was really computed.
Bandwidth: of the triad a = b + s c over arrays beyond every cache, three numbers moved for each.

Calls are queued one after another and waited for once, so that starting them costs nothing; the
fastest of some rounds counts.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

HIGHEST, DEFAULT = jax.lax.Precision.HIGHEST, jax.lax.Precision.DEFAULT
ENGINES = "float32, highest"
PRODUCTS: dict[str, tuple[str, jax.lax.Precision]] = {
    ENGINES: ("float32", HIGHEST),
    "float32, default": ("float32", DEFAULT),
    "bfloat16": ("bfloat16", DEFAULT),
    "float64": ("float64", HIGHEST),
}
"""What is multiplied, and how."""
BANDWIDTH = "triad"
CHECKED = 256  # side of the product that is compared
Record = dict[str, Any]


class Sizes(NamedTuple):
    """side: of the matrices; numbers: of each array of the triad; queued: calls in a row."""

    side: int
    numbers: int
    queued: int


ACCELERATOR, CPU = Sizes(8192, 2**28, 8), Sizes(768, 2**24, 2)


def sizes() -> Sizes:
    """Return those of this device: seconds in all."""
    return CPU if jax.default_backend() == "cpu" else ACCELERATOR


def limits(repeats: int, of: Sizes | None = None) -> Iterator[Record]:
    """Measure one after the other: {'limit': name, 'per_second': operations or bytes, ...}."""
    chosen = of or sizes()
    for name in PRODUCTS:
        yield _product(name, chosen, repeats)
    yield _triad(chosen, repeats)


def per_second(found: list[Record], name: str) -> float:
    """Return a limit's rate among those that were measured."""
    return next(one["per_second"] for one in found if one["limit"] == name)


def described(one: Record) -> str:
    """Return a limit as a line."""
    if one["limit"] == BANDWIDTH:
        return f"memory, triad of {one['numbers']:.3g} numbers: {one['per_second'] / 1e9:.4g} GB/s"
    return (
        f"matrix product, {one['limit']}, {one['side']}: {one['per_second'] / 1e12:.4g} "
        f"Tflop/s, rounding {one['rounding']:.1e}"
    )


def _product(name: str, of: Sizes, repeats: int) -> Record:
    kind, precision = PRODUCTS[name]
    with jax.enable_x64(kind == "float64"):
        multiply = jax.jit(functools.partial(jnp.matmul, precision=precision))
        x, y = _normals(of.side, kind), _normals(of.side, kind, seed=1)
        seconds = queued(lambda: multiply(x, y), of.queued, repeats)
        rounding = _rounding(multiply, kind)
    return {
        "limit": name,
        "side": of.side,
        "per_second": 2 * of.side**3 / seconds,
        "rounding": rounding,
    }


def _normals(side: int, kind: str, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (side, side), dtype=jnp.float32).astype(kind)


def _rounding(multiply: Callable[..., Any], kind: str) -> float:
    x, y = _normals(CHECKED, kind), _normals(CHECKED, kind, seed=1)
    exact = np.asarray(x, dtype=np.float64) @ np.asarray(y, dtype=np.float64)
    error = np.asarray(multiply(x, y), dtype=np.float64) - exact
    return float(np.sqrt((error**2).mean() / (exact**2).mean()))


def _triad(of: Sizes, repeats: int) -> Record:
    b, c = (jnp.full(of.numbers, value, dtype=jnp.float32) for value in (1, 2))
    factor = jnp.float32(0.5)
    add = jax.jit(lambda b, c, factor: b + factor * c)
    seconds = queued(lambda: add(b, c, factor), of.queued, repeats)
    moved = 3 * b.dtype.itemsize * of.numbers
    return {"limit": BANDWIDTH, "numbers": of.numbers, "per_second": moved / seconds}


def queued(call: Callable[[], Any], count: int, repeats: int) -> float:
    """Return the seconds of one of ``count`` calls in a row, in the fastest of ``repeats`` rounds,
    after one call that compiles."""
    jax.block_until_ready(call())
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready([call() for _ in range(count)])
        best = min(best, (time.perf_counter() - start) / count)
    return best

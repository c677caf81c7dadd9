"""How near the dense engine comes to its own limit: the normals it needs and the matrix products it does, at this machine's rates.

    python benchmarks/dense.py [--quick] [--json]

Everything is measured in one run, the engine and its two limits in turns, so what else the machine does meets both:
limit = normals / (normals a second of jax.random.normal alone) + multiply-adds / (those of a batched product alone), each at its
best over call sizes and over plain jax.jit and the engine's light compilation.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sigprop as sp
from sigprop.compiling import jit
from sigprop.rows import judged
from sigprop.simulations.dense import DenseEngine

CASES = {  # label: (architecture, parameters)
    "tied, 1 slot x 8": ("looped_mlp", {"depth": 1, "loops": 8}),
    "looped, 4 slots x 8": ("looped_mlp", {"depth": 4, "loops": 8}),
    "untied, 16 slots": ("residual_mlp", {"depth": 16}),
    "untied, 4 tokens": ("residual_mlp", {"depth": 8, "tokens": 4}),
}


COUNTS = (2**16, 2**18, 2**20)  # normals a call: the best of these is the rate, whatever the caches


def _normals(keys: Any, width: int) -> Any:
    """One width x width matrix a key, as the engine draws them."""
    return jax.vmap(lambda key: jax.random.normal(key, (width, width), dtype=jnp.float32))(keys)


def _products(matrices: Any, vectors: Any) -> Any:
    """As the engine does them: every network its own matrix, on the vectors of its tokens."""
    return jnp.einsum("bij,btj->bti", matrices, vectors, precision=jax.lax.Precision.HIGHEST)


def clock(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The fastest of ``repeats`` rounds of each call, in seconds, all calls in turns, after one round that compiles."""
    best: dict[str, float] = {}
    for turn in range(1 + repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds = time.perf_counter() - start
            if turn:
                best[name] = min(seconds, best.get(name, seconds))
    return best


def measure(label: str, width: int, repeats: int, memory_mib: int = 512) -> dict[str, Any]:
    """Networks a second of one case and the fraction of its limit."""
    name, parameters = CASES[label]
    arch = getattr(sp.architectures, name)(**parameters)
    engine = DenseEngine(arch, judged(arch), width, memory_mib * 2**20)
    batch = engine.batch_size
    uses = {s.name: arch.applications_of(s.name) for s in engine.static.shapes}
    normals = sum(s.size for s in engine.static.shapes) + 2 * arch.tokens * width
    drawn = normals if engine.keep else 2 * normals  # without room for them, matrices are drawn again for the way back
    products = 2 * arch.tokens * sum(len(used) * s.size // s.slots for s in engine.static.shapes for used in uses[s.name].values())
    calls: dict[str, Callable[[], Any]] = {"engine": lambda: engine.batch(0, 0, np.arange(batch))}
    counts = {f"normals {count}": max(1, count // width**2) for count in COUNTS}
    keys = {name: jax.random.split(jax.random.key(0), many) for name, many in counts.items()}
    many = max(1, COUNTS[2] // width**2)
    matrices, vectors = jnp.ones((many, width, width), dtype=jnp.float32), jnp.ones((many, arch.tokens, width), dtype=jnp.float32)
    for how, compiled in (("plain", jax.jit), ("light", jit(static=()))):
        draw = compiled(functools.partial(_normals, width=width))
        calls |= {f"{name} {how}": functools.partial(draw, keys[name]) for name in counts}
        calls[f"products {how}"] = functools.partial(compiled(_products), matrices, vectors)
    best = clock(calls, repeats)
    seconds = best["engine"] / batch
    rates = [
        max(counts[name] * width**2 / best[f"{name} {how}"] for name in counts for how in ("plain", "light")),
        max(many * arch.tokens * width**2 / best[f"products {how}"] for how in ("plain", "light")),
    ]
    limit = drawn / rates[0] + products / rates[1]
    return {
        "case": label, "width": width, "batch": batch, "networks_per_second": 1 / seconds, "normals": drawn, "multiply_adds": products,
        "normals_per_second": rates[0], "multiply_adds_per_second": rates[1], "normals_share_of_limit": drawn / rates[0] / limit,
        "fraction_of_limit": limit / seconds, "estimate_over_measured": engine.seconds / seconds,
    }  # fmt: skip


def main() -> None:
    """Print the table or one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two cases at one small width")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args()
    labels, widths, repeats = (list(CASES)[:2], (64,), 3) if given.quick else (list(CASES), (64, 256, 512), 7)
    lines = [measure(label, width, repeats) for label in labels for width in widths]
    if given.json:
        print(json.dumps({"benchmark": "dense", "device": str(jax.devices()[0]), "rows": lines}, indent=1))
        return
    print(f"{'case':20} {'width':>5} {'batch':>5} {'networks/s':>10} {'normals/s':>10} {'madds/s':>9} {'of limit':>8} {'normals':>8} {'estimate':>9}")
    for line in lines:
        print(
            f"{line['case']:20} {line['width']:5d} {line['batch']:5d} {line['networks_per_second']:10.1f} {line['normals_per_second']:10.3g} "
            f"{line['multiply_adds_per_second']:9.3g} {line['fraction_of_limit']:8.2f} {line['normals_share_of_limit']:8.2f} "
            f"{line['estimate_over_measured']:9.2f}"
        )


if __name__ == "__main__":
    main()

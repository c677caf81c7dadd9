"""How near the dense engine comes to its own limit: the normals it needs and the matrix products it does, at this machine's rates.

    python benchmarks/dense.py [--quick] [--json]

Everything is measured in one run, the engine and its two limits in turns, so what else the machine does meets both:
limit = normals / (normals a second of jax.random.normal alone) + multiply-adds / (those of a batched product alone).
"""

from __future__ import annotations

import argparse
import json
import time
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


@jit(static=(1,))
def _normals(key: Any, count: int) -> Any:
    return jax.random.normal(key, (count,), dtype=jnp.float32)


@jit(static=())
def _products(matrices: Any, vectors: Any) -> Any:
    """As the engine does them: every network its own matrix, on the vectors of its tokens."""
    return jnp.einsum("bij,btj->bti", matrices, vectors, precision=jax.lax.Precision.HIGHEST)


def clock(call: Any, repeats: int) -> float:
    """The fastest of ``repeats`` calls, in seconds, after one that compiles."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return min(times)


def normals_per_second(repeats: int, count: int = 2**22) -> float:
    """What jax.random.normal delivers alone, compiled as the engine is."""
    return count / clock(lambda: _normals(jax.random.key(0), count), repeats)


def products_per_second(width: int, tokens: int, batch: int, repeats: int) -> float:
    """Multiply-adds a second of a batch of width x width matrices on their tokens."""
    matrices, vectors = jnp.ones((batch, width, width), dtype=jnp.float32), jnp.ones((batch, tokens, width), dtype=jnp.float32)
    return batch * tokens * width**2 / clock(lambda: _products(matrices, vectors), repeats)


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
    seconds = clock(lambda: engine.batch(0, 0, np.arange(batch)), repeats) / batch
    rates = normals_per_second(repeats), products_per_second(width, arch.tokens, max(1, 2**22 // width**2), repeats)
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
    labels, widths, repeats = (list(CASES)[:2], (64,), 3) if given.quick else (list(CASES), (64, 256, 512), 5)
    lines = [measure(label, width, repeats) for label in labels for width in widths]
    if given.json:
        print(json.dumps({"benchmark": "dense", "device": str(jax.devices()[0]), "rows": lines}, indent=1))
        return
    print(f"{'case':20} {'width':>5} {'batch':>5} {'networks/s':>10} {'normals/s':>10} {'madds/s':>9} {'of limit':>8} {'normals':>8} {'estimate':>9}")
    for line in lines:
        print(
            f"{line['case']:20} {line['width']:5d} {line['batch']:5d} {line['networks_per_second']:10.1f} {line['normals_per_second']:10.3g} "
            f"{line['multiply_adds_per_second']:9.3g} {line['fraction_of_limit']:8.2f} {line['normals_share_of_limit']:8.2f} {line['estimate_over_measured']:9.2f}"
        )


if __name__ == "__main__":
    main()

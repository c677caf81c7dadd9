"""How long each engine takes to know one quantity to a relative standard error of 0.1 %.

    python benchmarks/time_to_error.py [--quantity residual_variance] [--application 32] [--width
    512 4096] [--error 0.001] [--most 60] [--json]

The network, the first of ``engines``: 32 untied pre-norm ReLU branches of one matrix, two inputs.
Networks are drawn until the error is reached; an engine that would need more than ``--most``
seconds is stopped there, and its time is what its own rate and spread say (marked ~).
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import jax
import numpy as np
from engine_limits import MEMORY_MIB
from engines import JOBS

import sigprop as sp
from sigprop.description.rows import select
from sigprop.simulations.engines.monte_carlo import ENGINES, chunks, engine_for

LEAST, MOST = 256, 10**7  # networks


def measured(engine: Any, error: float, most: float) -> dict[str, Any]:
    """Seconds, networks, mean and standard error of the engine's only row, compilation apart."""
    list(chunks(engine, 1, 1))  # compiles
    start, count, total, square = time.perf_counter(), 0, 0.0, 0.0
    reached = False
    for rows, _ in chunks(engine, MOST, 0):
        values = rows[:, 0]
        count, total, square = count + len(values), total + values.sum(), square + (values**2).sum()
        mean, seconds = total / count, time.perf_counter() - start
        se = float(np.sqrt(max(square / count - mean**2, 0) / max(count - 1, 1)))
        reached = count >= LEAST and se <= error * abs(mean)
        if reached or (seconds > most and count > 2):
            break
    needed = count if reached else int(np.ceil(count * (se / error / mean) ** 2))
    about = {
        "engine": engine.name,
        "width": engine.width,
        "mean": float(mean),
        "se": se,
        "networks": count,
        "seconds": seconds,
    }
    return about | {
        "reached": reached,
        "networks_needed": needed,
        "seconds_needed": seconds * needed / count,
    }


def main() -> None:
    """Print a line per width and engine, or one JSON document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quantity", default="residual_variance")
    parser.add_argument("--application", type=int, default=32)
    parser.add_argument("--width", type=int, nargs="*", default=[512, 4096])
    parser.add_argument("--error", type=float, default=1e-3)
    parser.add_argument("--most", type=float, default=60.0, help="seconds of sampling")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args()
    name, parameters = JOBS[next(iter(JOBS))]
    arch = getattr(sp.architectures, name)(**parameters)
    row = select(arch, [given.quantity], [given.application])[:1]
    found = [
        measured(engine_for(name, arch, row, width, MEMORY_MIB), given.error, given.most)
        for width in given.width
        for name in ENGINES
    ]
    if given.json:
        print(
            json.dumps(
                {
                    "benchmark": "time to error",
                    "device": jax.devices()[0].device_kind,
                    "row": row[0].to_dict(),
                    "error": given.error,
                    "rows": found,
                },
                indent=1,
            )
        )
        return
    print(f"{row[0]} to {given.error:.2%} on {jax.devices()[0].device_kind}")
    for line in found:
        about = (
            ""
            if line["reached"]
            else f"~ ({line['networks']} networks in {line['seconds']:.0f} s, error "
            f"{line['se'] / line['mean']:.2%})"
        )
        print(
            f"n = {line['width']:5d}  {line['engine']:11}  {line['seconds_needed']:10.1f} s  "
            f"{line['networks_needed']:8d} networks  {about}"
        )


if __name__ == "__main__":
    main()

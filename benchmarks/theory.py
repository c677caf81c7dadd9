"""How long ``predict`` takes: a tied and an untied stack, after compilation, and how compilation
grows with depth.

    python benchmarks/theory.py [--quick] [--json]

Times are seconds on this machine; the ratios are what carries over to another one.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import jax

import sigprop as sp

TIED, UNTIED = 1000, 10_000
DEPTHS = (10, 100, 1000)
COMPILED: list[float] = []
QUANTITIES = ("residual_variance", "gradient_variance", "weight_gradient")


def stack(activation: str, applications: int, tied: bool) -> sp.Architecture:
    """A pre-norm stack of two matrices, one token."""
    if tied:
        return sp.architectures.looped_mlp(depth=1, loops=applications, activation=activation)
    return sp.architectures.residual_mlp(depth=applications, activation=activation)


def compiled(event: str, duration_secs: float, **_: Any) -> None:
    """Keep the seconds of each compilation that jax reports."""
    if event.endswith("backend_compile_duration"):
        COMPILED.append(duration_secs)


def seconds(arch: sp.Architecture, repeats: int) -> tuple[float, float]:
    """(compilation, the fastest of ``repeats`` calls after it); caches are emptied first, and
    jax itself says what it compiled for how long."""
    jax.clear_caches()
    COMPILED.clear()
    sp.predict(arch, quantities=QUANTITIES)
    compilation, times = sum(COMPILED), []
    for _ in range(repeats):
        start = time.perf_counter()
        sp.predict(arch, quantities=QUANTITIES)
        times.append(time.perf_counter() - start)
    return compilation, min(times)


def run(quick: bool) -> list[dict[str, Any]]:
    """One line an activation and size."""
    found: list[dict[str, Any]] = []
    scale, repeats = (10, 1) if quick else (1, 2)
    jax.monitoring.register_event_duration_secs_listener(compiled)
    sp.predict(stack("relu", 3, True))  # imports and first set-up are no compilation
    for activation in ("relu", "gelu", "tanh"):
        for tied, depths in (
            (True, sorted({d // scale for d in DEPTHS if d >= scale} | {TIED // scale})),
            (False, [UNTIED // scale]),
        ):
            base = None
            for depth in depths:
                compile_seconds, again = seconds(stack(activation, depth, tied), repeats)
                base = base or compile_seconds
                found.append(
                    {
                        "activation": activation,
                        "weights": "tied" if tied else "untied",
                        "applications": depth,
                        "seconds": again,
                        "microseconds_per_pair_or_step": 1e6
                        * again
                        / (depth * (depth + 1) / 2 if tied else depth),
                        "compile_seconds": compile_seconds,
                        "compile_ratio": compile_seconds / base,
                    }
                )
    return found


def main() -> None:
    """Print the table or one JSON document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the applications")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args()
    lines = run(given.quick)
    if given.json:
        print(
            json.dumps(
                {"benchmark": "theory", "device": str(jax.devices()[0]), "rows": lines}, indent=1
            )
        )
        return
    print(
        f"{'activation':10} {'weights':7} {'applications':>12} {'seconds':>9} "
        f"{'us/pair|step':>13} {'compile s':>10} {'compile ratio':>14}"
    )
    for line in lines:
        print(
            f"{line['activation']:10} {line['weights']:7} {line['applications']:12d} "
            f"{line['seconds']:9.3f} {line['microseconds_per_pair_or_step']:13.3g} "
            f"{line['compile_seconds']:10.2f} {line['compile_ratio']:14.2f}"
        )


if __name__ == "__main__":
    main()

"""Both engines on the same jobs in one run: networks a second, memory, how near each comes to its
own limit, and how cost grows.

    python benchmarks/engines.py [--quick] [--json]

limit = normals it must draw / (normals a second of jax.random.normal alone) + multiply-adds of its
matrix products / (those of such products alone); engine and limits are timed in turns, so what else
the machine does meets all of them. growth: the slope of log(seconds a network) over log(width), or
over log(loops). On a GPU the dense engine's fraction of the measured peak of a large float32 matrix
product is printed too. Memory: what the compiled program holds, a network.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import jax
import numpy as np
from engine_limits import PRODUCTS, Job, clock, peak, rates

from sigprop.runtime import memory

JOBS: dict[str, tuple[str, dict[str, Any]]] = {  # label: (architecture, parameters)
    "untied, 32 x 1 matrix, 2 inputs": (
        "residual_mlp",
        {"depth": 32, "matrices": 1, "tokens": 2, "token_cosine": 0.3},
    ),
    "tied, 1 slot x 16": ("looped_mlp", {"depth": 1, "loops": 16, "matrices": 1}),
    "looped, 4 slots x 8": ("looped_mlp", {"depth": 4, "loops": 8}),
    "transformer, 4 tokens": (
        "transformer",
        {"depth": 2, "tokens": 4, "mlp_ratio": 2, "head_dim": 64},
    ),
}
WIDTHS = {"dense": (512, 1024, 4096), "matrix-free": (512, 4096, 32768, 262144, 2**20)}
LOOPS = (8, 16, 32, 64)
MOST_SECONDS = 8.0  # of one call: dearer ones are left out
REPEATS = 5


def line(label: str, engine: str, width: int, repeats: int) -> dict[str, Any] | None:
    """One job at one width; None where a call would take too long."""
    name, parameters = JOBS[label]
    job = Job(name, parameters, engine, width)
    if job.engine.seconds * job.networks > MOST_SECONDS:
        return None
    best = clock({"engine": job.call} | rates(job), repeats)
    seconds = best.pop("engine") / job.networks
    normals = max(
        value
        for name, value in ((n, job.rate(n, t)) for n, t in best.items())
        if not name.startswith(PRODUCTS)
    )
    products = max(job.rate(name, t) for name, t in best.items() if name.startswith(PRODUCTS))
    limit = job.normals / normals + job.products / products
    return {
        "job": label,
        "engine": engine,
        "width": width,
        "batch": job.engine.batch_size,
        "networks_per_second": 1 / seconds,
        "seconds": seconds,
        "mib_per_network": job.memory / 2**20,
        "mib_estimated": job.engine.bytes_per_network / 2**20,
        "normals": job.normals,
        "multiply_adds": job.products,
        "normals_per_second": normals,
        "multiply_adds_per_second": products,
        "fraction_of_limit": limit / seconds,
        "fraction_of_random_limit": job.normals / normals / seconds,
        "estimate_over_measured": job.engine.seconds / seconds,
    }


def lines(
    labels: Sequence[str], widths: dict[str, tuple[int, ...]], repeats: int
) -> Iterator[dict[str, Any]]:
    """Every job at its widths. Formed matrices, and vectors that no cache holds, in a process
    that keeps its memory (``memory.keep``), as with the command line."""
    with ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), initializer=memory.keep
    ) as keeping:
        for label, (engine, own) in itertools.product(labels, widths.items()):
            for width in own:
                kept = memory.worth_keeping(engine, width)
                found = (
                    keeping.submit(line, label, engine, width, repeats).result()
                    if kept
                    else line(label, engine, width, repeats)
                )
                if found is not None:
                    yield found


HEADING = (
    f"{'job':32} {'engine':11} {'width':>7} {'batch':>5} {'networks/s':>10} {'MiB each':>8}"
    f" {'of limit':>8} {'of random':>9} {'estimate':>8}"
)


def described(one: dict[str, Any]) -> str:
    """Under ``HEADING``."""
    what = (
        f"{one['job']:32} {one['engine']:11} {one['width']:7d} {one['batch']:5d} "
        f"{one['networks_per_second']:10.4g} {one['mib_per_network']:8.1f} "
    )
    return (
        what + f"{one['fraction_of_limit']:8.2f} {one['fraction_of_random_limit']:9.2f} "
        f"{one['estimate_over_measured']:8.2f}"
    )


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of log y over log x."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0]) if len(x) > 1 else float("nan")


def loops_growth(width: int, repeats: int) -> dict[str, Any]:
    """Seconds and memory of a tied matrix-free network against its loops."""
    seconds, memory = [], []
    for loops in LOOPS:
        job = Job("looped_mlp", {"depth": 1, "loops": loops, "matrices": 1}, "matrix-free", width)
        seconds.append(clock({"engine": job.call}, repeats)["engine"] / job.networks)
        memory.append(job.memory / 2**20)
    growth = {"growth": slope(LOOPS, seconds), "memory_growth": slope(LOOPS, memory)}
    return {
        "width": width,
        "loops": list(LOOPS),
        "seconds": seconds,
        "mib_per_network": memory,
    } | growth


def main() -> None:
    """Print the table or one JSON document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two jobs at two widths")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args()
    labels = list(JOBS)[:2] if given.quick else list(JOBS)
    repeats = 3 if given.quick else REPEATS
    say = (lambda text: None) if given.json else functools.partial(print, flush=True)
    device = jax.devices()[0]
    hardware = f"{device.device_kind} ({device.platform})"
    say(f"device: {hardware}")
    say(HEADING)
    found = []
    for one in lines(
        labels, dict.fromkeys(WIDTHS, (512, 2048)) if given.quick else WIDTHS, repeats
    ):
        found.append(one)
        say(described(one))
    growth = {}
    for label in labels:
        own = [one for one in found if one["job"] == label and one["engine"] == "matrix-free"]
        growth[label] = slope([one["width"] for one in own], [one["seconds"] for one in own])
    by_loops = loops_growth(2**10 if given.quick else 2**14, repeats)
    if given.json:
        document = {
            "benchmark": "engines",
            "device": hardware,
            "rows": found,
            "growth_in_width": growth,
            "growth_in_loops": by_loops,
        }
        print(
            json.dumps(
                document
                | (
                    {"peak_multiply_adds_per_second": peak(repeats)}
                    if device.platform != "cpu"
                    else {}
                ),
                indent=1,
            )
        )
        return
    for label, value in growth.items():
        print(f"matrix-free, {label}: seconds a network grow as n^{value:.2f}")
    grows = (
        f"seconds a network grow as N^{by_loops['growth']:.2f}, memory as N^"
        f"{by_loops['memory_growth']:.2f}"
    )
    print(f"matrix-free, tied, n = {by_loops['width']}: {grows} over N = {LOOPS}")
    for label in labels:
        speed = {
            one["engine"]: one["networks_per_second"]
            for one in found
            if one["job"] == label and one["width"] == 4096
        }
        if len(speed) == 2:
            print(
                f"{label}, n = 4096: matrix-free is {speed['matrix-free'] / speed['dense']:.0f} "
                f"times as fast"
            )
    if device.platform != "cpu":
        best = peak(repeats)
        for one in found:
            if one["engine"] == "dense":
                rate = one["multiply_adds"] * one["networks_per_second"]
                print(
                    f"dense, {one['job']}, n = {one['width']}: {rate / best:.1%} of {best:.3g} "
                    f"multiply-adds a second"
                )


if __name__ == "__main__":
    main()

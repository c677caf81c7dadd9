"""Both engines on the same jobs in one run: networks a second, memory, how near each comes to its
own limit and to the device's, and how cost grows.

    python benchmarks/engines.py [--quick] [--json] [--widths N ...] [--seconds S] [--lines FILE]

limit = normals it must draw / (normals a second of jax.random.normal alone) + multiply-adds of its
matrix products / (those of such products alone); engine and limits are timed in turns, so what else
the machine does meets all of them. Of the device (``device_limits``): "of peak", what its matrix
products come to over the measured rate of one large float32 product; "of memory", what it must move
at least (each normal written once; what vectors are multiplied with read once a product of all
tokens, forward and backward; vectors not counted) over the measured bandwidth. growth: the slope of
log(seconds a network) over log(width), or over log(loops). Memory: what the compiled program holds,
a network.

--seconds: nothing begins later than that. --lines: each result is added to that file as it comes, a
JSON object a line.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import device_limits
import jax
import numpy as np
from engine_limits import PRODUCTS, Job, clock, rates

from sigprop.errors import InputError
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
FAILED: list[tuple[Any, ...]] = []
"""Jobs that could not be run."""


def line(label: str, engine: str, width: int, repeats: int) -> dict[str, Any] | None:
    """One job at one width; None where a call would take too long."""
    name, parameters = JOBS[label]
    job = Job(name, parameters, engine, width)
    if job.seconds * job.networks > MOST_SECONDS:
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
        "flops": job.flops,
        "bytes_moved": job.bytes_moved,
        "normals_per_second": normals,
        "multiply_adds_per_second": products,
        "fraction_of_limit": limit / seconds,
        "fraction_of_random_limit": job.normals / normals / seconds,
        "estimate_over_measured": job.seconds / seconds,
    }


def lines(
    labels: Sequence[str],
    widths: Mapping[str, tuple[int, ...]],
    repeats: int,
    end: float = float("inf"),
) -> Iterator[dict[str, Any]]:
    """Every job at its widths, the smallest of all of them first, until the clock
    (``time.monotonic``) says ``end``. Formed matrices, and vectors that no cache holds, in a
    process that keeps its memory (``memory.keep``), as with the command line; on an accelerator in
    this one: a second process would find its memory taken."""
    here = jax.default_backend() != "cpu"
    pool = nullcontext() if here else _keeping()
    with pool as keeping:
        for width in sorted({width for own in widths.values() for width in own}):
            for label, (engine, own) in itertools.product(labels, widths.items()):
                if width not in own or time.monotonic() > end:
                    continue
                job = (label, engine, width, repeats)
                try:
                    found = (
                        keeping.submit(line, *job).result()
                        if keeping is not None and memory.worth_keeping(engine, width)
                        else line(*job)
                    )
                except (InputError, jax.errors.JaxRuntimeError) as error:  # of memory, say
                    print(f"{label}, {engine}, {width}: {error}", file=sys.stderr)
                    FAILED.append(job)
                    continue
                if found is not None:
                    yield found


def _keeping() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=memory.keep)


def compared(one: dict[str, Any], of: list[dict[str, Any]]) -> dict[str, Any]:
    """A line with its shares of the device's limits."""
    shares = {
        "fraction_of_peak": one["flops"] / device_limits.per_second(of, device_limits.ENGINES),
        "fraction_of_bandwidth": one["bytes_moved"]
        / device_limits.per_second(of, device_limits.BANDWIDTH),
    }
    return one | {name: share * one["networks_per_second"] for name, share in shares.items()}


HEADING = (
    f"{'job':32} {'engine':11} {'width':>7} {'batch':>5} {'networks/s':>10} {'MiB each':>8}"
    f" {'of limit':>8} {'of random':>9} {'of peak':>8} {'of memory':>9} {'estimate':>8}"
)


def described(one: dict[str, Any]) -> str:
    """Under ``HEADING``."""
    what = (
        f"{one['job']:32} {one['engine']:11} {one['width']:7d} {one['batch']:5d} "
        f"{one['networks_per_second']:10.4g} {one['mib_per_network']:8.1f} "
    )
    return (
        what + f"{one['fraction_of_limit']:8.2f} {one['fraction_of_random_limit']:9.2f} "
        f"{one['fraction_of_peak']:8.2%} {one['fraction_of_bandwidth']:9.2%} "
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


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two jobs at two widths")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--widths", type=int, nargs="+", help="of both engines")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--lines", type=Path, help="file of a JSON object a line")
    return parser.parse_args()


def recorded(
    kind: str, found: Iterator[dict[str, Any]], file: Path | None, say: Callable[[dict], None]
) -> list[dict[str, Any]]:
    """Take results as they come, say each, and add it to the file."""
    every = []
    for one in found:
        every.append(one)
        say(one)
        if file is not None:
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"step": kind, "device": _hardware()} | one) + "\n")
    return every


def _hardware() -> str:
    device = jax.devices()[0]
    return f"{device.device_kind} ({device.platform})"


def said(found: list[dict[str, Any]], labels: Sequence[str], document: dict[str, Any]) -> None:
    """Print how cost grows, and by how much one engine is faster."""
    for label, value in document["growth_in_width"].items():
        print(f"matrix-free, {label}: seconds a network grow as n^{value:.2f}")
    if "growth_in_loops" in document:
        by = document["growth_in_loops"]
        grows = f"seconds a network grow as N^{by['growth']:.2f}, memory as N^"
        grows += f"{by['memory_growth']:.2f}"
        print(f"matrix-free, tied, n = {by['width']}: {grows} over N = {LOOPS}")
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


def main() -> int:
    """Print the table or one JSON document; return how many jobs could not be run."""
    given, end = arguments(), time.monotonic()
    end += given.seconds
    labels = list(JOBS)[:2] if given.quick else list(JOBS)
    repeats = 3 if given.quick else REPEATS
    say = (lambda text: None) if given.json else functools.partial(print, flush=True)
    say(f"device: {_hardware()}")
    limits = recorded(
        "limits",
        device_limits.limits(repeats),
        given.lines,
        lambda one: say(device_limits.described(one)),
    )
    say(HEADING)
    widths = dict.fromkeys(WIDTHS, (512, 2048)) if given.quick else WIDTHS
    widths = dict.fromkeys(WIDTHS, tuple(given.widths)) if given.widths else widths
    rows = (compared(one, limits) for one in lines(labels, widths, repeats, end))
    found = recorded("engines", rows, given.lines, lambda one: say(described(one)))
    growth = {}
    for label in labels:
        own = [one for one in found if one["job"] == label and one["engine"] == "matrix-free"]
        if len(own) < 2:
            continue
        growth[label] = slope([one["width"] for one in own], [one["seconds"] for one in own])
    document = {
        "benchmark": "engines",
        "device": _hardware(),
        "limits": limits,
        "rows": found,
        "growth_in_width": growth,
    }
    if time.monotonic() < end:
        document["growth_in_loops"] = loops_growth(2**10 if given.quick else 2**14, repeats)
    if given.json:
        print(json.dumps(document, indent=1))
    else:
        said(found, labels, document)
    return len(FAILED)


if __name__ == "__main__":
    sys.exit(main())

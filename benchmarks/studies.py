"""What a study costs: beside a plain loop, a unit, and to look at one that is large.

    python benchmarks/studies.py loop    a grid of predict, cold caches, whole processes
    python benchmarks/studies.py large   10^5 units of 50 rows: a unit, study status, results

Ratios of one run on one machine; a quiet one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sigprop.studies.store.queue import Outcome, exchange, take
from sigprop.studies.store.store import Asked, Store

GRID = {
    "depth": list(range(4, 20)),
    "loops": [1, 2, 3, 4],
    "activation": ["relu", "tanh", "gelu", "silu", "erf"],
}
STUDY = f"""
name = "grid"
command = "predict"
architecture = "looped-mlp"

[parameters]
residual_scale = "1/(N*sqrt(L))"

[grid]
depth = {GRID["depth"]}
loops = {GRID["loops"]}
activation = {GRID["activation"]}
"""
LOOP = f"""
import itertools, json
import sigprop as sp
grid = {GRID!r}
rows = []
for values in itertools.product(*grid.values()):
    given = dict(zip(grid, values))
    arch = sp.architectures.looped_mlp(residual_scale="1/(N*sqrt(L))", **given)
    rows += [given | row for row in sp.predict(arch).to_dict()["rows"]]
json.dump(rows, open("loop.json", "w"))
"""
UNITS, ROWS = 10**5, 50


def timed(command: list[str], folder: Path) -> float:
    """Seconds of a whole process with caches of its own."""
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        environment = os.environ | {"XDG_CACHE_HOME": cache, "SIGPROP_CACHE": cache}
        started = time.monotonic()
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        return time.monotonic() - started


def loop(folder: Path) -> None:
    """A plain loop, the study of the same cells, and that with two jobs."""
    (folder / "grid.toml").write_text(STUDY)
    (folder / "loop.py").write_text(LOOP)
    run = [sys.executable, "-m", "sigprop", "study", "run", "grid.toml", "--store"]
    plain = timed([sys.executable, "loop.py"], folder)
    print(f"loop {plain:.1f} s", flush=True)
    one = timed([*run, "one.db"], folder)
    print(f"study {one:.1f} s: {one / plain:.2f} of the loop (at most 1.3)", flush=True)
    two = timed([*run, "two.db", "--jobs", "2"], folder)
    print(f"two jobs {two:.1f} s: 1/{plain / two:.2f} of the loop (at most 1/1.5)", flush=True)


def filled(path: Path, units: int) -> float:
    """Fill a store as runs do, and return the seconds a unit."""
    with Store(path, write=True) as store:
        store.say(study={"name": "large", "command": "predict"}, shard=None, source="0" * 16)
        source = store.source("0" * 16)
        store.begin()
        asked = []
        for k in range(units):
            varied = {"depth": k % 100, "loops": k // 100 % 100, "seed": k // 10**4}
            cell = {"varied": varied, "architecture": "looped-mlp", "parameters": varied}
            asked.append(Asked(f"{k:032x}", k, k % 100, cell | {"options": {}}, None))
        store.request(asked, source)
        started = time.monotonic()
        unit = next(iter(take(store, source, -1)), None)
        while unit is not None:
            unit = exchange(store, source, unit, Outcome(rows(unit.id), seconds=0.1))
        return (time.monotonic() - started) / units


def rows(unit: int) -> list[dict[str, object]]:
    """Rows as predict has them."""
    return [
        {
            "quantity": ("residual_variance", "write_variance")[k % 2],
            "application": k // 2,
            "token": 0,
            "value": 1 / (1 + k + unit),
            "log_value": -float(k),
            "error": 1e-15 * unit,
            "status": "exact",
            "scale": 1.0,
        }
        for k in range(ROWS)
    ]


def large(folder: Path) -> None:
    """Look at a store of 10^5 units."""
    seconds = filled(folder / "large.db", UNITS)
    size = (folder / "large.db").stat().st_size / 2**20
    print(f"{1e3 * seconds:.2f} ms of the store a unit (at most 5), {size:.0f} MiB", flush=True)
    asked = ["--quantity", "residual_variance", "--application", "12"]
    for words in (["status"], ["results", *asked], ["results", *asked, "--out", "rows.csv"]):
        command = [sys.executable, "-m", "sigprop", "study", words[0], "large.db", *words[1:]]
        started = time.monotonic()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        print(f"study {' '.join(words)}: {time.monotonic() - started:.2f} s", flush=True)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["loop", "large"])
    parser.add_argument("--folder", type=Path, help="where what is made stays")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        {"loop": loop, "large": large}[given.what](given.folder or Path(folder))


if __name__ == "__main__":
    main()

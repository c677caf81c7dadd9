"""What users wait for: whole processes of the command line, without compiled programs on disk and
with those of a first process.

    python benchmarks/startup.py --repeat 3 [--whole]

A row a command: median seconds without the cache (``--no-cache``), of the first process into an
empty cache, and of the ones after it. --whole: with ``verify --quick`` of everything registered.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = (
    "predict looped-mlp",
    "predict transformer",
    "measure looped-mlp",
    "verify looped-mlp --tolerance 0.01",
)
WHOLE = "verify --quick"


def seconds(command: str, folder: str, *more: str) -> float:
    """Wall time of one process; raises where it fails."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment = kept | {"SIGPROP_CACHE": folder, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "sigprop", *command.split(), *more]
    start = time.perf_counter()
    subprocess.run(
        words, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--whole", action="store_true")
    given = parser.parse_args()
    print(f"{'command':36} {'no cache':>9} {'first':>9} {'second':>9}")
    for command in (*COMMANDS, *([WHOLE] * given.whole)):
        bare, first, second = [], [], []
        for _ in range(1 if command == WHOLE else given.repeat):
            with tempfile.TemporaryDirectory() as folder:
                bare.append(seconds(command, folder, "--no-cache"))
                first.append(seconds(command, folder))
                second.append(seconds(command, folder))
        medians = (statistics.median(times) for times in (bare, first, second))
        print(f"{command:36} " + " ".join(f"{value:9.2f}" for value in medians), flush=True)


if __name__ == "__main__":
    main()

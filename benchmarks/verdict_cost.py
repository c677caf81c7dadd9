"""What a verdict of every registered architecture costs with a twin and without: the main run that
the pilot sizes, in neurons of networks (a network of width n counts n) and the engines' own
estimate of seconds, and what sampling the pilot took.

    python benchmarks/verdict_cost.py [--tolerance 0.01] [--only transformer,nag]

Nothing of the main run is drawn: its networks are known once the pilot is. All rows of a verdict,
gradients among them; skipless networks, whose matrices are orthogonal, with ``weights=gaussian``.
"""

from __future__ import annotations

import argparse
import time
from unittest import mock

import sigprop as sp
from sigprop.architectures import entries
from sigprop.verdict.run import Run
from sigprop.verdict.sizing import Plan


class Sized(Exception):
    """The pilot is done: what the main run would be."""

    def __init__(self, neurons: float, seconds: float, n1: int):
        super().__init__()
        self.neurons, self.seconds, self.n1 = neurons, seconds, n1


def stop(run: Run, phase: str, n1: int, design: Plan) -> None:
    """Say what ``Run.draw`` would draw."""
    widths = [round(factor * n1) for factor in run.terms.factors]
    drawn = list(zip(widths, design.counts, strict=True))
    neurons = sum(width * count for width, count in drawn)
    raise Sized(neurons, sum(run.source.cost(w) * m for w, m in drawn), n1)


def sized(arch: sp.Architecture, tolerance: float, control: str) -> tuple[Sized | str, float]:
    """Run a verdict's pilot; its main run, or why there is none, and the seconds until then."""
    start = time.perf_counter()
    try:
        with mock.patch.object(Run, "draw", stop):
            table = sp.verify(arch, tolerance=tolerance, control=control)
        found: Sized | str = str((table.notes or {})["reason"])
    except Sized as plan:
        found = plan
    except sp.InputError as why:
        found = str(why)
    return found, time.perf_counter() - start


def main() -> None:
    """Print a line an architecture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tolerance", type=float, default=0.01)
    parser.add_argument("--only", default=",".join(sorted(entries())))
    given = parser.parse_args()
    print("| architecture | n1 | neurons, plain | with a twin | fewer | seconds, plain | with |")
    print("|---|---|---|---|---|---|---|")
    for name in given.only.split(","):
        arch = entries()[name].build()
        if arch.ensemble != "gaussian":
            arch = entries()[name].build(weights="gaussian")
        plain, twin = (sized(arch, given.tolerance, control)[0] for control in ("none", "twin"))
        if isinstance(plain, str) or isinstance(twin, str):
            print(f"| {name} | {plain if isinstance(plain, str) else twin} |", flush=True)
            continue
        print(
            f"| {name} | {plain.n1} | {plain.neurons / 1e6:.2f} M | {twin.neurons / 1e6:.2f} M "
            f"| {plain.neurons / twin.neurons:.1f} | {plain.seconds:.1f} | {twin.seconds:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""Calibration of the verdict on real networks: many seeded verdicts of one small tied network, with
right and wrong theories.

    python benchmarks/calibration.py [--repetitions 200] [--first 0] [--tolerance 0.01]
    [--control twin] [--quantity NAME ...] [--json FILE]

Tied relu, D = 8, one matrix, pre-norm, one token. Each repetition is one seed, judged five times on
the same draws: by the true theory, by theories 2 and 3 x tolerance off in all rows and 2 x in one
row, and by the untied theory. Prints how often each is confirmed, rejected or left open, with the
interval's coverage of the known limit and its binomial interval. --control twin: networks with a
twin, whose own mean is measured anew for every seed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import sigprop as sp
from sigprop.agreement.against import theory_of
from sigprop.agreement.finite_width.controlled import twin_of
from sigprop.agreement.sampler import Sampler, Simulation
from sigprop.agreement.verify import SHARE
from sigprop.description.rows import judged
from sigprop.simulations.engines.dense import DenseEngine
from sigprop.simulations.network.twin import Twin
from sigprop.theory.predictions.evaluate import evaluate, unscaled
from sigprop.verdict import judge

QUANTITIES = ["residual_variance", "gradient_variance", "weight_gradient"]


class Remembered:
    """A sampler whose draws are kept: four theories judge the same networks (the first k of a
    stream are the same for any k)."""

    def __init__(self, sampler: Sampler):
        self.sampler: Sampler = sampler
        self.kept: dict[tuple[int, int], np.ndarray] = {}

    def __call__(self, width: int, samples: int, stream: int) -> np.ndarray:
        if len(self.kept.get((width, stream), ())) < samples:
            self.kept[width, stream] = self.sampler(width, samples + samples // 8, stream)
        return self.kept[width, stream][:samples]


def values(arch: sp.Architecture, rows: Any) -> np.ndarray:
    """Plain theory values of the rows."""
    return np.array([unscaled(*v) for v in evaluate(arch, rows)[0]], dtype=float)


def repetition(
    arch: sp.Architecture,
    theories: dict[str, np.ndarray],
    rows: Any,
    twin: Twin | None,
    seed: int,
    tolerance: float,
) -> dict[str, Any]:
    """The verdicts of one seed, and which rows' intervals cover the truth."""
    sampler = Sampler(arch, rows, Simulation(seed=seed, engine="dense", memory_mib=2**10))
    error = np.zeros(len(rows))
    if twin is not None:
        sampler.put_beside(twin, 32, SHARE * tolerance * np.abs(theories["true"]))
        assert sampler.beside is not None
        error = sampler.beside.half_width
    remembered, found = Remembered(sampler), {}
    for name, theory in theories.items():
        found[name] = judge(
            remembered,
            theory,
            np.abs(theory),
            error,
            tolerance=tolerance,
            cost=sampler.cost,
            widths=DenseEngine.ladder,
            ceiling=DenseEngine.widest,
        )
    true = found["true"]
    return {name: f.verdict for name, f in found.items()} | {
        "covered": [bool(c) for c in (true.lower <= 0) & (true.upper >= 0)],
        "looks": true.looks,
        "cost": true.cost,
    }


def main() -> None:
    """Run the repetitions and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind, default in (
        ("repetitions", int, 200),
        ("first", int, 0),
        ("tolerance", float, 0.01),
        ("control", str, "none"),
        ("json", Path, None),
    ):
        parser.add_argument(f"--{name}", type=kind, default=default)
    parser.add_argument("--quantity", nargs="+", default=QUANTITIES)
    given = parser.parse_args()
    arch = sp.architectures.looped_mlp(depth=1, loops=8, matrices=1)
    rows = judged(arch, given.quantity)
    truth, one = values(arch, rows), np.zeros(len(rows))
    one[2] = 2 * given.tolerance
    theories = {
        "true": truth,
        "all off": truth * (1 + 2 * given.tolerance),
        "3 x off": truth * (1 + 3 * given.tolerance),
        "one off": truth * (1 + one),
    }
    untied = theory_of(arch, "residual-mlp")
    theories["untied"] = values(untied, [r for r in rows if r.quantity != "weight_gradient"])
    # an untied weight has no row here
    theories["untied"] = np.concatenate([theories["untied"], truth[len(theories["untied"]) :]])
    started, results = time.monotonic(), []
    twin = twin_of(arch, rows) if given.control == "twin" else None
    for seed in range(given.first, given.first + given.repetitions):
        results.append(repetition(arch, theories, rows, twin, seed, given.tolerance))
        if given.json:
            given.json.write_text(
                json.dumps(
                    {
                        "tolerance": given.tolerance,
                        "rows": [str(r) for r in rows],
                        "results": results,
                    }
                )
            )
    report(results, [str(r) for r in rows], time.monotonic() - started)


def report(results: list[dict[str, Any]], rows: list[str], seconds: float) -> None:
    """Counts per theory, and coverage with its 95 % binomial (Clopper-Pearson) interval."""
    print(
        f"{len(results)} repetitions, {len(rows)} rows, {seconds:.0f} s, mean looks "
        f"{np.mean([r['looks'] for r in results]):.2f}"
    )
    for name in ("true", "all off", "3 x off", "one off", "untied"):
        print(f"theory {name:8} {dict(Counter(r[name] for r in results))}")
    covered = np.array([r["covered"] for r in results])
    for label, hits in [
        *zip(rows, covered.sum(axis=0), strict=True),
        ("all rows at once", int(covered.all(axis=1).sum())),
    ]:
        interval = stats.binomtest(int(hits), len(results)).proportion_ci(0.95)
        print(
            f"coverage {label:55} {hits / len(results):.3f}  [{interval.low:.3f}, "
            f"{interval.high:.3f}]"
        )


if __name__ == "__main__":
    main()

"""Train the models of docs/own-training.md, 20 steps of 8 seeds, and print how many times as much
as the base's their outputs change: at four times the width, the depth, both, and with an exponent
left out.

    python benchmarks/own_training.py torch adamw
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sigprop as sp

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from trained import planted, ratio  # pyright: ignore[reportMissingImports]

SEEDS = 8


def changes(loop: Any, plan: sp.Prescription) -> Sequence[float]:
    """Return every seed's change of the output."""
    many = loop.__name__.startswith("nnx")
    runs = loop.train(plan, SEEDS) if many else [loop.train(plan, seed) for seed in range(SEEDS)]
    return [change for change, _, _ in runs]


def wrong(loop: Any, plan: sp.Prescription) -> Iterator[tuple[str, sp.Prescription]]:
    """Yield the plan with the rates of matrices in branches, then the read-out's, without their
    power of width, then of depth."""
    matrices = tuple(name for name in "qkvuwx" if name in loop.PATTERNS)
    wider = plan.parameters["target"]["width"] / plan.parameters["base"]["width"]
    for label, groups in (("matrices", matrices), ("read-out", ("readout",))):
        whole = 1 / plan.row(groups[0], "learning_rate")["ratio"]
        width = 1.0 if plan.optimizer != "adamw" and label == "matrices" else wider
        if width != 1:
            yield f"{label}, width", planted(plan, groups, width)
        if abs(whole / width - 1) > 1e-9:
            yield f"{label}, depth", planted(plan, groups, whole / width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=["torch", "nnx"])
    parser.add_argument("optimizer", choices=["adamw", "sgd", "muon"])
    given = parser.parse_args()
    loop = importlib.import_module(f"{given.library}_training")
    sizes = [{**loop.BASE, key: loop.TARGET[key]} for key in ("width", "depth")]
    base = changes(loop, loop.prescribed(loop.BASE, given.optimizer))
    plan = loop.prescribed(loop.TARGET, given.optimizer)
    plans = [
        ("width", loop.prescribed(sizes[0], given.optimizer)),
        ("depth", loop.prescribed(sizes[1], given.optimizer)),
        ("both", plan),
        *wrong(loop, plan),
    ]
    for label, one in plans:
        found = ratio(base, changes(loop, one))
        said = "equal" if found.equal else "not equal"
        print(f"{label:16} {found.value:.3f} +- {found.error:.3f} {said}", flush=True)


if __name__ == "__main__":
    main()

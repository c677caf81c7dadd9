"""A transformer of torch, trained at a base's sizes and at four times the width and the depth as
prescribed: its output changes as much, and not with an exponent left out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from trained import planted, ratio

import sigprop as sp

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
import torch_training as loop  # noqa: E402

SEEDS = 8


def changes(plan: sp.Prescription) -> Sequence[float]:
    return [loop.train(plan, seed)[0] for seed in range(SEEDS)]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_the_output_changes_alike_and_not_with_an_exponent_left_out(optimizer: str):
    """20 steps. An equal pair is beyond 3 standard errors once in a hundred, if it is beyond 10 %
    too; depth's power of the matrices' rates (of sgd, which has none, width's of the read-out)
    left out is 4 and more standard errors from equal."""
    base = [loop.train(loop.prescribed(loop.BASE, optimizer), seed) for seed in range(SEEDS)]
    assert all(after < before for _, before, after in base)
    moved = [change for change, _, _ in base]
    plan = loop.prescribed(loop.TARGET, optimizer)
    found = ratio(moved, changes(plan))
    assert found.equal, found
    group = "readout" if optimizer == "sgd" else "q"
    left_out = 1 / plan.row(group, "learning_rate")["ratio"]
    if optimizer == "adamw":
        left_out /= loop.TARGET["width"] / loop.BASE["width"]
    groups = ("readout",) if optimizer == "sgd" else loop.MATRICES
    wrong = ratio(moved, changes(planted(plan, groups, left_out)))
    assert not wrong.equal, wrong

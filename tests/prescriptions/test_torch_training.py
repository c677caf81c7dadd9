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


@pytest.mark.parametrize(
    ("optimizer", "size", "groups"),
    [
        ("adamw", "depth", loop.MATRICES),
        ("sgd", "width", ("readout",)),  # matrices have one rate at every size
        ("muon", "depth", loop.MATRICES),
    ],
)
def test_the_output_changes_alike_and_not_with_an_exponent_left_out(
    optimizer: str, size: str, groups: tuple[str, ...]
):
    """20 steps. An equal pair is beyond 3 standard errors less than once in a hundred; with this
    size's power left out of these groups' rates the ratio is beyond 10 % and 3 of them."""
    base = [loop.train(loop.prescribed(loop.BASE, optimizer), seed) for seed in range(SEEDS)]
    assert all(after < before for _, before, after in base)
    moved = [change for change, _, _ in base]
    found = ratio(moved, changes(loop.prescribed(loop.TARGET, optimizer)))
    assert found.equal, found
    plan = loop.prescribed({**loop.BASE, size: loop.TARGET[size]}, optimizer)
    left_out = 1 / plan.row(groups[0], "learning_rate")["ratio"]
    wrong = ratio(moved, changes(planted(plan, groups, left_out)))
    assert not wrong.equal, wrong

"""Where no law says how rates depend on depth: a group's share of the first step's change, by the
recursion at the sizes themselves.

A step of rate r lowers the loss by r D, D the group's ``shares`` at rate 1; the rate that keeps
this what it was is the base's times D_base/D_target. An entry of a slot's gradient is D over their
number, which Adam's epsilon follows. Source: derived (docs/prescriptions.md;
tests/prescriptions/test_by_recursion.py: equal to the law where there is one).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.structure import READOUT
from sigprop.errors import InputError, NoRule
from sigprop.language.expression import Bias, Linear
from sigprop.language.scalar import evaluate
from sigprop.scaling.groups import BIAS, FINAL_NORM, NORM, OUTPUT_BIAS, READOUT_BIAS

RULES = {"sgd": "sgd", "adam": "adam", "adamw": "adam", "muon": "muon"}
"""Optimizers by what ``theory.first_step`` calls their first step."""
BRANCHES = "branches"
"""A share that is no group's: the geometric mean of the described weights'."""


class Share(NamedTuple):
    """D of a group, its relative error (half a 99 % interval), and slots; silent: whether the group
    has no gradient at initialisation, or is not described, and D is its branch's others'."""

    value: float
    error: float
    slots: int
    silent: bool = False


@functools.lru_cache(maxsize=64)
def shares_of(arch: Architecture, optimizer: str) -> Mapping[str, Share]:
    """Return every group's share. Raises ``InputError`` where there is no first step."""
    from sigprop.theory.first_step.averaged import shares

    try:
        found = shares(arch, RULES[optimizer])
    except NoRule as error:
        raise InputError(
            f"depth: no law, and no first step by the recursion: {error}; accepted: base and "
            f"target of one depth and as many loops"
        ) from None
    heard = {
        group: Share(float(x.value), float(x.error / x.value), _slots(arch, group))
        for group, x in found.items()
        if x.value > 0
    }
    every = _mean([share for group, share in heard.items() if group in arch.weights])
    silent = {
        name: _mean([heard[w] for w in block.weights if w in heard], every)
        for block in arch.sub_blocks
        for name in block.weights
        if name not in heard
    }
    return {**heard, **silent, BRANCHES: every}


def share(shares: Mapping[str, Share], group: str) -> Share:
    """Return a group's share; vectors of real models go with their branches' weights, or with
    the read-out. Raises ``InputError`` for other groups."""
    if group in shares:
        return shares[group]
    if group in (FINAL_NORM, READOUT_BIAS):
        return shares[READOUT]._replace(silent=True)
    if group in (BIAS, NORM, OUTPUT_BIAS):
        return shares[BRANCHES]
    raise InputError(f"group {group!r}: no share of a first step; accepted: {', '.join(shares)}")


def _slots(arch: Architecture, group: str) -> int:
    return len(arch.applications_of(group)) if group in arch.weights else 1


def _mean(some: Sequence[Share], otherwise: Share | None = None) -> Share:
    """Return the geometric mean of shares, of none ``otherwise``."""
    if not some and otherwise is not None:
        return otherwise
    if not some:
        raise InputError(
            "depth: no weight of a branch has a gradient at initialisation; accepted: base and "
            "target of one depth"
        )
    logs = sum(math.log(share.value) for share in some) / len(some)
    error = max(share.error for share in some)
    return Share(math.exp(logs), error, some[0].slots, silent=True)


class Depth(NamedTuple):
    """What is found of depth at both sizes, for one group: rate, epsilon, std: factors target/base
    (std: as the description has it); error: relative, of the first two; text: how."""

    rate: float
    epsilon: float
    std: float
    error: float
    text: str

    def factor(self, setting: str, decay: str) -> float:
        """Return a setting's factor. decay: 'papers', 'product', or 'adam', in the gradient."""
        product = {"papers": 1.0, "product": 1 / self.rate, "adam": self.epsilon}[decay]
        factors: dict[str, float] = {
            "init_std": self.std,
            "learning_rate": self.rate,
            "epsilon": self.epsilon,
            "weight_decay": product,
            "rate_x_decay": self.rate * product,
        }
        return factors.get(setting, 1.0)


def _std(arch: Architecture, group: str) -> float:
    """Return the rms over applications of a matrix's or bias's described standard deviation over
    its fan-in's; 1 of others, and of what begins at zero."""
    node = arch.weights.get(group)
    if not isinstance(node, (Linear, Bias)):
        return 1.0
    at = [a for used in arch.applications_of(group).values() for a in used]
    table = np.asarray(evaluate(node.variance, arch.number_tables), dtype=np.float64)
    mean = float(np.broadcast_to(table, (arch.depth,))[at].mean())
    return math.sqrt(mean) if mean > 0 else 1.0


def depths(
    base: Architecture, target: Architecture, optimizer: str, groups: Iterable[str]
) -> dict[str, Depth]:
    """Return every group's factors between two sizes of an architecture."""
    both = shares_of(base, optimizer), shares_of(target, optimizer)
    found = {}
    for group in groups:
        old, new = (share(shares, group) for shares in both)
        whose = "its branch's other weights" if old.silent or new.silent else "the group"
        found[group] = Depth(
            old.value / new.value,
            new.value / old.value * old.slots / new.slots,
            _std(target, group) / _std(base, group),
            math.hypot(old.error, new.error),
            f"depth by the recursion: change of the loss by {whose}, {old.value:.4g} -> "
            f"{new.value:.4g}",
        )
    return found

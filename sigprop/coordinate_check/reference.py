"""What theory says of the first step's changes, absolutely, in the wide limit: rms over tokens and
labels +-1 of the output and of the states that ``check`` looks at.

``theory.first_step`` has z = v . h/n and rates over what makes a step of order one; here z = theta
. o with theta of standard deviation sigma, and rates as they are. With c = sigma n, a rate r is

    sgd     c r of matrices, c r/n of stem, biases and gates, n r of the read-out
    adam    n r of matrices and the read-out, r of others
    muon    r times its shape factor over sqrt(n_out/n_in), of matrices of branches; others as adam

and the states' change moves the output c times as much. Derived;
tests/coordinate_check/test_check.py compares with networks.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from sigprop.coordinate_check.rates import Rule, over_original
from sigprop.description.architecture import Architecture
from sigprop.description.structure import READOUT
from sigprop.errors import InputError, NoRule
from sigprop.language.expression import Linear
from sigprop.language.traversal import rows_of
from sigprop.prescriptions.by_recursion import RULES
from sigprop.simulations.training.changes import OBSERVABLES
from sigprop.simulations.training.parts import Part
from sigprop.verdict.slope import Known


def first_step(
    arch: Architecture,
    width: int,
    optimizer: str,
    rule: Rule,
    shape_factor: str = "original",
    parts: tuple[Part, ...] = (),
    fine: bool = False,
) -> list[Known] | None:
    """ln of the rms change of each of ``OBSERVABLES``, then of the parts, after one step of base
    rate 1, decay and epsilon apart, and its error; -inf where nothing changes to first order; None
    where theory has no first step. shape_factor: of Muon; fine: of ``wide_limit.squares``.

    Of a read-out that starts at zero nothing comes back in the first step: only theta moves.
    """
    scale = rule.readout * width
    moved = arch.groups if scale else (READOUT,)
    rates = {
        group: _unit(arch, group, width, optimizer, scale) * rule.groups[group].rate
        if group in moved
        else 0.0
        for group in arch.groups
    }
    if optimizer == "muon":
        rates = {
            group: rate * over_original(arch, group, width, shape_factor)
            for group, rate in rates.items()
        }
    squares = _squares(arch, RULES[optimizer], tuple(rates.items()), scale, parts, fine)
    if squares is None:
        return None
    return [
        Known(0.5 * math.log(square), error / (2 * square)) if square > 0 else Known(-math.inf)
        for square, error in squares
    ]


def _unit(arch: Architecture, group: str, width: int, optimizer: str, scale: float) -> float:
    """Return theory's rate of a group for a rate of 1."""
    node = arch.weights.get(group)
    matrix = isinstance(node, Linear)
    if optimizer == "sgd":
        return width if group == READOUT else scale if matrix else scale / width
    if optimizer == "muon" and isinstance(node, Linear):
        rows, inputs = float(node.rows), float(rows_of(node.of))
        return math.sqrt(max(1.0, rows / inputs) / (rows / inputs))
    return width if matrix or group == READOUT else 1.0


@functools.lru_cache(maxsize=64)
def _squares(
    arch: Architecture,
    optimizer: str,
    rates: tuple[tuple[str, float], ...],
    scale: float,
    parts: tuple[Part, ...],
    fine: bool,
) -> tuple[tuple[float, float], ...] | None:
    """Return the mean squared change of each of ``OBSERVABLES``, and of the parts, each with its
    error."""
    from sigprop.coordinate_check.wide_limit import Step, squares

    try:
        found = squares(arch, Step(optimizer, dict(rates), scale), parts, fine)
    except (NoRule, InputError):
        return None
    assert len(found) == len(OBSERVABLES) + len(parts)
    return tuple(found) if np.isfinite(found).all() else None

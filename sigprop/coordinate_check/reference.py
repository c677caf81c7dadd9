"""What theory says of the first step's change of the output, absolutely, in the wide limit.

    SGD     dz_t = sum_s K_ts y_s/T,  K = sum over groups G of rate_G f_G Theta_G;  rms over tokens
            and labels: sqrt(sum_ts K_ts^2/T^3)
    Adam    |dz| = sum over groups G of rate_G sum over entries |dz/dtheta|, one token

z = theta . o with theta of standard deviation sigma, loss -(1/T) sum_s y_s z_s. Theta_G is ``ntk``,
of z = n^-1/2 v . o and with a factor 1/n_in for matrices, so that |dz/dW|^2 = f_G Theta_G, f_G =
sigma^2 n n_in for a matrix, sigma^2 n for the stem, biases and gates, n for the read-out. ``adam``
has z = v . o/n, so what is not the read-out's is sigma n times as much. Derived;
tests/coordinate_check/test_check.py compares both with networks.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import numpy as np

from sigprop.coordinate_check.rates import Rule
from sigprop.description.architecture import Architecture
from sigprop.description.structure import READOUT
from sigprop.errors import InputError, NoRule
from sigprop.language.expression import Linear
from sigprop.language.traversal import rows_of


@functools.lru_cache(maxsize=64)
def _kernels(arch: Architecture) -> dict[str, np.ndarray] | None:
    """{group: Theta [T, T]}; None where theory has none."""
    from sigprop.theory.predictions.predict import predict

    try:
        rows = predict(replace(arch, sgd_factors={}), quantities=["ntk"])
    except (NoRule, InputError):
        return None
    found = {group: np.zeros((arch.tokens, arch.tokens)) for group in arch.groups}
    for row in rows:
        if row.get("group") is not None:
            if row["value"] is None:
                return None
            found[row["group"]][row["token"], row["token_2"]] = found[row["group"]][
                row["token_2"], row["token"]
            ] = row["value"]
    return found


def sgd(arch: Architecture, width: int, rule: Rule) -> float | None:
    """ln of the rms change of the output after one SGD step of base rate 1; None where theory
    has no tangent kernel."""
    found = _kernels(arch)
    if found is None:
        return None
    total = np.zeros((arch.tokens, arch.tokens))
    for group, theta in found.items():
        node = arch.weights.get(group)
        length = float(width * rows_of(node.of)) if isinstance(node, Linear) else 1.0
        factor = float(width) if group == READOUT else rule.readout**2 * width * length
        total += rule.groups[group].rate * factor * theta
    return 0.5 * math.log(float((total**2).sum()) / arch.tokens**3)


@functools.lru_cache(maxsize=64)
def _changes(arch: Architecture) -> dict[str, float] | None:
    """{group: dz} of ``adam`` at rates of 1; None where theory has none."""
    from sigprop.theory.first_step.response import descents

    if arch.tokens != 1:  # of several tokens the loss's change alone
        return None
    try:
        return {group: float(x.value) for group, x in descents(arch, "adam").items()}
    except (NoRule, InputError):
        return None


def adam(arch: Architecture, width: int, rule: Rule) -> float | None:
    """ln of the change of the output after one Adam step of base rate 1, decay and epsilon
    apart; None where theory has none."""
    found = _changes(arch)
    if found is None:
        return None
    total = 0.0
    for group, change in found.items():
        # theirs are rates over n there
        entries = width if group == READOUT or isinstance(arch.weights.get(group), Linear) else 1
        total += (
            rule.groups[group].rate
            * entries
            * change
            * (1.0 if group == READOUT else rule.readout * width)
        )
    return math.log(total)


def first_step(arch: Architecture, width: int, optimizer: str, rule: Rule) -> float | None:
    """ln of the rms change of the output after one step of base rate 1, where theory has it (of
    Muon it has none)."""
    if optimizer == "muon":
        return None
    return (sgd if optimizer == "sgd" else adam)(arch, width, rule)

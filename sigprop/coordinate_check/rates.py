"""Parametrisations that ``check`` compares: what scale the read-out starts at, and each group's
rate, epsilon and decay, at every size.

    prescribed   s = 1: read-out std 1/n; rates, epsilon and decay are ``prescribe``'s monomials in
                 n, L, N, rate x decay the same at every size. Adam: entries of a hidden weight move
                 by eta/(n eps D), of the stem by eta, of the read-out by eta/n. SGD: hidden rates
                 eta/(eps^2 P), stem eta n, read-out eta/n. D: applications that hold the weight, P:
                 sum over its slots of uses^2. Muon: singular values of a square hidden matrix move
                 by eta/(eps D), the rest as Adam's.
    naive        s = 0: read-out std n^-1/2, residual_scale 1, the same rate for everything at every
                 size.

Source: docs/check.md (2304.02034 in n, 2606.18524 and 2505.01618 in depth and loops).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from sigprop.description.architecture import Architecture
from sigprop.description.structure import READOUT
from sigprop.description.sub_block import Head
from sigprop.errors import InputError, near_miss
from sigprop.language.expression import Linear
from sigprop.language.traversal import rows_of
from sigprop.prescriptions.by_recursion import shares_of
from sigprop.scaling.multiplier import unknown_in_depth

DECAY = 0.01  # rate times decay is eta times it: small beside the step
TINY = 1e-6  # of Adam's epsilon, over the size of a gradient's entries
CONSTANT = 1e-8  # optax's own


class Group(NamedTuple):
    """rate over the base rate eta, Adam's epsilon, and AdamW's decay."""

    rate: float
    epsilon: float
    decay: float


class Rule(NamedTuple):
    """At one size: {group: Group}, and the standard deviation of the read-out's entries theta in
    z = theta . o."""

    groups: Mapping[str, Group]
    readout: float


Parametrisation = Callable[[Architecture, int, str], Rule]
"""(the network, its width n, optimizer) -> the rule."""


@functools.lru_cache(maxsize=8)
def _monomials(arch: Architecture, optimizer: str, shape_factor: str | None) -> dict[str, Any]:
    from sigprop.scaling.rates import rules

    # whatever the head of logits is, the read-out here is one vector of its own
    described = replace(arch, head=Head())
    return rules(
        described,
        optimizer,
        1,
        decay="papers" if optimizer == "adam" else "product",
        shape_factor=shape_factor,
        width_only=_measured(arch),
    )


def _measured(arch: Architecture) -> bool:
    """Tell if no law has depth, so that the recursion says how rates depend on it."""
    return unknown_in_depth(arch) is not None


def prescribed(
    arch: Architecture, width: int, optimizer: str, shape_factor: str | None = None
) -> Rule:
    """The rule under which no change of the output has a leading power of n, L or N (``rules``
    at s = 1). Raises ``InputError``."""
    from sigprop.scaling.sizes import V, sizes_of

    sizes = sizes_of(arch, width) | {V: 1}

    def value(monomial):
        return float(monomial.subs(sizes))

    found = _monomials(arch, optimizer, shape_factor)
    shares = shares_of(arch, optimizer) if _measured(arch) else {}
    groups = {}
    for group in arch.groups:
        rule = found[group]
        epsilon = 0.0 if rule.epsilon is None else TINY * value(rule.epsilon)
        rate, decay = value(rule.learning_rate), DECAY * value(rule.weight_decay)
        if group in shares:
            share = shares[group]
            rate, decay = rate / share.value, decay * share.value
            epsilon *= share.value / share.slots
        groups[group] = Group(rate, epsilon, decay)
    return Rule(groups, value(found[READOUT].init_std))


def naive(arch: Architecture, width: int, optimizer: str) -> Rule:
    """Constants: no factor knows n, L or N."""
    return Rule(dict.fromkeys(arch.groups, Group(1.0, CONSTANT, DECAY)), width**-0.5)


NAMED: dict[str, Parametrisation] = {"prescribed": prescribed, "naive": naive}


def over_original(arch: Architecture, group: str, width: int, shape_factor: str) -> float:
    """Return Muon's shape factor of a group's matrix over sqrt(max(1, n_out/n_in)), which the
    steps are taken with; 1 for other groups."""
    node = arch.weights.get(group)
    if not isinstance(node, Linear):
        return 1.0
    rows, inputs = float(node.rows * width), float(rows_of(node.of) * width)
    over = {
        "original": 1.0,
        "match_rms_adamw": 0.2 * math.sqrt(inputs),
        "spectral": math.sqrt(min(1.0, rows / inputs)),
    }
    return over[shape_factor]


def named(parametrisation: str | Parametrisation) -> tuple[str, Parametrisation]:
    """Its name and function; a function of one's own goes by its name. Raises ``InputError``."""
    if callable(parametrisation):
        return getattr(parametrisation, "__name__", "given"), parametrisation
    if parametrisation not in NAMED:
        raise InputError(
            f"parametrisation={parametrisation!r}{near_miss(str(parametrisation), NAMED)}"
        )
    return parametrisation, NAMED[parametrisation]

"""The list of cases that theory, engine and verdict must agree on: tests, ``sigprop verify`` and CI all read this one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from sigprop.architecture import Architecture
from sigprop.registry import entries, entry

QUICK, STRICT = 0.05, 0.01
TYING: dict[str, tuple[str, dict[str, int]]] = {
    "untied": ("residual-mlp", {"depth": 4}),
    "tied": ("looped-mlp", {"depth": 1, "loops": 4}),
    "looped": ("looped-mlp", {"depth": 3, "loops": 4}),
}
STRICT_ACTIVATIONS = ("linear", "relu", "gelu", "tanh")


@dataclass(frozen=True)
class Case:
    """One architecture and the tolerance it is judged at."""

    label: str
    architecture: Architecture
    tolerance: float


def registered(tolerance: float) -> list[Case]:
    """Every registered architecture with its default parameters."""
    return [Case(name, found.build(), tolerance) for name, found in sorted(entries().items())]


def product() -> list[Case]:
    """activation x {untied, tied, looped} x {no norm, pre} x {1, 2 matrices} x {1, 3 tokens} at 5 %, feed-forward stacks at
    5 %, and {linear, relu, gelu, tanh} x {untied, tied, looped} (pre-norm, two matrices, one token) at 1 %."""
    from sigprop import activation, activations

    assert activations
    names = sorted(activation.ACTIVATIONS)
    cases = [
        _case(tying, QUICK, activation=act, norm=norm, matrices=matrices, tokens=tokens)
        for act, tying, norm, matrices, tokens in itertools.product(names, TYING, ("none", "pre"), (1, 2), (1, 3))
    ]
    cases += [Case(f"mlp {act} {QUICK:g}", entry("mlp").build(depth=4, activation=act, c_b=0.1, tokens=3, token_cosine=0.3), QUICK) for act in names]
    return cases + [_case(tying, STRICT, activation=act, norm="pre", matrices=2, tokens=1) for act, tying in itertools.product(STRICT_ACTIVATIONS, TYING)]


def _case(tying: str, tolerance: float, **parameters: Any) -> Case:
    name, sizes = TYING[tying]
    cosine = {"token_cosine": 0.3} if parameters["tokens"] > 1 else {}
    label = f"{tying} {parameters['activation']} {parameters['norm']} {parameters['matrices']} {parameters['tokens']} {tolerance:g}"
    return Case(label, entry(name).build(**sizes, **parameters, **cosine), tolerance)

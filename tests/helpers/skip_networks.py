"""Small networks skip h + strength f, and their predicted fluctuations at the last state beside
numbers of another origin."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

import sigprop as sp

FAR = 2.2  # half-widths of 99 % intervals of eight sets: further off with probability 1e-4
GRAMS = {
    1: np.eye(1),
    2: np.array([[1, 0.3], [0.3, 1]]),
    3: np.array([[1, 0.3, 0.6], [0.3, 1, 0.5], [0.6, 0.5, 1]]),
}
TIED = [0, 0, 0]
PAIR = ("residual_variance", "token_covariance", "token_cosine")


def network(
    activation: str,
    *,
    tokens: int = 1,
    depth: int = 3,
    matrices: int = 2,
    rows: Fraction = Fraction(1),
    norm: str = "",
    slots: Any = None,
    c1: float = 1.0,
    c2: float = 2.0,
    strength: float = 0.7,
    skip: float = 1.0,
    stem: float = 1.0,
    gram: Any = None,
) -> sp.Architecture:
    """skip h + strength W2 phi(W1 r), or W phi(r); norm '', 'rms', 'layer', 'post'. Numbers have
    names, so that networks of other numbers are the same programs."""
    numbers = {"skip": skip, "strength": strength, "c_1": c1, "c_2": c2}
    named = {name: sp.Number(name) for name in numbers}
    inner = sp.Read() if matrices == 1 else sp.Linear("w1", sp.Read(), named["c_1"], rows)
    branch = sp.Linear("w2", sp.Activate(activation, inner), named["c_2"])
    read = sp.Normalise(sp.State(), norm) if norm in ("rms", "layer") else sp.State()
    rule: sp.Vector = named["strength"] * sp.Write()
    rule = named["skip"] * sp.State() + rule if skip else rule
    rule = sp.Normalise(rule) if norm == "post" else rule
    block = sp.SubBlock(read, branch, rule)
    table = list(range(depth)) if slots is None else slots
    return sp.Architecture(
        "net",
        (block,),
        dict.fromkeys(block.weights, table),
        numbers,
        kinds=[0] * depth,
        input_gram=stem * (GRAMS[tokens] if gram is None else gram),
    )


def last(
    arch: sp.Architecture, quantities: Any = PAIR, units: int = 1024, **given: Any
) -> dict[Any, dict[str, Any]]:
    """The rows of the last state by quantity and tokens."""
    table = sp.fluctuations(arch, quantities, [arch.depth], units=units, **given)
    return {(row["quantity"], row.get("token"), row.get("token_2")): row for row in table}


def agrees(row: dict[str, Any], variance: float, shift: float, slack: float = 0.01) -> bool:
    """Within FAR stated errors, and what the table of numbers itself leaves open: 1 % of
    n_variance, 0.06 of n_shift."""
    of_variance = FAR * row["n_variance_error"] + slack * variance
    of_shift = FAR * row["n_shift_error"] + 6 * slack
    return (
        abs(row["n_variance"] - variance) <= of_variance and abs(row["n_shift"] - shift) <= of_shift
    )

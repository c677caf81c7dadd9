"""Pieces that several architectures are built from: resolved numbers, input Grams, slot tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from sigprop.activation import Activation, second_moment
from sigprop.architecture import MOST_APPLICATIONS
from sigprop.errors import InputError
from sigprop.grammar import resolve


def sizes(depth: int, loops: int = 1, sub_blocks: int = 1) -> dict[str, int]:
    """N, L and S = L s; raises when there are more than 10^6 applications."""
    if depth * loops * sub_blocks > MOST_APPLICATIONS:
        raise InputError(f"depth={depth} x loops={loops} x {sub_blocks} sub-blocks > 10^6; accepted: at most 10^6 applications")
    return {"N": loops, "L": depth, "S": depth * sub_blocks}


def looped_slots(sizes: dict[str, int]) -> tuple[int, ...]:
    """slot(a) = a mod S over N S applications: loops outermost; N = 1 is the untied table."""
    return tuple(range(sizes["S"])) * sizes["N"]


def stem_gram(tokens: int, token_cosine: float, gram: np.ndarray | None) -> np.ndarray:
    """The given Gram, else unit variances with a common cosine (T x T)."""
    if gram is not None:
        if len(gram) != tokens and tokens != 1:
            raise InputError(f"input_gram has {len(gram)} tokens but tokens={tokens}; accepted: the same number")
        return gram
    return (1 - token_cosine) * np.eye(tokens) + token_cosine * np.ones((tokens, tokens))


def branch_numbers(activation: Activation, matrices: int, chosen: dict[str, Any], sizes: dict[str, int]) -> dict[str, float]:
    """Values of c_w, c_x, c_b: what was chosen, else unit gain, K(1, 1, 1) = 1 (DESIGN section 7, defaults)."""
    gain = 1 / second_moment(activation)
    defaults = {"c_w": gain} if matrices == 1 else {"c_w": 1.0, "c_x": gain}
    numbers = {name: default if chosen.get(name) is None else resolve(chosen[name], name, sizes) for name, default in defaults.items()}
    if chosen.get("c_b") is not None:
        numbers["c_b"] = resolve(chosen["c_b"], "c_b", sizes)
    for name, value in numbers.items():
        if value < 0:
            raise InputError(f"{name}={chosen.get(name)!r}: {value} at these sizes; accepted: a variance >= 0")
    return numbers

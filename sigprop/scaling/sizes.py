"""The sizes that formulas and rules are read in, as symbols, and their values for a network."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import sympy as sp

from sigprop.description.architecture import Architecture
from sigprop.language.formula import formula
from sigprop.language.scalar import evaluate, names

n, L, N, M, C, g, V, d = sp.symbols("n L N M C g V d", positive=True)
"""Width, distinct blocks, loops, hidden units over the width, coordinates of a head, query heads
a key-value head, outputs, inputs of a dense stem."""
BLOCK, APPLICATION = sp.symbols("l a", positive=True)
"""Places: the block and the application, from 1."""
VARIABLES = {"loops": N, "depth": L}
PLACED = (L, N, BLOCK, APPLICATION)
"""What a network's numbers may depend on beside its own parameters."""

CARRIED = 1 / sp.sqrt(2 * L)
"""What GPT-2 multiplies the stds of its output matrices by, two for each of L blocks."""

MEANING = {
    "n": "width",
    "L": "depth",
    "N": "loops",
    "M": "mlp_ratio",
    "C": "head_dim",
    "g": "heads/kv_heads",
    "V": "vocabulary",
    "d": "inputs",
}


def exact(number: Any) -> Any:
    """A number as written: 0.8 is 4/5."""
    fraction = number if isinstance(number, Fraction) else Fraction(str(number))
    return sp.Rational(fraction.numerator, fraction.denominator)


def as_sympy(value: Any, name: str, blocks: int = 1, width: int | None = None) -> sp.Expr:
    """A formula (or what one is read from) in N, L, l, a; S = blocks L, blocks the sub-blocks of
    a block, n the model width. Raises ``InputError``."""
    found = formula(name, value)
    entries = set(found.entries)
    # a list of one value says what it is everywhere
    scalar = found.scalar if len(entries) > 1 else entries.pop()
    at: dict[str, Any] = {"N": N, "L": L, "S": blocks * L, "l": BLOCK, "a": APPLICATION}
    if any(number.name == "n" for number in names(scalar)):
        at["n"] = exact(width) if width else sp.Symbol("model_width", positive=True)
    return sp.Integer(1) * evaluate(scalar, at, exact)


def varying(value: sp.Expr) -> sp.Expr:
    """The part of a product that depends on sizes or places: its constant factors are the
    network's own."""
    return value if value == 0 else value.as_independent(*PLACED, as_Add=False)[1]


def ratio_of_units(arch: Architecture) -> Fraction | None:
    """M as the architecture was given it; None where it has no such parameter."""
    ratio = arch.parameters.get("mlp_ratio")
    return None if ratio is None else Fraction(ratio).limit_denominator(64)


def query_group(arch: Architecture) -> Fraction | None:
    """Query heads that share one head of keys and values; None where it is not a parameter's."""
    heads, kv_heads = arch.parameters.get("heads"), arch.parameters.get("kv_heads")
    return Fraction(heads, kv_heads) if heads and kv_heads else None


def head_size(arch: Architecture, width: int) -> Any:
    """C, coordinates of a head: fixed, or the width over a fixed number of heads; None without
    attention, or where heads are infinitely large."""
    scores = next((node.scores for block in arch.sub_blocks for node in block.attention), None)
    if scores is None:
        return None
    if scores.scale == "linear":
        return exact(Fraction(width, scores.heads)) if scores.heads else None
    return None if math.isinf(scores.head_dim) else exact(scores.head_dim)


def sizes_of(arch: Architecture, width: int, inputs: int | None = None) -> dict[Any, Any]:
    """The symbols' values for this network at this width; 1 where a size is not the
    architecture's."""
    known: dict[sp.Symbol, Any] = {
        n: width,
        L: arch.sizes.get("L", 1),
        N: arch.sizes.get("N", 1),
        M: ratio_of_units(arch) or 1,
        C: head_size(arch, width) or 1,
        g: query_group(arch) or 1,
        V: arch.parameters.get("vocabulary") or 1,
        d: inputs or 1,
    }
    return {symbol: exact(value) for symbol, value in known.items()}

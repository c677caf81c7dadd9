"""A family in the number of tokens: its laws, and the recursion at a ladder of numbers."""

from __future__ import annotations

from collections.abc import Sequence

from sigprop.description.architecture import Architecture
from sigprop.description.family import Family
from sigprop.errors import InputError
from sigprop.scaling.growth_rows import Key
from sigprop.theory.exponents.numerical.reach import doublings
from sigprop.theory.exponents.numerical.rows import FAR, Growth
from sigprop.theory.exponents.tokens.ladder import logarithms_of_tokens
from sigprop.theory.exponents.tokens.laws import laws_of_tokens

TOKENS = "tokens"
LADDER = (2, 4, 8)
"""Numbers of tokens unless asked: each is a program of its own."""
FARTHEST, FEWEST = 64, 5  # doublings that a limit is estimated from: up to here, this many
READ_AT = 3  # tokens at which laws are read


def growth_of_tokens(
    arch: Architecture, family: Family, sizes: Sequence[int] | None, numbers: bool
) -> Growth:
    """Read the laws, and run the recursion where numbers are asked for; raise ``InputError`` for
    fewer than two tokens, and where inputs are the architecture's own."""
    ladder = tuple(sizes or LADDER)
    if ladder[0] < 2:
        raise InputError(f"sizes={ladder}; accepted over tokens: from 2 on")
    laws = laws_of_tokens(family.lengthened(arch, READ_AT))
    if not numbers:
        return Growth(laws, ladder, (), {}, False)
    last = FAR * ladder[-1]
    doubled = () if laws.laws else doublings(last if sizes else max(last, FARTHEST))
    logs: dict[Key, dict[int, float]] = {}
    for size in sorted({*ladder, last, *doubled}):
        try:
            found = logarithms_of_tokens(family.lengthened(arch, size))
        except InputError:
            if size <= last:
                raise
            break
        for key, value in found.items():
            logs.setdefault(key, {})[size] = value
    there = {key: found for key, found in logs.items() if found.keys() >= {*ladder, last}}
    return Growth(laws, ladder, doubled, there, False, FEWEST)

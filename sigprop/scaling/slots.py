"""How often weights are used: of one table a weight's pattern, of a family's classes of slots the
powers of their counts.

    D = sum over slots of uses, P = sum over slots of uses^2 (same-slot pairs)

    state increment  eps^2 P        tangent kernel, SGD's output change  eps^2 P (rate)
    Adam's output change  eps D (rate)        a weight's gradient entry  eps uses

Exact for variance and tangent kernel up to the order-one constant, Adam's is a bound that is
attained. Source: derived (tests/theory/exponents/test_scaling_laws.py,
tests/theory/exponents/test_critical.py compare with the recursion).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import sympy

from sigprop.description.architecture import Architecture
from sigprop.description.family import SlotClass
from sigprop.errors import InputError
from sigprop.scaling.powers import degree
from sigprop.scaling.sizes import L, N, as_sympy


@dataclass(frozen=True)
class Count:
    """One class's powers of one variable: ``slots`` ~ v^s, ``uses`` ~ v^m."""

    slots: Any
    uses: Any

    @property
    def applications(self) -> Any:
        """Power of S m."""
        return self.slots + self.uses

    @property
    def pairs(self) -> Any:
        """Power of S m^2."""
        return self.slots + 2 * self.uses


def counts(
    classes: tuple[SlotClass, ...], variable: sympy.Symbol, sub_blocks: int = 1
) -> tuple[Count, ...]:
    """The powers of ``variable`` in every class; raises ``InputError`` where one has none."""

    def read(text, name):
        return degree(as_sympy(text, name, sub_blocks), variable)

    return tuple(Count(read(entry.slots, "slots"), read(entry.uses, "uses")) for entry in classes)


def pair_power(found: tuple[Count, ...]) -> Any:
    """Power of P."""
    return max(count.pairs for count in found)


def application_power(found: tuple[Count, ...]) -> Any:
    """Power of D."""
    return max(count.applications for count in found)


class Pattern(NamedTuple):
    """Slots of a weight, and uses of each: D = slots uses applications, P = slots uses^2 pairs
    of one slot."""

    slots: sympy.Expr
    uses: sympy.Expr


PATTERNS = (
    Pattern(L, N),
    Pattern(N * L, sympy.Integer(1)),
    Pattern(sympy.Integer(1), N * L),
    Pattern(N, L),
)
"""Patterns as families; where sizes of 1 leave several, loops share weights and blocks do not."""


def pattern(arch: Architecture, weight: str) -> Pattern:
    """The family that the weight's slots belong to, of (L, N), (N L, 1), (1, N L), (N, L).

    Raises ``InputError`` for other tables: one table does not say how it goes on at other sizes.
    """
    at = {L: arch.sizes.get("L", 0), N: arch.sizes.get("N", 1)}
    uses = {len(applications) for applications in arch.applications_of(weight).values()}
    slots = len(arch.applications_of(weight))
    for family in PATTERNS:
        if uses == {family.uses.subs(at)} and slots == family.slots.subs(at):
            return family
    raise InputError(
        f"slots of {weight!r}: {slots} used {sorted(uses)} times at sizes N={at[N]}, L={at[L]}; "
        f"accepted: L used N times, N L once, one N L times, N L times"
    )

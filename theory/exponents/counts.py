"""Pair counting: D = sum over slots of uses, P = sum over slots of uses^2 (same-slot pairs), of a family's classes of slots.

    state increment  eps^2 P        tangent kernel, SGD's output change  eps^2 P (rate)
    Adam's output change  eps D (rate)        a weight's gradient entry  eps uses

Exact for variance and tangent kernel up to the order-one constant, Adam's is a bound that is attained. Source: derived
(tests/theory/test_scaling_laws.py, tests/theory/test_critical.py compare with the recursion).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy

from sigprop.family import SlotClass
from sigprop.theory.exponents.degrees import degree
from sigprop.theory.prescriptions.symbols import as_sympy


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


def counts(classes: tuple[SlotClass, ...], variable: sympy.Symbol, sub_blocks: int = 1) -> tuple[Count, ...]:
    """The powers of ``variable`` in every class; raises ``InputError`` where one has none."""
    read = lambda text, name: degree(as_sympy(text, name, sub_blocks), variable)  # noqa: E731
    return tuple(Count(read(entry.slots, "slots"), read(entry.uses, "uses")) for entry in classes)


def pair_power(found: tuple[Count, ...]) -> Any:
    """Power of P."""
    return max(count.pairs for count in found)


def application_power(found: tuple[Count, ...]) -> Any:
    """Power of D."""
    return max(count.applications for count in found)

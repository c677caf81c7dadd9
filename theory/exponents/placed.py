"""Laws of untied networks whose writes differ in their powers: numbers that depend on the block, or
kinds of sub-blocks that grow apart.

With write squares e_k(l) ~ v^(-2 alpha_k) l^(-2 p_k) and x = ln l/ln v, every sum over l is decided
by its largest term: exponents are maxima of functions that are linear between breakpoints of x in
[0, 1], a logarithm where the largest is taken on a whole interval.

    q_l = 1 + sum_k sum_(j <= l) e_k(j)                                          rms^2 = q_L
    gradient  (q_L/q_l)^chi          weight W of square e_W:  sum_l e_W(l) (q_L/q_l)^chi
              Adam  sum_l sqrt(e_W(l) (q_L/q_l)^chi)

Source: derived, as ``laws.untied``; tests/theory/exponents/test_size_enters.py compares with the
recursion's slopes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sympy

from sigprop.theory.exponents.laws import HALF, ZERO, Law, Values, power_law

Key = str | tuple[str, str]
"""A quantity, or (quantity, group)."""


class Power(NamedTuple):
    """v^(-2 size) l^(-2 place)."""

    size: Any
    place: Any


class Growth(NamedTuple):
    """v^exponent (ln v)^log."""

    exponent: Any
    log: Any


@dataclass(frozen=True)
class Profile:
    """ln q_l/ln v as a function of x; q may grow as a power of ln l where that is 0 throughout
    (``logarithmic``)."""

    writes: tuple[Power, ...]

    def at(self, x: Any) -> Any:
        """Its value at x."""
        return max(ZERO, *(self.increments(write, x) for write in self.writes))

    @staticmethod
    def increments(write: Power, x: Any = 1) -> Any:
        """The power of sum_(j <= l) e(j)."""
        return -2 * write.size + max(ZERO, 1 - 2 * write.place) * x

    @property
    def breaks(self) -> list[Any]:
        """0, 1, and where one part overtakes another between them."""
        lines = [
            (ZERO, ZERO),
            *((-2 * write.size, max(ZERO, 1 - 2 * write.place)) for write in self.writes),
        ]
        crossings = {(b - a) / (m - n) for a, m in lines for b, n in lines if m != n}
        return sorted({ZERO, sympy.Integer(1), *(x for x in crossings if 0 < x < 1)})

    @property
    def logarithmic(self) -> bool:
        """Tell if q grows as ln l."""
        return self.at(1) == 0 and any(
            write.size == 0 and write.place == HALF for write in self.writes
        )

    def total(self, term: Power, half: bool, power: Any) -> Growth:
        """sum_l e(l) (q_L/q_l)^power, or with half of both exponents."""
        share = HALF if half else sympy.Integer(1)
        value = [
            share * (-2 * term.size - 2 * term.place * x + power * (self.at(1) - self.at(x))) + x
            for x in self.breaks
        ]
        top = max(value)
        flat = any(a == b == top for a, b in zip(value, value[1:], strict=False))
        if not self.logarithmic:
            return Growth(top, sympy.Integer(int(flat)))
        early = share * power if value[0] == top else ZERO
        return Growth(top, max(sympy.Integer(1), early) if flat else early)


def placed(
    writes: Sequence[Power], groups: Mapping[str, Power], chi: Any, at: Values
) -> dict[Key, Law]:
    """Laws of the states, and where chi is known of gradients, every group's weight gradient, the
    first step of Adam and the tangent kernel.

    writes: of every write; groups: weight -> its squared gradient's; chi: of the branch that
    decides, None where it is not known.
    """
    profile = Profile(tuple(writes))
    grown = max(
        (
            Growth(profile.increments(write), sympy.Integer(int(write.place == HALF)))
            for write in writes
        ),
        key=lambda g: (g.exponent, g.log),
    )
    rms = Growth(profile.at(1) / 2, HALF if profile.logarithmic else ZERO)
    laws: dict[Key, Law] = {
        "residual_rms": _law(rms, at),
        "update": _law(Growth(grown.exponent / 2, grown.log / 2), at),
    }
    if chi is None:
        return laws
    stem = Growth(chi * profile.at(1), chi if profile.logarithmic else ZERO)
    weights = {name: profile.total(group, False, chi) for name, group in groups.items()}
    steps = [profile.total(group, True, chi) for group in groups.values()]
    ends = [Growth(2 * rms.exponent, 2 * rms.log), stem]
    laws["gradient"] = _law(stem, at)
    laws |= {("weight_gradient", name): _law(growth, at) for name, growth in weights.items()}
    laws["ntk"] = _law(max([*weights.values(), *ends], key=_order), at)
    return laws | {
        "adam": _law(
            max([*steps, *(Growth(end.exponent / 2, end.log / 2) for end in ends)], key=_order), at
        )
    }


def deciding(writes: Sequence[Power]) -> int:
    """The write that grows fastest."""
    return max(
        range(len(writes)), key=lambda k: (Profile.increments(writes[k]), writes[k].place == HALF)
    )


def _order(growth: Growth) -> tuple[Any, Any]:
    return growth.exponent, growth.log


def _law(growth: Growth, at: Values) -> Law:
    return power_law(sympy.Integer(1) * growth.exponent, at, sympy.Integer(1) * growth.log)

"""Exponents in the sizes that a network's width is made of: n, the MLP's ratio, a head's size,
query groups, vocabulary, inputs of a dense stem.

    gradient_entry      rms of dz/dtheta over a group's entries           output_change_sgd   rate
                        sum |dz/dtheta|^2      ..._adam   rate sum |dz/dtheta|

at a rate that does not depend on size, z = n^(-(1+s)/2) v . h. All are monomials
(``scaling.groups``), so the exponents are exact, with s a symbol.
"""

from __future__ import annotations

from typing import Any

import sympy

from sigprop.description.architecture import Architecture
from sigprop.scaling.groups import Group, groups
from sigprop.scaling.sizes import MEANING
from sigprop.theory.exponents.laws import BOUNDED, POWER_LAW
from sigprop.theory.exponents.laws import WIDTH_FAMILY as S

FLAT = ("residual_rms", "update", "gradient", "weight_gradient", "ntk")
"""Order one in every one of them: what the conventions divide by sizes is divided (n_in in the
tangent kernel, n_in n_out/n in weight gradients)."""
QUANTITIES = {"gradient_entry": (0, 1), "output_change_sgd": (1, 2), "output_change_adam": (1, 1)}
"""Powers of a group's count and of one entry's derivative."""


def entering(arch: Architecture) -> dict[str, Any]:
    """name -> symbol of the sizes that enter some group of ``arch``; depth and loops have laws
    of their own."""
    found = groups(arch, S, False)
    symbols = {
        symbol
        for name in arch.groups
        for symbol in (found[name].count * found[name].entry).free_symbols
    }
    return {
        MEANING[str(symbol)]: symbol
        for symbol in sorted(symbols - {S}, key=str)
        if MEANING.get(str(symbol)) not in (None, "depth", "loops")
    }


def size_rows(arch: Architecture, variable: str, symbol: Any, s: int = 1) -> list[dict[str, Any]]:
    """Rows of every group, and of the whole output's change, in one of the sizes; leading: at s,
    0 neural tangent, 1 maximal update."""
    found = {name: group for name, group in groups(arch, S, False).items() if name in arch.groups}
    rows = (
        [_row(name, None, variable, sympy.Integer(0), s) for name in FLAT[:3]]
        if variable == "width"
        else []
    )
    for quantity, powers in QUANTITIES.items():
        exponents = {name: _power(group, powers, symbol) for name, group in found.items()}
        rows += [
            _row(quantity, name, variable, exponent, s) for name, exponent in exponents.items()
        ]
        if powers[0]:
            rows.append(_row(quantity, None, variable, sympy.Max(*exponents.values()), s))
    return rows


def _power(group: Group, powers: tuple[int, int], symbol: Any) -> Any:
    """v d/dv ln of a monomial."""
    amount: Any = group.count ** powers[0] * group.entry ** powers[1]
    return sympy.expand(sympy.simplify(symbol * sympy.diff(sympy.log(amount), symbol)))


def _row(quantity: str, group: str | None, variable: str, exponent: Any, s: int) -> dict[str, Any]:
    value = float(exponent.subs(S, s))
    shown = {
        "quantity": quantity,
        "group": group,
        "variable": variable,
        "kind": POWER_LAW if value else BOUNDED,
    }
    return shown | {"exponent": str(exponent), "log_exponent": "0", "leading": value}

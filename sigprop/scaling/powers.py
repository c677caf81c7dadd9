"""How a number grows with one size or place: the power of a variable in an expression of N, L, l
and a."""

from __future__ import annotations

import math
from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from sigprop.errors import InputError
from sigprop.scaling.sizes import APPLICATION, BLOCK, PLACED

FAR = (1e40, 1e60)  # sizes at which a degree is compared with the number itself
AGREE = 1e-3


def degree(value: Any, variable: sympy.Symbol) -> Any:
    """d in value ~ variable^d as it grows, all else fixed; raises ``InputError`` where it is no
    power (or terms cancel)."""
    if inside := [node for node in value.atoms(AppliedUndef) if node.has(variable)]:
        raise InputError(
            f"{inside[0].func} changes with {variable} through its argument: no power of "
            f"{variable}; accepted: numbers inside it of no size"
        )
    found = _degree(value, variable)
    slope = None
    if found is not None:
        value = value.replace(
            lambda part: isinstance(part, AppliedUndef), lambda part: sympy.Integer(1)
        )
        others = {symbol: sympy.Integer(8) for symbol in value.free_symbols - {variable}}
        low, high = (
            abs(
                sympy.N(
                    value.subs(others).subs(variable, sympy.Integer(10) ** round(math.log10(x)))
                )
            )
            for x in FAR
        )
        slope = (
            float(sympy.log(high / low)) / math.log(FAR[1] / FAR[0])
            if low > 0 and high > 0
            else None
        )
    if found is None or slope is None or abs(slope - float(found)) > AGREE:
        raise InputError(
            f"{value} has no power of {variable}; accepted: products of powers of N, L, S, or "
            f"sums whose largest term does not cancel"
        )
    return found


def _degree(value: Any, variable: sympy.Symbol) -> Any:
    if not value.has(variable):
        return sympy.Integer(0)
    if value == variable:
        return sympy.Integer(1)
    if isinstance(value, (sympy.Add, sympy.Mul)):
        parts = [_degree(term, variable) for term in value.args]
        if any(part is None for part in parts):
            return None
        return max(parts) if isinstance(value, sympy.Add) else sum(parts, sympy.Integer(0))
    if isinstance(value, sympy.Pow) and not value.exp.has(variable):
        base = _degree(value.base, variable)
        return None if base is None else base * value.exp
    return None


def place_power(value: Any, each: int | None) -> tuple[Any, Any]:
    """(p, rest): value = rest l^-p for large l, rest free of places. each: applications a block,
    where a may stand for l (None: it may not).

    Raises ``InputError`` where place and size do not come apart, or the place enters by no power.
    """
    if value.has(APPLICATION):
        if each is None:
            raise InputError(
                f"{value}: a counts applications of several loops; accepted here: l, or one loop"
            )
        value = value.subs(APPLICATION, each * BLOCK)
    if not value.has(BLOCK):
        return sympy.Integer(0), value
    rest = value.subs(BLOCK, 1)
    ratio = sympy.simplify(value / rest) if rest != 0 else value
    if rest == 0 or ratio.free_symbols & (set(PLACED) - {BLOCK}):
        raise InputError(
            f"{value}: place and size do not come apart; accepted: a function of l or a times one "
            f"of N, L, S"
        )
    return -degree(ratio, BLOCK), rest

"""How a number grows with one size: the power of a variable in an expression of N and L."""

from __future__ import annotations

import math
from typing import Any

import sympy

from sigprop.errors import InputError
from sigprop.theory.prescriptions.symbols import L as DEPTH
from sigprop.theory.prescriptions.symbols import N as LOOPS

VARIABLES = {"loops": LOOPS, "depth": DEPTH}
FAR = (1e40, 1e60)  # sizes at which a degree is compared with the number itself
AGREE = 1e-3


def degree(value: Any, variable: sympy.Symbol) -> Any:
    """d in value ~ variable^d as it grows, all else fixed; raises ``InputError`` where it is no power (or terms cancel)."""
    found = _degree(value, variable)
    slope = None
    if found is not None:
        others = {symbol: sympy.Integer(8) for symbol in value.free_symbols - {variable}}
        low, high = (abs(sympy.N(value.subs(others).subs(variable, sympy.Integer(10) ** round(math.log10(x))))) for x in FAR)
        slope = float(sympy.log(high / low)) / math.log(FAR[1] / FAR[0]) if low > 0 and high > 0 else None
    if found is None or slope is None or abs(slope - float(found)) > AGREE:
        raise InputError(f"{value} has no power of {variable}; accepted: products of powers of N, L, S, or sums whose largest term does not cancel")
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

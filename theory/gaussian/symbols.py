"""V_phi and V_phi' of an activation without a closed form, as unevaluated sympy functions of
(qa, c, qb)."""

from __future__ import annotations

import functools
import re
from typing import Any

from sigprop.language.activation import Activation


def name(activation: Activation, order: int) -> str:
    """'V_tanh' (order 0), 'dV_tanh' (order 1): the key under which ``lambdify`` finds
    ``sigprop.theory.gaussian.dual.numeric``."""
    return ("V_", "dV_")[order] + re.sub(r"\W", "_", activation.name)


@functools.cache
def unevaluated(activation: Activation, order: int) -> Any:
    """The sympy function class of that name; LaTeX V_{phi}(qa, c, qb), for order 1 V_{phi'}(qa,
    c, qb)."""
    from sympy.core.function import AppliedUndef, UndefinedFunction

    head = f"V_{{{activation.latex}{chr(39) * order}}}"

    def latex(self: Any, printer: Any, exp: Any = None) -> str:
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"{head}{power}\left({', '.join(printer._print(arg) for arg in self.args)}\right)"

    return UndefinedFunction(
        name(activation, order), bases=(AppliedUndef,), __dict__={"_latex": latex, "nargs": 3}
    )

"""Derived equations, iterated as numbers: an evaluator that knows sympy and nothing of sigprop's
engines."""

from __future__ import annotations

import numpy as np
import sympy
from sympy.core.function import AppliedUndef

from sigprop.theory.derivations.reading import SLOT, TAP, A, B, D
from sigprop.theory.gaussian import dual


class Iterated:
    """Values of the derived two-time functions: ``G(3, 2)`` is looked up by unifying with the
    equations' left-hand sides."""

    def __init__(self, arch, derivation, functions=None):
        self.arch, self.memo, self.functions = arch, {}, functions or {}
        numbers = {
            sympy.Symbol("T", integer=True, positive=True): arch.tokens,
            sympy.Symbol("q_0"): arch.input_gram[0, 0],
            sympy.Symbol("c_0"): arch.input_gram[0, -1],
        }
        numbers |= {
            sympy.Symbol(name, positive=True): sympy.Float(table[0], 30)
            for name, table in arch.number_tables.items()
        }
        activations = {
            node.activation
            for b in arch.sub_blocks
            for node in _walk(b.branch)
            if type(node).__name__ == "Activate"
        }
        self.duals = {
            dual.symbols.name(act, order): dual.numeric(act, order)
            for act in activations
            for order in (0, 1)
        }
        self.equations = {}
        for equation in derivation.equations:
            if isinstance(equation.equation, sympy.Eq):
                self.equations.setdefault(equation.equation.lhs.func.__name__, []).append(
                    (equation.name, equation.equation.lhs, equation.equation.rhs.subs(numbers))
                )
        self.stem = arch.input_gram

    def __call__(self, name, *indices):
        key = (name, *indices)
        if key not in self.memo:
            self.memo[key] = self._value(name, tuple(int(i) for i in indices))
        return self.memo[key]

    def _value(self, name, indices):
        a, b, *tokens = indices
        head = name.partition("_")[0]
        # the equations hold for b <= a; Grams are symmetric
        if name.startswith(("G", "R")) and head != "Gamma" and b > a:
            return self(_swapped(name), b, a, *tokens[::-1])
        if name.startswith(("H",)) and b < a:
            return self(_swapped(name), b, a, *tokens[::-1])
        if name.startswith("X") and b == 0:
            return 0.0
        kinds = self.arch.kinds
        if head in ("Gamma", "Y"):  # two kinds of sub-block share no weight
            first = 1 if head == "Gamma" else 0
            if kinds[a - first] != kinds[b - first]:
                return 0.0
        turning = B if name.startswith(("X", "Z", "U")) else A  # whose rule the equation applies
        # boundaries first
        for label, lhs, rhs in sorted(
            self.equations[name], key=lambda e: len(e[1].free_symbols - {D})
        ):
            kind = next((int(part) for part in label.split("|")[1:] if part.isdigit()), None)
            solution = _solve(lhs, indices, self.arch.depth)
            if solution is None or min(solution.values(), default=0) < 0:
                continue
            if kind is not None and kinds[min(solution[turning], self.arch.depth - 1)] != kind:
                continue
            return self._number(
                rhs.subs(
                    solution
                    | {D: self.arch.depth, sympy.Symbol("q_0", positive=True): self.stem[0, 0]}
                ).doit()
            )
        raise KeyError((name, indices))

    def _number(self, expression):
        values = {}
        for call in expression.atoms(AppliedUndef) - {
            c for c in expression.atoms(AppliedUndef) if c.func.__name__ in self.duals
        }:
            values[call] = self._call(call)
        expression = expression.subs(values).doit()
        while expression.atoms(AppliedUndef):
            calls = expression.atoms(AppliedUndef)
            expression = expression.subs(
                {c: self.duals[c.func.__name__](*map(float, c.args)) for c in calls}
            ).doit()
        return float(expression)

    def _call(self, call):
        if call.func.__name__ in self.functions:
            return self.functions[call.func.__name__](self, *map(int, call.args))
        if call.func == SLOT or call.func.__name__.startswith("slot"):
            weight = call.func.__name__.removeprefix("slot").removeprefix("_") or next(
                iter(self.arch.slots)
            )
            return self.arch.slots[weight][int(call.args[0])]
        if call.func == TAP:
            return int(int(call.args[0]) in self.arch.readout.at)
        if call.func.__name__ in ("q", "P"):
            t, s = map(int, call.args)
            return self.stem[t, s] if call.func.__name__ == "q" else float(t == s)
        return self(call.func.__name__, *call.args)


def _walk(expression):
    from sigprop.language.traversal import walk

    return walk(expression)


def _swapped(name):
    """The transpose's name: lanes (G_01), reads (R_r01) the other way round."""
    head, _, last = name.rpartition("_")
    mark = "r" if last.startswith("r") else ""
    pair = last.removeprefix("r")
    return f"{head}_{mark}{pair[::-1]}" if pair.isdigit() else name


def _solve(lhs, indices, depth):
    """{a: .., b: .., t: .., s: ..} that makes the left-hand side these indices, or None."""
    solution = {}
    for pattern, index in zip(lhs.args, indices, strict=True):
        if pattern == D:
            if index != depth:
                return None
        elif pattern.is_Integer:
            if int(pattern) != index:
                return None
        else:
            symbol = next(iter(pattern.free_symbols))
            solution[symbol] = index - int(np.round(float(pattern.subs(symbol, 0))))
    return solution

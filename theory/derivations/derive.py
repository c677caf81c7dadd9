"""``derive``: the recursions of an architecture as sympy equations, from the same rules that
``predict`` runs on arrays.

Symbols (a, b: applications; t, s: tokens, where there are several; D: their number)

    G(a, b)  <h_a, h_b>           R(a, b)  <r_a, r_b>          Gamma(a, b)  <w_a, w_b>        X(a,
             b)  <w_a, h_b>, a > 0
    H(a, b)  <g_a, g_b>           Delta(a, b)  <delta_a, delta_b>   Y(a, b)  <y_a, y_b>, y =
             (df/dr)^T delta
    Z(a, b)  <y_a, g_b>           s(a)     log of what norms have divided h by     m(a)  learned
             modulator     mu(a)  n |dm/dr|^2
    pi_w(a, t, b, s)  sum_e p_te p_se, what the router w gives the experts of token t at a and of s
             at b (a random number: the equations hold given what routers choose)
    width(k), theta(x, k)  share of the coordinates in band k, and 1 where it lies within the first
                           share x of them, else 0 (networks of several widths: G, X, H and Z are
                           then of one coordinate of band k)

Where attention mixes tokens that are alike, every Gram has two entries, G_tt and G_ts
(``theory.symmetric``); else sums over tokens stand. States of several lanes carry lane indices,
several kinds of sub-block the kind's number behind a bar.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html import escape
from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from sigprop.description.architecture import Architecture, check_described
from sigprop.language.traversal import numbers_in
from sigprop.tables.formulas import labelled
from sigprop.tables.layout import terminal_width
from sigprop.theory.derivations.closed_forms import closed_form
from sigprop.theory.derivations.equations import equations as derived
from sigprop.theory.derivations.finite_width import finite_width as finite
from sigprop.theory.derivations.reading import Deriver
from sigprop.theory.derivations.symmetric import PAIRS, SymmetricDeriver, alike, merged


@dataclass(frozen=True)
class Equation:
    """One derived equation: its name and the sympy ``Eq``."""

    name: str
    equation: sympy.Eq
    symbols: dict[sympy.Symbol, str] = field(default_factory=dict)

    @property
    def latex(self) -> str:
        """The equation as LaTeX."""
        return sympy.latex(self.equation, symbol_names=self.symbols)

    def to_dict(self) -> dict[str, str]:
        """{"name", "latex", "sympy"}."""
        return {"name": self.name, "latex": self.latex, "sympy": str(self.equation)}


@dataclass(frozen=True)
class Derivation:
    """Everything derived for one architecture: equations, closed forms, and for feed-forward
    networks the mean field; case: of finite width, which of the closed forms it is."""

    architecture: str
    equations: tuple[Equation, ...]
    closed_form: tuple[Equation, ...] = ()
    mean_field: dict[str, float] | None = None
    case: str | None = None

    def __getitem__(self, name: str) -> sympy.Eq:
        return next(e.equation for e in (*self.equations, *self.closed_form) if e.name == name)

    def expression(self, name: str) -> Any:
        """Return the right-hand side of an equation, a sympy expression, with those before it put
        in (recursions are left as they are)."""
        value = self[name].rhs
        names = [e.name for e in self.equations]
        before = self.equations[: names.index(name) if name in names else len(names)]
        for equation in reversed(before):
            value = put_in(value, equation.equation)
        return value

    def to_dict(self) -> dict[str, Any]:
        """{"architecture", "equations": [{"name", "latex", "sympy"}], "closed_form": the same or
        null, "mean_field", "case"}, the last two where there are any."""
        found: dict[str, Any] = {
            "architecture": self.architecture,
            "equations": [e.to_dict() for e in self.equations],
        }
        found["closed_form"] = [e.to_dict() for e in self.closed_form] or None
        more = {"mean_field": self.mean_field, "case": self.case}
        return found | {name: value for name, value in more.items() if value}

    def to_json(self) -> str:
        """``to_dict`` as one JSON document."""
        return json.dumps(self.to_dict(), indent=2)

    def to_latex(self) -> str:
        """The equations as one LaTeX ``gather*`` environment."""
        lines = [e.latex for e in (*self.equations, *self.closed_form)]
        return "\\begin{gather*}\n" + " \\\\\n".join(lines) + "\n\\end{gather*}"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle\n{self.to_latex()}\n$".replace("gather*", "gathered")

    def _repr_html_(self) -> str:
        return (
            f"<p>{escape(self.architecture)} (derived)</p>\n$$\n"
            f"{escape(self.to_latex().replace('gather*', 'gathered'))}\n$$"
        )

    def to_text(self, width: int | None = None) -> str:
        """The equations with their names, in lines of at most ``width`` characters (None: of any
        length)."""
        size = max(len(e.name) for e in (*self.equations, *self.closed_form))
        lines = [f"{self.architecture} (derived)"]
        lines += [f"finite width, first order in 1/n: {self.case}"] * bool(self.case) + [""]
        for title, equations in (("", self.equations), ("closed form", self.closed_form)):
            lines += ["", title] * bool(title and equations)
            for e in equations:
                lines += labelled(e.name, f"{e.equation.lhs} = {e.equation.rhs}", size, width)
        if self.mean_field:
            numbers = [f"{name:<{size}}  {value:.10g}" for name, value in self.mean_field.items()]
            lines += ["", "mean field", *numbers]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.to_text(terminal_width())


def put_in(value: Any, equation: sympy.Eq) -> Any:
    """Return ``value`` with an equation's left-hand side, a symbol or a function of symbols,
    replaced by its right-hand side."""
    left, right = equation.args
    if left.is_Symbol:
        return value.subs(left, right)
    if not isinstance(left, AppliedUndef) or not all(arg.is_Symbol for arg in left.args):
        return value

    def defined(*args: Any) -> Any:
        return right.subs(dict(zip(left.args, args, strict=True)), simultaneous=True)

    return value.replace(left.func, defined)


def derive(arch: Architecture, finite_width: bool = False) -> Derivation:
    """The two-time state kernel, backward kernel, weight gradients and NTK of ``arch``, and closed
    forms where there are any.

    finite_width: instead, what networks of width n have to first order in 1/n, in closed form:
    ``n_variance``, n times the variance of <h_D, h_D> between networks, and ``n_shift``, n times
    the distance of its mean from the limit q(D); raises ``InputError`` where there is no closed
    form (``fluctuations`` has numbers).

    Equations are derived by expanding inner products with ``calculus``'s rules on symbols; a number
    whose value is 0 is left out, every other keeps its name. Raises ``NoRule`` where the calculus
    has no rule. Source: docs/theory.md; the tests iterate these equations and compare with
    ``predict`` to 1e-10, those of finite width with ``fluctuations``.
    """
    check_described(arch)
    if finite_width:
        case, found = finite(arch)
        equations = tuple(Equation(name, equation, _names(arch)) for name, equation in found)
        return Derivation(arch.name, equations, case=case)
    from sigprop.theory.predictions.mean_field import mean_field

    deriver, names = Deriver(arch), _names(arch)
    found = (
        merged({pair: list(derived(SymmetricDeriver(arch, pair))) for pair in PAIRS})
        if alike(arch)
        else derived(deriver)
    )
    equations = [Equation(name, equation, names) for name, equation in found]
    closed = [Equation(name, equation, names) for name, equation in closed_form(deriver)]
    return Derivation(arch.name, tuple(equations), tuple(closed), mean_field(arch))


def _names(arch: Architecture) -> dict[sympy.Symbol, str]:
    """Return how LaTeX writes the named numbers."""
    return {
        sympy.Symbol(n.name, positive=True): n.latex
        for b in arch.sub_blocks
        for e in (*b.reads, b.branch, *b.rule)
        for n in numbers_in(e)
        if n.latex
    }

"""Attention's Grams on symbols: sums over tokens of one head's expectations, which stay
unevaluated unless attention is uniform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy

from sigprop.errors import NoRule
from sigprop.language.expression import Attend, TokenTable

TOKENS = sympy.Symbol("T", integer=True, positive=True)


class Weights(sympy.Function):
    """E[Omega_ts Omega'_t's'] of one head at applications a and b: arguments a, b, t, s, t', s'."""

    nargs = 6

    def _latex(self, printer: Any, exp: Any = None) -> str:
        a, b, t, s, t2, s2 = (printer.doprint(x) for x in self.args)
        return rf"\mathbb{{E}}\left[\Omega^{{{a}}}_{{{t} {s}}}\Omega^{{{b}}}_{{{t2} {s2}}}\right]"


class Jacobians(sympy.Function):
    """E[J_t(s, u) J'_t'(s', u') x] of one head, J_t(s, u) = dOmega_ts/dS_tu; arguments a, b, t,
    s, u, t', s', u', x = k or q, and x's two tokens."""

    nargs = 11

    def _latex(self, printer: Any, exp: Any = None) -> str:
        a, b, t, s, u, t2, s2, u2, x, p, r = (printer.doprint(y) for y in self.args)
        return (
            rf"\mathbb{{E}}\left[J^{{{a}}}_{{{t}, {s} {u}}}J^{{{b}}}_{{{t2}, {s2} "
            rf"{u2}}}\langle {x}^{{{a}}}_{{{p}}}, {x}^{{{b}}}_{{{r}}}\rangle\right]"
        )


class Weight(sympy.Function):
    """E[Omega_ts] of one head at application a: arguments a, t, s."""

    nargs = 3

    def _latex(self, printer: Any, exp: Any = None) -> str:
        a, t, s = (printer.doprint(x) for x in self.args)
        return rf"\mathbb{{E}}\left[\Omega^{{{a}}}_{{{t} {s}}}\right]"


Summed = Callable[[Any, Any, Callable[[Any], Any], int], Any]
"""(t, s, f, T) -> sum_s A_ts f(s) over tokens s."""


def table_sum(table: TokenTable, a: Any, turned: bool) -> Summed:
    """A: a table at application a, or its transpose."""

    def entry(t, s):
        return sympy.Function(table.name)(a, *((s, t) if turned else (t, s)))

    zero = sympy.Integer(0)
    return lambda t, s, f, tokens: (
        sympy.Sum(entry(t, s) * f(s), (s, 0, TOKENS - 1))
        if tokens > 1
        else entry(zero, zero) * f(t)
    )


def mean_sum(node: Attend, a: Any, turned: bool) -> Summed:
    """A: E[Omega] at application a, or its transpose. Uniform causal weights by the sum's limits
    (sympy folds nested cases wrongly)."""
    plain = node.scores.uniform and node.bias is None and node.scores.mask in ("none", "causal")
    causal = node.scores.mask == "causal"

    def total(t: Any, s: Any, f: Callable[[Any], Any], tokens: int) -> Any:
        if tokens == 1:
            return f(t)
        if plain and causal:
            return (
                sympy.Sum(f(s) / (s + 1), (s, t, TOKENS - 1))
                if turned
                else sympy.Sum(f(s), (s, 0, t)) / (t + 1)
            )
        weight = 1 / TOKENS if plain else Weight(a, *((s, t) if turned else (t, s)))
        return sympy.Sum(weight * f(s), (s, 0, TOKENS - 1))

    return total


def attention(
    node: Attend,
    tokens: int,
    at: tuple[Any, Any],
    token: tuple[Any, Any],
    values: Any,
    cotangents: Any,
    odds: Any = 0,
) -> dict[str, Any]:
    """'forward', or with cotangents the legs 'value', 'query', 'key', between token t at
    application a and t' at b.

    at: (a, b); token: (t, t'); values, cotangents: <v_t, v'_t'>, <d_t, d'_t'> as expressions in t
    and t'; odds: p/(1 - p) of dropout, whose mask couples a pair of tokens of one application with
    itself alone (``mixing``).
    """
    t, t2 = token
    # where the two places have one mask
    one = odds * sympy.KroneckerDelta(*at) if odds != 0 else sympy.Integer(0)
    if tokens == 1:
        return (
            {"forward": values * (1 + one)}
            if cotangents is None
            else {"value": cotangents * (1 + one), "query": 0, "key": 0}
        )
    if at[0] == at[1] and t == t2:
        raise NoRule(
            "attention's output has no symbolic variance of its own: it mixes pairs of tokens"
        )
    s, s2, u, u2 = sympy.symbols("s_1 s_2 u_1 u_2", integer=True, nonnegative=True)

    def on(expression, x, y):
        return (sympy.Integer(0) + expression).subs({t: x, t2: y}, simultaneous=True)

    def over(expression: Any, *dummies: Any) -> Any:
        return sympy.Sum(expression, *[(x, 0, TOKENS - 1) for x in dummies])

    def weights(p, q, r, v):
        return _weights(node, at, p, q, r, v)

    own = one * sympy.KroneckerDelta(t, t2)

    def extra(factor, given):
        return factor * over(*given()) if factor != 0 else 0

    if cotangents is None:
        masked = extra(own, lambda: (weights(t, s, t, s) * on(values, s, s), s))
        return {"forward": over(weights(t, s, t2, s2) * on(values, s, s2), s, s2) + masked}
    masked = extra(own, lambda: (weights(s, t, s, t) * on(cotangents, s, s), s))
    found = {
        "value": over(weights(s, t, s2, t2) * on(cotangents, s, s2), s, s2) + masked,
        "query": sympy.Integer(0),
        "key": sympy.Integer(0),
    }
    if node.scores.power == 0:
        return found
    w, w2 = sympy.symbols("w_1 w_2", integer=True, nonnegative=True)
    # normalised: less their part along the other, over its rms
    k, q = sympy.symbols("k_perp q_perp" if node.scores.qk_norm else "k q")
    masked = extra(
        own, lambda: (Jacobians(*at, t, s, u, t, s, u2, k, u, u2) * on(values, s, s), s, u, u2)
    )
    found["query"] = cotangents * (
        over(Jacobians(*at, t, s, u, t2, s2, u2, k, u, u2) * on(values, s, s2), s, s2, u, u2)
        + masked
    )
    masked = extra(
        one,
        lambda: (
            Jacobians(*at, w, s, t, w, s, t2, q, w, w) * on(values, s, s) * on(cotangents, w, w),
            s,
            w,
        ),
    )
    found["key"] = (
        over(
            Jacobians(*at, w, s, t, w2, s2, t2, q, w, w2)
            * on(values, s, s2)
            * on(cotangents, w, w2),
            s,
            s2,
            w,
            w2,
        )
        + masked
    )
    return found


def _weights(node: Attend, at: tuple[Any, Any], t: Any, s: Any, t2: Any, s2: Any) -> Any:
    if node.scores.uniform and node.bias is not None:
        # one and the same for all heads
        return sympy.Function("Omega")(at[0], t, s) * sympy.Function("Omega")(at[1], t2, s2)
    if node.scores.uniform and node.scores.mask == "none":
        return 1 / TOKENS**2
    if node.scores.uniform and node.scores.mask == "causal":

        def seen(x, y):
            return sympy.Piecewise((1 / (x + 1), y <= x), (0, True))

        return seen(t, s) * seen(t2, s2)
    return Weights(*at, t, s, t2, s2)

"""Attention's Grams on symbols: sums over tokens of one head's expectations, which stay
unevaluated unless attention is uniform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

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


class Slopes(sympy.Function):
    """E[J_t(s, u) J'_t'(s', u')] of one head, J_t(s, u) = dOmega_ts/db_tu of what is added to its
    (capped) scores; arguments a, b, t, s, u, t', s', u'."""

    nargs = 8

    def _latex(self, printer: Any, exp: Any = None) -> str:
        a, b, t, s, u, t2, s2, u2 = (printer.doprint(y) for y in self.args)
        return rf"\mathbb{{E}}\left[J^{{{a}}}_{{{t}, {s} {u}}}J^{{{b}}}_{{{t2}, {s2} {u2}}}\right]"


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
    plain = node.uniform and node.bias is None and node.scores.mask in ("none", "causal")
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


# dummy tokens that sums run over: attended tokens, tokens of the scores, tokens that attend
_S, _S2, _U, _U2 = sympy.symbols("s_1 s_2 u_1 u_2", integer=True, nonnegative=True)
_W, _W2 = sympy.symbols("w_1 w_2", integer=True, nonnegative=True)


def attention(
    node: Attend,
    tokens: int,
    at: tuple[Any, Any],
    token: tuple[Any, Any],
    *,
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
    shared = odds * sympy.KroneckerDelta(*at) if odds != 0 else sympy.Integer(0)
    if tokens == 1:
        return (
            {"forward": values * (1 + shared)}
            if cotangents is None
            else {"value": cotangents * (1 + shared), "query": 0, "key": 0, "bias": 0}
        )
    if at[0] == at[1] and token[0] == token[1]:
        raise NoRule(
            "attention's output has no symbolic variance of its own: it mixes pairs of tokens"
        )
    if cotangents is None:
        return {"forward": _forward(_Pair(node, at, token, shared), values)}
    return _legs(_Pair(node, at, token, shared), values, cotangents)


class _Pair(NamedTuple):
    """Token t at application a beside t' at b; shared: dropout's odds where the two places have
    one mask."""

    node: Attend
    at: tuple[Any, Any]
    token: tuple[Any, Any]
    shared: Any

    @property
    def same_row(self) -> Any:
        """The odds where besides t is t'."""
        return self.shared * sympy.KroneckerDelta(*self.token)

    def moved(self, expression: Any, x: Any, y: Any) -> Any:
        """Return the expression in t and t' at tokens x and y."""
        places = dict(zip(self.token, (x, y), strict=True))
        return (sympy.Integer(0) + expression).subs(places, simultaneous=True)

    def weights(self, t: Any, s: Any, t2: Any, s2: Any) -> Any:
        """E[Omega_ts Omega'_t's'], written out where attention is uniform."""
        mask, uniform, (a, b) = self.node.scores.mask, self.node.uniform, self.at
        if uniform and self.node.bias is not None:
            # the same for all heads
            return sympy.Function("Omega")(a, t, s) * sympy.Function("Omega")(b, t2, s2)
        if uniform and mask == "none":
            return 1 / TOKENS**2
        if uniform and mask == "causal":
            return _causal(t, s) * _causal(t2, s2)
        return Weights(a, b, t, s, t2, s2)


def _forward(pair: _Pair, values: Any) -> Any:
    """Sum the values over the tokens that t and t' attend to."""
    t, t2 = pair.token
    mixed = _total(pair.weights(t, _S, t2, _S2) * pair.moved(values, _S, _S2), _S, _S2)
    if pair.same_row == 0:
        return mixed
    masked = _total(pair.weights(t, _S, t, _S) * pair.moved(values, _S, _S), _S)
    return mixed + pair.same_row * masked


def _legs(pair: _Pair, values: Any, cotangents: Any) -> dict[str, Any]:
    """Return the Grams of the cotangents at values, queries and keys."""
    zero, scores = sympy.Integer(0), pair.node.scores
    value = _value_leg(pair, cotangents)
    if scores.power == 0:
        return {"value": value, "query": zero, "key": zero}
    bias = pair.node.drawn_bias
    of_bias = {} if bias is None else {"bias": cotangents * _bias_leg(pair, values, bias.weight)}
    # normalised: less their part along the other, over its rms
    k, q = sympy.symbols("k_perp q_perp" if scores.qk_norm else "k q")
    return {
        "value": value,
        "query": cotangents * _query_leg(pair, values, k),
        "key": _key_leg(pair, values, cotangents, q),
        **of_bias,
    }


def _value_leg(pair: _Pair, cotangents: Any) -> Any:
    """Sum the cotangents over the tokens that attend to t and t'."""
    t, t2 = pair.token
    mixed = _total(pair.weights(_S, t, _S2, t2) * pair.moved(cotangents, _S, _S2), _S, _S2)
    if pair.same_row == 0:
        return mixed
    masked = _total(pair.weights(_S, t, _S, t) * pair.moved(cotangents, _S, _S), _S)
    return mixed + pair.same_row * masked


def _query_leg(pair: _Pair, values: Any, k: Any) -> Any:
    """Return the query's Gram over the output's cotangent."""
    (t, t2), at = pair.token, pair.at
    jacobians = Jacobians(*at, t, _S, _U, t2, _S2, _U2, k, _U, _U2)
    mixed = _total(jacobians * pair.moved(values, _S, _S2), _S, _S2, _U, _U2)
    if pair.same_row == 0:
        return mixed
    jacobians = Jacobians(*at, t, _S, _U, t, _S, _U2, k, _U, _U2)
    masked = _total(jacobians * pair.moved(values, _S, _S), _S, _U, _U2)
    return mixed + pair.same_row * masked


def _bias_leg(pair: _Pair, values: Any, weight: str) -> Any:
    """Return a drawn bias's Gram over the output's cotangent: pairs of tokens of one bucket."""
    (t, t2), at, bucket = pair.token, pair.at, sympy.Function(f"bucket_{weight}")

    def jacobians(t2: Any, s2: Any) -> Any:
        alike = sympy.KroneckerDelta(bucket(t, _U), bucket(t2, _U2))
        return Slopes(*at, t, _S, _U, t2, s2, _U2) * alike

    mixed = _total(jacobians(t2, _S2) * pair.moved(values, _S, _S2), _S, _S2, _U, _U2)
    if pair.same_row == 0:
        return mixed
    masked = _total(jacobians(t, _S) * pair.moved(values, _S, _S), _S, _U, _U2)
    return mixed + pair.same_row * masked


def _key_leg(pair: _Pair, values: Any, cotangents: Any, q: Any) -> Any:
    """Sum the key's gradients over the tokens that attend to t and t'."""
    (t, t2), at = pair.token, pair.at
    jacobians = Jacobians(*at, _W, _S, t, _W2, _S2, t2, q, _W, _W2)
    grams = pair.moved(values, _S, _S2), pair.moved(cotangents, _W, _W2)
    mixed = _total(jacobians * grams[0] * grams[1], _S, _S2, _W, _W2)
    if pair.shared == 0:
        return mixed
    jacobians = Jacobians(*at, _W, _S, t, _W, _S, t2, q, _W, _W)
    grams = pair.moved(values, _S, _S), pair.moved(cotangents, _W, _W)
    return mixed + pair.shared * _total(jacobians * grams[0] * grams[1], _S, _W)


def _total(expression: Any, *dummies: Any) -> Any:
    """Sum an expression over these tokens."""
    return sympy.Sum(expression, *[(x, 0, TOKENS - 1) for x in dummies])


def _causal(t: Any, s: Any) -> Any:
    """Return the weight 1/(t + 1) of every token that t may attend to."""
    return sympy.Piecewise((1 / (t + 1), s <= t), (0, True))

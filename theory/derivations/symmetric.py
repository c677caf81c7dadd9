"""Tokens that are alike: every T x T Gram has one diagonal and one off-diagonal entry, and the
equations close on the two.

Two readings of one description, 'tt' (a token with itself) and 'ts' (two tokens); all rules act on
entries alone, except attention's, which sees both. Its heads enter by four numbers of two
applications a, b:

    P_tt, P_ts  E sum_u Omega_tu Omega'_tu, E sum_u Omega_tu Omega'_su: participation of one
                token, of two
    J_tt, J_ts  E tr(J_t J'_t), E tr(J_t J'_s), J_t = diag(Omega_t) - Omega_t Omega_t^T

With <v, v'> = c + (q - c) 1 etc.:

    forward  c + (q - c) P
    value    delta_tt P_tt + (T - 1) delta_ts P_ts on the diagonal
    query    delta (q_v - c_v)(q_k - c_k) J
    key      (q_v - c_v)(delta_tt q_q J_tt + (T - 1) delta_ts c_q J_ts) on the diagonal,
             minus that over T - 1 off it

At a fixed head_dim J holds the head's own keys at the query (JQ) and its own queries at the key
(JK), two numbers. Where values join attention's output the weights' mean enters, E Omega_tu = 1/T:
given a query, keys are exchangeable. A soft cap's slope stands between J and the scores, so its
rows do not sum to zero: no such form there. Source: derived here;
tests/theory/derivations/test_symmetric.py iterates the equations and compares with ``predict``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy

from sigprop.description.architecture import Architecture
from sigprop.description.sub_block import STEM
from sigprop.language.expression import Attend
from sigprop.theory.attention.symbols import TOKENS
from sigprop.theory.calculus.rules import inner
from sigprop.theory.derivations.environment import SymbolicEnvironment
from sigprop.theory.derivations.reading import Deriver, S, T

PAIRS = ("tt", "ts")


def alike(arch: Architecture) -> bool:
    """Whether the architecture mixes tokens and treats them all alike: exchangeable inputs, no
    mask, positions, soft cap, last token; no router, which sends them to different experts."""
    nodes = [node for block in arch.sub_blocks for node in block.attention]
    gram = arch.input_gram
    off = gram[~np.eye(len(gram), dtype=bool)]
    same = len(gram) > 1 and np.ptp(np.diag(gram)) == 0 and np.ptp(off) == 0

    def simple(scores):
        return scores.mask == "none" and not scores.rotary and not scores.qk_norm

    plain = (
        all(simple(n.scores) and n.rate is n.cap is n.bias is None for n in nodes)
        and not arch.token_tables
    )
    routed = any(block.experts for block in arch.sub_blocks)
    return bool(nodes) and same and plain and not routed and arch.readout.tokens != "last"


class SymmetricEnvironment(SymbolicEnvironment):
    """The calculus on one entry; ``twins``: the environments of both entries, by pair."""

    pair: str = "tt"
    twins: dict[str, SymmetricEnvironment]

    def attention(
        self, node: Attend, i: str, j: str, values: Any, cotangents: Any, of: Any = None
    ) -> dict[str, Any]:
        def entries(u: Any) -> tuple[Any, Any]:
            diagonal, off = (
                sympy.Integer(0) + inner(u, i, u, j, self.twins[pair]) for pair in PAIRS
            )
            return diagonal, off

        names = ("P", "J", "J") if math.isinf(node.scores.head_dim) else ("P", "JQ", "JK")
        (p_tt, p_ts), (jq_tt, jq_ts), (jk_tt, jk_ts) = (
            self._pair(node, name, i, j) for name in names
        )
        q, c = entries(node.value)
        diagonal = self.pair == "tt"
        if of is None:
            return {"forward": c + (q - c) * (p_tt if diagonal else p_ts)}
        (d_tt, d_ts), (key_tt, key_ts), (query_tt, query_ts) = (
            entries(of),
            entries(node.key),
            entries(node.query),
        )
        power = sympy.Integer(int(node.scores.power))
        key = power * (q - c) * (d_tt * query_tt * jk_tt + (TOKENS - 1) * d_ts * query_ts * jk_ts)
        if diagonal:
            value = d_tt * p_tt + (TOKENS - 1) * d_ts * p_ts
            return {
                "value": value,
                "query": power * d_tt * (q - c) * (key_tt - key_ts) * jq_tt,
                "key": key,
            }
        value = d_tt * (1 - p_tt) / (TOKENS - 1) + d_ts * (1 - p_ts)
        return {
            "value": value,
            "query": power * d_ts * (q - c) * (key_tt - key_ts) * jq_ts,
            "key": -key / (TOKENS - 1),
        }

    def mix(self, matrix: Any, value: Callable[[Any], Any], side: str) -> Any:
        diagonal, off = (sympy.Integer(0) + value(self.twins[pair]) for pair in PAIRS)
        return (diagonal + (TOKENS - 1) * off) / TOKENS

    def same(self, i: str, j: str) -> Any:
        (a, _), (b, _) = self.places[i], self.places[j]
        return sympy.KroneckerDelta(a, b) if self.pair == "tt" else sympy.Integer(0)

    def _pair(self, node: Attend, name: str, i: str, j: str) -> tuple[Any, Any]:
        if node.scores.uniform:
            value = 1 / TOKENS if name == "P" else (TOKENS - 1) / TOKENS**2
            return value, value
        (a, _), (b, _) = self.places[i], self.places[j]
        return sympy.Function(f"{name}_tt")(a, b), sympy.Function(f"{name}_ts")(a, b)


class SymmetricDeriver(Deriver):
    """A ``Deriver`` whose token pair (t, s) is one of ``PAIRS``."""

    def __init__(self, arch: Architecture, pair: str):
        super().__init__(arch)
        self.pair = pair

    def function(self, name: str, a: Any, b: Any, t: Any = T, s: Any = S) -> Any:
        return sympy.Function(f"{name}_{'tt' if t == s else self.pair}")(a, b)

    @property
    def stem(self) -> Any:
        return sympy.Symbol("q_0" if self.pair == "tt" else "c_0")

    def stem_inputs(self, part: str) -> Any:
        return self.stem if part == STEM else sympy.Symbol(f"K_{part}_{self.pair}")

    def own_stem(self, token: Any) -> Any:
        return sympy.Symbol("q_0")

    def readout_gram(self) -> Any:
        if self.arch.readout.tokens == "mean":
            return 1 / TOKENS**2
        return sympy.Integer(1 if self.pair == "tt" else 0)

    def environment(self, kind: int, tied: bool = True) -> SymbolicEnvironment:
        twins = {pair: SymmetricDeriver(self.arch, pair)._environment(kind, tied) for pair in PAIRS}
        for twin in twins.values():
            twin.twins = twins
        return twins[self.pair]

    def _environment(self, kind: int, tied: bool) -> SymmetricEnvironment:
        made = Deriver.environment(self, kind, tied)
        found = SymmetricEnvironment(
            made.reads, made.cotangents, made.numbers, made.ties, made.places, made.tokens
        )
        found.pair = self.pair
        return found

    def over_tokens(self, amount: Any) -> Any:
        return (TOKENS if self.pair == "tt" else TOKENS * (TOKENS - 1)) * amount


def merged(pairs: dict[str, Any]) -> list[tuple[str, Any]]:
    """The equations of both readings: per entry where they differ, added where they are sums
    over tokens."""
    first, second = (dict(pairs[pair]) for pair in PAIRS)
    found = []
    for name, equation in first.items():
        other = second[name]
        if equation.lhs == other.lhs and name.startswith("weight_gradient"):
            found.append((name, sympy.Eq(equation.lhs, equation.rhs + other.rhs)))
        elif name == "ntk":
            found.append((name, sympy.Eq(equation.lhs + other.lhs, equation.rhs + other.rhs)))
        else:
            found += (
                [(f"{name}|tt", equation), (f"{name}|ts", other)]
                if equation != other
                else [(name, equation)]
            )
    return found

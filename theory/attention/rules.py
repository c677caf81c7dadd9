"""The calculus rules of attention: <o, o'> of its output, and of its cotangents at value, query
and key; and of those with other vectors."""

from __future__ import annotations

from typing import Any

from sigprop.errors import no_rule
from sigprop.language.expression import Attend, Bias, Linear, Scale, Sum, Vector
from sigprop.language.nodes import Truncate
from sigprop.language.traversal import group_of
from sigprop.theory.calculus.environment import Environment
from sigprop.theory.calculus.independence import roots
from sigprop.theory.calculus.rules import inner, mixed, rule, unknown
from sigprop.theory.calculus.transpose import AttendTransposed, Transposed


@rule(Attend, Attend)
def _attend(u: Attend, i: str, v: Attend, j: str, env: Environment) -> Any:
    """E[Omega <v, v'> Omega'^T] over one head's scores; Q, K and V (or several, whose outputs
    add) are matrices of their own, so values and scores are independent."""
    _check(u, v)
    grams = env.attention(u, i, j, inner(u.value, i, v.value, j, env), None)
    if i == j and "participation" in grams:
        env.participation = grams["participation"]
    return grams["forward"]


@rule(AttendTransposed, AttendTransposed)
def _transposed(u: AttendTransposed, i: str, v: AttendTransposed, j: str, env: Environment) -> Any:
    """The legs' Grams; each key head serves ``group`` query heads, whose gradients add."""
    _check(u.attend, v.attend)
    if (u.leg, u.of) != (v.leg, v.of):
        raise unknown(u, v)
    key = ("attention", u.attend, u.of, i, j)
    if key not in env.memo:
        node = u.attend
        env.memo[key] = env.attention(
            node, i, j, inner(node.value, i, node.value, j, env), inner(u.of, i, v.of, j, env), u.of
        )
    gram = env.memo[key][u.leg]
    return gram if u.leg in ("query", "bias") else group_of(u.attend) * gram


@rule(Linear, Attend)
def _with_output(u: Linear, i: str, v: Attend, j: str, env: Environment) -> Any:
    """<x_t, o_s> = sum_u E[Omega_su] <x_t, v_u>: Q, K and V of their own matrices, and zero
    unless x comes from V's."""
    _check(v, v)
    return mixed(
        lambda e: inner(u, i, v.value, j, e), env.weights(v, j, False), v.value, v, j, "right", env
    )


@rule(Attend, Linear)
def _output_with(u: Attend, i: str, v: Linear, j: str, env: Environment) -> Any:
    _check(u, u)
    return mixed(
        lambda e: inner(u.value, i, v, j, e), env.weights(u, i, False), u.value, u, i, "left", env
    )


@rule(Transposed, AttendTransposed)
def _with_cotangent(u: Transposed, i: str, v: AttendTransposed, j: str, env: Environment) -> Any:
    """<d_t, sum_u Omega_us of_u> = sum_u E[Omega_us] <d_t, of_u> at the value."""
    _check(v.attend, v.attend)
    if v.leg != "value" or group_of(v.attend) > 1:
        raise unknown(u, v)
    return mixed(
        lambda e: inner(u, i, v.of, j, e), env.weights(v.attend, j, True), v.of, v, j, "right", env
    )


@rule(AttendTransposed, Transposed)
def _cotangent_with(u: AttendTransposed, i: str, v: Transposed, j: str, env: Environment) -> Any:
    _check(u.attend, u.attend)
    if u.leg != "value" or group_of(u.attend) > 1:
        raise unknown(u, v)
    return mixed(
        lambda e: inner(u.of, i, v, j, e), env.weights(u.attend, i, True), u.of, u, i, "left", env
    )


def _check(u: Attend, v: Attend) -> None:
    if u != v:
        raise unknown(u, v)
    legs = [frozenset(roots(leg)) for leg in (u.query, u.key, u.value)]
    shared = len(frozenset().union(*legs)) < sum(map(len, legs))
    if shared or not all(map(_projected, (u.query, u.key, u.value))):
        raise no_rule(
            u,
            "queries, keys and values are not of matrices of their own",
            "outputs of matrices and biases, each of its own",
        )


def _projected(leg: Vector) -> bool:
    """Tell if it is a matrix's output with or without a bias, or part of it."""
    if isinstance(leg, Sum):
        return all(isinstance(term, Bias) or _projected(term) for term in leg.terms)
    return isinstance(leg, Linear) or (isinstance(leg, (Scale, Truncate)) and _projected(leg.of))

"""The calculus rules of attention: <o, o'> of its output, and of its cotangents at value, query and key."""

from __future__ import annotations

from typing import Any

from sigprop.errors import NoRule
from sigprop.expression import Attend, Linear, Scale, Vector
from sigprop.theory.calculus import inner, roots, rule
from sigprop.theory.environment import Environment
from sigprop.theory.transpose import AttendTransposed
from sigprop.traversal import group_of
from sigprop.truncation import Truncate


@rule(Attend, Attend)
def _attend(u: Attend, i: str, v: Attend, j: str, env: Environment) -> Any:
    """E[Omega <v, v'> Omega'^T] over one head's scores; Q, K and V of their own matrices, so values and scores are independent."""
    _check(u, v)
    found = env.attention(u, i, j, inner(u.value, i, v.value, j, env), None)
    if i == j and "participation" in found:
        env.participation = found["participation"]
    return found["forward"]


@rule(AttendTransposed, AttendTransposed)
def _transposed(u: AttendTransposed, i: str, v: AttendTransposed, j: str, env: Environment) -> Any:
    """The three legs' Grams; each key head serves ``group`` query heads, whose gradients add."""
    _check(u.attend, v.attend)
    if (u.leg, u.of) != (v.leg, v.of):
        raise NoRule(f"no rule for the inner product of {u!r} and {v!r}")
    key = ("attention", u.attend, u.of, i, j)
    if key not in env.memo:
        node = u.attend
        env.memo[key] = env.attention(node, i, j, inner(node.value, i, node.value, j, env), inner(u.of, i, v.of, j, env), u.of)
    found = env.memo[key][u.leg]
    return found if u.leg == "query" else group_of(u.attend) * found


def _check(u: Attend, v: Attend) -> None:
    legs: list[Vector] = [u.query, u.key, u.value]
    if u != v or not all(map(_projected, legs)) or len(frozenset().union(*map(roots, legs))) < 3:
        raise NoRule(f"no rule for the inner product of {u!r} and {v!r}: queries, keys and values must come from matrices of their own")


def _projected(leg: Vector) -> bool:
    """Whether it is a matrix's output, or part of it."""
    return isinstance(leg, Linear) or (isinstance(leg, (Scale, Truncate)) and _projected(leg.of))

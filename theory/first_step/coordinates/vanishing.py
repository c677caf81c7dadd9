r"""Attention whose scores vanish with the width, S_ts = q_t . k_s/head_dim of heads that grow: its
weights are those of scores 0, and what a step does to it comes through scores all the same.

What arrives at a score, a_ts = sum_i delta_i v_i over a head's coordinates, is of order n^-1/2
beside the other cotangents, Gaussian of covariance <delta_t, delta_t'> <v_s, v_s'>. The gradient
of queries' and keys' weights, d_q,t = sum_s g_ts k_s with g = Omega (a - sum Omega a), is as small,
and a step whose size does not depend on its gradient's (a sign, a polar factor) is of order one
along it. Scores then change by dS_ts = <dq_t, k_s> + <q_t, dk_s>, means over a head. Other steps
leave scores alone. A particle has one coordinate of every head. Source: derived
(docs/first-step.md; tests/theory/first_step/test_vanishing.py: explicit networks).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from sigprop.language.expression import Attend, Vector
from sigprop.language.traversal import walk
from sigprop.theory.calculus.transpose import AttendTransposed

Heads = Float[np.ndarray, "P H T"]
Weights = Float[np.ndarray, "T T"]
Legs = tuple[Heads, Heads, Heads]
Changes = tuple[np.ndarray, np.ndarray, np.ndarray]
SCORED = ("query", "key")


def vanishes(node: Vector) -> bool:
    """Tell if a vector is attention whose scores vanish."""
    return isinstance(node, Attend) and node.scores.scale == "linear"


def faint(u: Vector) -> bool:
    """Tell if something that comes back through such scores stands in an expression."""
    return any(
        isinstance(node, AttendTransposed) and node.leg in SCORED and vanishes(node.attend)
        for node in walk(u)
    )


def weights(node: Attend, bias: Any, tokens: int) -> Weights:
    """Return Omega of scores 0 and a bias [T, T], one row for all, or None."""
    scores = np.zeros((tokens, tokens)) if bias is None else np.zeros(tokens) + np.asarray(bias)
    seen = np.where(node.scores.allowed(tokens), np.exp(scores - scores.max()), 0.0)
    return seen / seen.sum(axis=1, keepdims=True)


def through(omega: Weights, change: Float[np.ndarray, "*many T T"]) -> np.ndarray:
    """Return the change of the softmax's weights along a change of the scores; a symmetric map, so
    also what its transpose makes of cotangents."""
    return omega * (change - (omega * change).sum(axis=-1, keepdims=True))


def output(omega: Weights, values: Heads) -> Heads:
    """o [P, H, T]."""
    return values @ omega.T


def pulled(omega: Weights, cotangent: Heads) -> Legs:
    """Return the legs' cotangents in the limit, where none comes back through scores."""
    zero = np.zeros_like(cotangent)
    return zero, zero, cotangent @ omega


def scored(node: Attend, legs: Legs, at: Float[np.ndarray, "H T T"]) -> tuple[Heads, Heads]:
    """Return the cotangents of queries and keys for cotangents of scores."""
    q, k = _normed(node, legs)
    dq, dk = np.einsum("hts,phs->pht", at, k[0]), np.einsum("hts,pht->phs", at, q[0])
    return dq / q[1], dk / k[1]


def moved(omega: Weights, node: Attend, legs: Legs, along: Changes) -> np.ndarray:
    """Return o's change [S, P, H, T] along changes [S, P, H, T] of the legs."""
    q, k = _normed(node, legs)
    dq, dk, dv = along
    count = len(legs[0])
    scores = np.einsum("spht,phx->shtx", dq / q[1], k[0]) / count
    scores = scores + np.einsum("pht,sphx->shtx", q[0], dk / k[1]) / count
    return np.einsum("shtx,phx->spht", through(omega, scores), legs[2]) + dv @ omega.T


def _normed(node: Attend, legs: Legs) -> tuple[tuple[Heads, Any], tuple[Heads, Any]]:
    """Return queries and keys, each over its rms in a head, and that rms, 1 without ``qk_norm``."""
    if not node.scores.qk_norm:
        return (legs[0], 1.0), (legs[1], 1.0)
    q, k = (np.sqrt((leg**2).mean(axis=(0, 1))) for leg in legs[:2])
    return (legs[0] / q, q), (legs[1] / k, k)

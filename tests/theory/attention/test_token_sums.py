"""The symbolic sums over tokens of attention, evaluated on one explicit head, are the matrix
products that run on arrays."""

from __future__ import annotations

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import sympy

from sigprop.blocks.branches import attention as branch
from sigprop.language.scores import Scores
from sigprop.language.traversal import walk
from sigprop.theory.attention import mixing, symbols
from sigprop.theory.attention.heads import Head

T = 2
A, B, X, Y = sympy.symbols("a b t s", integer=True, nonnegative=True)
NODE = next(node for node in walk(branch(Scores())) if type(node).__name__ == "Attend")
RNG = np.random.default_rng(5)


def soft() -> np.ndarray:
    x = np.exp(RNG.normal(size=(T, T)))
    return x / x.sum(1, keepdims=True)


OMEGA, OTHER = soft(), soft()
R, DELTA, K, Q = (RNG.normal(size=(T, T)) for _ in range(4))


def jacobian(omega: np.ndarray, t: int, s: int, u: int) -> float:
    return float(omega[t, s] * ((s == u) - omega[t, u]))


def number(leg: str, t: int, s: int, swap: bool = False, odds: float = 0.0) -> float:
    """The derived sum with every expectation replaced by this one head's product; ``swap``: its
    two applications exchanged; odds: of dropout, at one application."""
    first, second = (OTHER, OMEGA) if swap else (OMEGA, OMEGA if odds else OTHER)
    values, cotangents = sympy.Function("r")(X, Y), sympy.Function("d")(X, Y)
    found: Any = symbols.attention(
        NODE,
        T,
        (A, A if odds else B),
        (X, Y),
        values=values,
        cotangents=None if leg == "forward" else cotangents,
        odds=odds,
    )[leg]
    found = sympy.expand(
        found.subs({symbols.TOKENS: T}).subs({X: t, Y: s}, simultaneous=True).doit()
    )

    def weights(_: Any, __: Any, *at: Any) -> float:
        i, j, k, m = (int(x) for x in at)
        return float(first[i, j] * second[k, m])

    def jacobians(_: Any, __: Any, *at: Any) -> float:
        *tokens, x, p, r = at
        i, j, k, l, m, n = (int(y) for y in tokens)  # noqa: E741
        return (
            jacobian(first, i, j, k)
            * jacobian(second, l, m, n)
            * float((K if str(x) == "k" else Q)[int(p), int(r)])
        )

    found = found.replace(symbols.Weights, weights).replace(symbols.Jacobians, jacobians)
    return float(
        found.replace(sympy.Function("r"), lambda i, j: R[int(i), int(j)]).replace(
            sympy.Function("d"), lambda i, j: DELTA[int(i), int(j)]
        )
    )


@pytest.mark.parametrize("leg", ["forward", "value", "query", "key"])
def test_sums_are_the_matrix_products(leg: str):
    head = Head(*(jnp.asarray(x[None, None]) for x in (OMEGA, OTHER, OMEGA, OTHER, Q, K)))
    r, delta = jnp.asarray(R[None]), jnp.asarray(DELTA[None])
    expected = np.asarray(
        (mixing.forward(head, r) if leg == "forward" else mixing.backward(head, r, delta))[leg][0]
    )
    expected = expected * DELTA if leg == "query" else expected
    for t, s in itertools.product(range(T), repeat=2):
        if t != s or leg != "forward":
            assert number(leg, t, s) == pytest.approx(expected[t, s], rel=1e-12)


@pytest.mark.parametrize("leg", ["forward", "value", "query", "key"])
def test_sums_with_one_mask_of_dropout(leg: str):
    """Two tokens of one application, odds p/(1 - p) = 1/3: the mask adds what the matrix
    products add."""
    head = Head(*(jnp.asarray(x[None, None]) for x in (OMEGA, OMEGA, OMEGA, OMEGA, Q, K)))
    r, delta, odds = jnp.asarray(R[None]), jnp.asarray(DELTA[None]), jnp.full((1, 1, 1), 1 / 3)
    expected = np.asarray(
        (
            mixing.forward(head, r, odds)
            if leg == "forward"
            else mixing.backward(head, r, delta, odds)
        )[leg][0]
    )
    expected = expected * DELTA if leg == "query" else expected
    for t, s in itertools.product(range(T), repeat=2):
        assert number(leg, t, s, odds=1 / 3) == pytest.approx(expected[t, s], rel=1e-12)


def test_the_two_places_cannot_be_exchanged():
    """The companion: with the two applications' weights swapped the sum is another number."""
    head = Head(*(jnp.asarray(x[None, None]) for x in (OMEGA, OTHER, OMEGA, OTHER, Q, K)))
    expected = np.asarray(mixing.forward(head, jnp.asarray(R[None]))["forward"][0])
    assert abs(number("forward", 0, 1, swap=True) - expected[0, 1]) > 1e-3

"""Dual activations on symbols: one formula, two algebras."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np
import pytest
import sympy
from dual_points import POINTS, Point, at, hard_tanh, strict

from sigprop.language.activation import Activation
from sigprop.language.activations import find
from sigprop.theory.gaussian import symbols
from sigprop.theory.gaussian.closed import CLOSED
from sigprop.theory.gaussian.dual import Features, dual, features, numeric, status


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with strict():
        yield


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("name", [*CLOSED, "leaky-relu", "leaky-relu(0.351121)"])
def test_expression_and_array_agree(name: str, order: int, point: Point) -> None:
    qa, c, qb = sympy.symbols("q_a c q_b", real=True)
    expression = dual(name, order, features(name, qa), c, features(name, qb))
    value = float(expression.subs({qa: point[0], c: point[1], qb: point[2]}))
    assert value == pytest.approx(at(name, order, point), rel=1e-12)


def test_derivation_of_the_diagonal() -> None:
    q = sympy.Symbol("q", positive=True)
    half = sympy.Rational(1, 2)
    assert dual("relu", 0, features("relu", q), q, features("relu", q)) == q / 2
    assert dual("relu", 1, features("relu", q), q, features("relu", q)) == half
    assert dual("linear", 1, features("linear", q), q, features("linear", q)) == 1
    assert isinstance(features("tanh", q), Features)


@pytest.mark.parametrize("order", [0, 1])
def test_unevaluated(order: int) -> None:
    """An activation without closed form: an unevaluated function with LaTeX, evaluated by
    lambdify with ``numeric``."""
    qa, c, qb = sympy.symbols("q_a c q_b")
    expression = dual("tanh", order, features("tanh", qa), c, features("tanh", qb))
    assert expression == dual("tanh", order, features("tanh", qa), c, features("tanh", qb))
    assert str(expression) == ("V_tanh(q_a, c, q_b)", "dV_tanh(q_a, c, q_b)")[order]
    assert (
        sympy.latex(expression)
        == (r"V_{\tanh}\left(q_{a}, c, q_{b}\right)", r"V_{\tanh'}\left(q_{a}, c, q_{b}\right)")[
            order
        ]
    )
    assert symbols.name(find("gelu-tanh"), 0) == "V_gelu_tanh"
    function = sympy.lambdify(
        (qa, c, qb),
        2 * expression,
        modules=[{symbols.name(find("tanh"), order): numeric("tanh", order)}, "math"],
    )
    assert function(*POINTS[1]) == pytest.approx(2 * at("tanh", order, POINTS[1]), rel=1e-14)


def test_numeric_leaves_the_configuration_alone() -> None:
    with jax.enable_x64(False):
        assert numeric("relu")(1.0, 0.5, 1.0) == pytest.approx(
            (np.sqrt(0.75) + np.pi / 3) / (2 * np.pi), rel=1e-15
        )
        assert not jax.config.jax_enable_x64


def test_a_closed_form_only_for_the_registered_function() -> None:
    assert [status(name) for name in (*CLOSED, "leaky-relu", "tanh")] == ["exact"] * 5 + [
        "quadrature"
    ]
    mine = Activation("relu", hard_tanh)
    assert status(mine) == "quadrature"
    assert at(mine, 0, POINTS[0]) != pytest.approx(at("relu", 0, POINTS[0]), abs=1e-3)

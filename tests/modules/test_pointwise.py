"""Elementwise expressions: their values, factors, composition, and which registered activation one
is."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
import pytest

from sigprop.errors import InputError
from sigprop.language.activations import ACTIVATIONS
from sigprop.modules.pointwise import OPERATIONS, Expression, X, activation, written

POINTS = np.array([-2.0, -0.5, 0.25, 1.0, 3.0])


def of(operation: str, *arguments: Any) -> Expression:
    return Expression(operation, arguments)


def values(expression: Expression) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(expression(jax.numpy.asarray(POINTS)))


HALF = of("mul", X, 0.5)
GELU = of("mul", HALF, of("add", of("erf", of("div", X, math.sqrt(2))), 1.0))
INNER = of("mul", of("add", X, of("mul", of("pow", X, 3.0), 0.044715)), math.sqrt(2 / math.pi))
GELU_TANH = of("mul", HALF, of("add", of("tanh", INNER), 1.0))
FORMS = {
    "gelu": [of("gelu", X, 0.0), GELU],
    "gelu-tanh": [of("gelu", X, 1.0), GELU_TANH],
    "silu": [
        of("silu", X),
        of("mul", X, of("sigmoid", X)),
        of("div", X, of("add", of("exp", of("neg", X)), 1.0)),
    ],
    "relu": [of("relu", X), of("clamp", X, 0.0, math.inf)],
    "tanh": [of("tanh", X), of("sub", of("mul", of("sigmoid", of("mul", X, 2.0)), 2.0), 1.0)],
    "erf": [of("erf", X)],
}
CASES = [(name, k) for name, forms in FORMS.items() for k in range(len(forms))]


@pytest.mark.parametrize(("name", "k"), CASES)
def test_an_activation_is_known_however_it_is_written(name: str, k: int):
    """Every form of one function is the registered activation itself."""
    assert activation(FORMS[name][k]) is ACTIVATIONS[name]


def test_a_function_that_is_close_to_a_registered_one_is_its_own():
    """gelu's two forms, 5e-4 apart, are told apart; silu(1.702 x)/1.702 is neither."""
    quick = of("mul", X, of("sigmoid", of("mul", X, 1.702)))
    found = activation(quick)
    assert found not in list(ACTIVATIONS.values()) and found.name == written(quick)
    assert activation(FORMS["gelu"][1]) is not activation(FORMS["gelu-tanh"][1])


def test_an_own_activation_computes_the_expression():
    """What no name stands for is evaluated as it is written."""
    with jax.enable_x64(True):
        found = activation(of("add", of("square", of("relu", X)), 0.25)).function(
            jax.numpy.asarray(POINTS)
        )
    np.testing.assert_allclose(found, np.maximum(POINTS, 0) ** 2 + 0.25, rtol=1e-15)


@pytest.mark.parametrize("expression", [of("reciprocal", X), of("rsqrt", X), of("sqrt", X)])
def test_a_function_that_is_not_finite_is_refused(expression: Expression):
    """A pole or an undefined half line is one line that shows the expression."""
    with pytest.raises(InputError, match=r"^activation \w+\(x\): not finite everywhere"):
        activation(expression)


FACTORS = [
    (X, 1.0),
    (of("mul", X, 0.3), 0.3),
    (of("mul", 0.3, X), 0.3),
    (of("div", X, 4.0), 0.25),
    (of("neg", of("div", of("mul", X, 6.0), 4.0)), -1.5),
    (of("div", 4.0, X), None),
    (of("add", X, 1.0), None),
    (of("mul", X, X), None),
    (of("neg", of("tanh", X)), None),
]


@pytest.mark.parametrize(("expression", "factor"), FACTORS)
def test_the_factor_is_that_of_a_multiple_of_x_alone(expression: Expression, factor: float | None):
    """c x has factor c, whichever way it is written; everything else has none."""
    assert expression.factor == (None if factor is None else pytest.approx(factor, rel=1e-15))
    if factor is not None:
        np.testing.assert_allclose(values(expression), factor * POINTS, rtol=1e-15)


def test_after_composes():
    """f.after(g)(x) = f(g(x)), and X is its identity on both sides."""
    f, g = GELU_TANH, of("sub", of("mul", X, 3.0), 0.2)
    with jax.enable_x64(True):
        expected = f(jax.numpy.asarray(values(g)))
    np.testing.assert_allclose(values(f.after(g)), expected, rtol=1e-14)
    assert X.after(g) == g and g.after(X) == g


REFERENCES: dict[str, Any] = {
    "rsub": (lambda x: 2.0 - x, (2.0,)),
    "pow": (lambda x: x**2, (2.0,)),
    "elu": (lambda x: np.where(x > 0, x, 0.7 * np.expm1(x)), (0.7,)),
    "leaky_relu": (lambda x: np.where(x > 0, x, 0.1 * x), (0.1,)),
    "hardtanh": (lambda x: np.clip(x, -1, 0.5), (-1.0, 0.5)),
    "softplus": (lambda x: np.log1p(np.exp(x)), ()),
    "mish": (lambda x: x * np.tanh(np.log1p(np.exp(x))), ()),
    "hardswish": (lambda x: x * np.clip(x + 3, 0, 6) / 6, ()),
    "hardsigmoid": (lambda x: np.clip(x + 3, 0, 6) / 6, ()),
    "abs": (np.abs, ()),
    "square": (np.square, ()),
    "reciprocal": (lambda x: 1 / x, ()),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_operations_compute_what_their_names_say(name: str):
    """Values of numpy's own formula to rounding."""
    reference, arguments = REFERENCES[name]
    assert name in OPERATIONS
    np.testing.assert_allclose(values(of(name, X, *arguments)), reference(POINTS), rtol=1e-13)


def test_expressions_are_written_as_text():
    """Operations, arguments and numbers in the order in which they are applied."""
    assert written(of("mul", X, of("tanh", of("add", X, 0.5)))) == "mul(x, tanh(add(x, 0.5)))"

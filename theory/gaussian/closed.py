"""Closed forms of V_phi(qa, c, qb) = E[phi(x) phi(y)], (x, y) ~ N(0, [[qa, c], [c, qb]]), and of
V_phi' (order 1).

Every rule takes (qa, c, qb), sympy expressions or arrays of one broadcastable shape, and on arrays
``gap`` = 1 - rho^2 where that is known to more digits than c holds, and ``units``, ``ONE``
elsewhere; each is checked against quadrature in the tests. Arc-cosine kernels: Cho, Saul 2009; erf:
Williams 1997; gelu: Tsuchida et al. 2020, derived below.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from sigprop.language import activations
from sigprop.language.activation import Activation
from sigprop.theory.calculus.algebra import atan, determinant, one, pi, rational, sqrt, supplement

Rule = Callable[..., Any]
Units = tuple[Any, Any]
ONE: Units = (1, 1)
"""What the number 1 is next to qa and to qb: e^-2s where these leave out a scale e^s; V is in
units of both sides' e^s."""


def linear(qa: Any, c: Any, qb: Any, gap: Any = None, units: Units = ONE) -> Any:
    """V = c."""
    return c


def linear_1(qa: Any, c: Any, qb: Any, gap: Any = None, units: Units = ONE) -> Any:
    """V' = 1."""
    return one(c)


def relu(qa: Any, c: Any, qb: Any, gap: Any = None, units: Units = ONE) -> Any:
    """V = sqrt(qa qb) (sin theta + (pi - theta) cos theta) / (2 pi), cos theta = c / sqrt(qa
    qb)."""
    return (sqrt(determinant(qa, c, qb, gap)) + supplement(qa, c, qb, gap) * c) / (
        2 * pi(qa, c, qb)
    )


def relu_1(qa: Any, c: Any, qb: Any, gap: Any = None, units: Units = ONE) -> Any:
    """V' = (pi - theta) / (2 pi)."""
    return supplement(qa, c, qb, gap) / (2 * pi(qa, c, qb))


def leaky_relu(slope: float) -> dict[int, Rule]:
    """V = s c + (1 - s)^2 V_relu, V' = s + (1 - s)^2 V'_relu: phi = s x + (1 - s) relu, and E[x
    relu(y)] = c/2, E 1{x > 0} = 1/2."""
    ratio = Fraction(str(slope)).as_integer_ratio()

    def value(qa: Any, c: Any, qb: Any, gap: Any = None, units: Units = ONE) -> Any:
        s = rational(*ratio, qa, c, qb)
        return s * c + (1 - s) ** 2 * relu(qa, c, qb, gap)

    def derivative(qa: Any, c: Any, qb: Any, gap: Any = None, units: Units = ONE) -> Any:
        s = rational(*ratio, qa, c, qb)
        return s + (1 - s) ** 2 * relu_1(qa, c, qb, gap)

    return {0: value, 1: derivative}


def erf(qa: Any, c: Any, qb: Any, gap: Any = None, units: Units = ONE) -> Any:
    """V = (2/pi) asin(2 c / sqrt((1 + 2 qa)(1 + 2 qb))), as an arctangent (stable at large
    variances)."""
    value = 2 / pi(qa, c, qb) * atan(2 * c / sqrt(_erf_determinant(qa, c, qb, gap, units)))
    return value * _root(units)


def erf_1(qa: Any, c: Any, qb: Any, gap: Any = None, units: Units = ONE) -> Any:
    """V' = (4/pi) / sqrt((1 + 2 qa)(1 + 2 qb) - 4 c^2)."""
    return 4 / pi(qa, c, qb) / sqrt(_erf_determinant(qa, c, qb, gap, units)) * _root(units)


def _erf_determinant(qa: Any, c: Any, qb: Any, gap: Any = None, units: Units = ONE) -> Any:
    return (
        units[0] * units[1] + 2 * (qa * units[1] + qb * units[0]) + 4 * determinant(qa, c, qb, gap)
    )


def _root(units: Units) -> Any:
    """e^-s of both sides."""
    return 1 if units is ONE else sqrt(units[0]) * sqrt(units[1])


def gelu(qa: Any, c: Any, qb: Any, gap: Any = None, units: Units = ONE) -> Any:
    """V = c A + P (qa qb - c^2 + c^2 / (1 + qa) + c^2 / (1 + qb)), with the A and P of
    ``_gelu_parts``.

    Stein's lemma on x, then on y: E[x y Phi(x) Phi(y)] = c A + qa E[y p(x) Phi(y)] + c E[y p(y)
    Phi(x)], where p = Phi', E[y p(y) Phi(x)] = c P / (1 + qb) and E[y p(x) Phi(y)] = qb P - c^2 P /
    (1 + qa).
    """
    both, density, _ = _gelu_parts(qa, c, qb, gap, units)
    a, b = units
    return c * both + density * (
        determinant(qa, c, qb, gap) + c**2 * a / (a + qa) + c**2 * b / (b + qb)
    )


def gelu_1(qa: Any, c: Any, qb: Any, gap: Any = None, units: Units = ONE) -> Any:
    """V' = A + c P (1 / (1 + qa) + 1 / (1 + qb) + 1 / Delta): phi' = Phi(x) + x p(x), E[x y p(x)
    p(y)] = c P / Delta."""
    both, density, delta = _gelu_parts(qa, c, qb, gap, units)
    a, b = units
    return both + c * density * (a / (a + qa) + b / (b + qb) + a * b / delta)


def _gelu_parts(
    qa: Any, c: Any, qb: Any, gap: Any = None, units: Units = ONE
) -> tuple[Any, Any, Any]:
    """A = E[Phi(x) Phi(y)] = 1/4 + asin(c / sqrt((1 + qa)(1 + qb))) / (2 pi), P = E[p(x) p(y)] =
    1 / (2 pi sqrt(Delta)), Delta = (1 + qa)(1 + qb) - c^2; the arcsine as atan(c / sqrt(Delta))."""
    delta = units[0] * units[1] + qa * units[1] + qb * units[0] + determinant(qa, c, qb, gap)
    root = sqrt(delta)
    return (
        rational(1, 4, qa, c, qb) + atan(c / root) / (2 * pi(qa, c, qb)),
        1 / (2 * pi(qa, c, qb) * root),
        delta,
    )


CLOSED: dict[str, dict[int, Rule]] = {
    "linear": {0: linear, 1: linear_1},
    "relu": {0: relu, 1: relu_1},
    "erf": {0: erf, 1: erf_1},
    "gelu": {0: gelu, 1: gelu_1},
}


def rules(activation: Activation) -> dict[int, Rule] | None:
    """Order -> rule, or None where there is no closed form: a table about functions, not about a
    user's one that has such a name, or took it over."""
    if isinstance(activation.function, activations.LeakyRelu):
        return leaky_relu(activation.function.slope)
    known = activation.name in CLOSED and activation.function is getattr(
        activations, activation.name
    )
    return CLOSED[activation.name] if known else None


def homogeneous(activation: Activation) -> bool:
    """phi(r x) = r phi(x) for r > 0: a log scale drops out exactly."""
    return isinstance(activation.function, activations.LeakyRelu) or (
        rules(activation) is not None and activation.name in ("linear", "relu")
    )


def has_closed_form(activation: Activation) -> bool:
    """Whether V_phi and V_phi' have closed forms."""
    return rules(activation) is not None

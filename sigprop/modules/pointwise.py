"""Elementwise functions as they are met in a graph: one expression in x, evaluated by jax, and
known by a registered name where it is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sigprop.errors import InputError
from sigprop.language.activation import Activation
from sigprop.language.activations import ACTIVATIONS

ALIKE = 1e-6  # of the largest value: float32 constants in a graph against exact ones


@dataclass(frozen=True)
class Expression:
    """operation(arguments), each a number or an expression; 'x' is the variable."""

    operation: str
    arguments: tuple[Expression | float, ...] = ()

    def __call__(self, x: Any) -> Any:
        if self.operation == "x":
            return x
        values = [a(x) if isinstance(a, Expression) else a for a in self.arguments]
        return OPERATIONS[self.operation](_jax(), *values)

    def after(self, inner: Expression) -> Expression:
        """Return self(inner(x))."""
        if self.operation == "x":
            return inner
        return Expression(
            self.operation,
            tuple(a.after(inner) if isinstance(a, Expression) else a for a in self.arguments),
        )

    @property
    def factor(self) -> float | None:
        """c where the expression is c x; None where it is not."""
        if self.operation == "x":
            return 1.0
        numbers = [a for a in self.arguments if not isinstance(a, Expression)]
        inner = [a for a in self.arguments if isinstance(a, Expression)]
        if self.operation == "neg":
            return None if (of := inner[0].factor) is None else -of
        if self.operation not in ("mul", "div") or len(inner) != 1:
            return None
        if self.operation == "div" and self.arguments[0] is not inner[0]:
            return None
        of = inner[0].factor
        if of is None:
            return None
        return of * numbers[0] if self.operation == "mul" else of / numbers[0]


X = Expression("x")


def _jax() -> Any:
    import jax

    return jax


def values(function: Expression, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a function's values at some points, in float64."""
    jax = _jax()
    with jax.enable_x64(True):
        return np.asarray(function(jax.numpy.asarray(points)), dtype=np.float64)


def _gelu(jax: Any, x: Any, tanh: float) -> Any:
    return jax.nn.gelu(x, approximate=bool(tanh))


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": lambda jax, a, b: a + b,
    "sub": lambda jax, a, b: a - b,
    "rsub": lambda jax, a, b: b - a,
    "mul": lambda jax, a, b: a * b,
    "div": lambda jax, a, b: a / b,
    "pow": lambda jax, a, b: a ** (int(b) if float(b).is_integer() else b),
    "neg": lambda jax, a: -a,
    "abs": lambda jax, a: jax.numpy.abs(a),
    "exp": lambda jax, a: jax.numpy.exp(a),
    "log1p": lambda jax, a: jax.numpy.log1p(a),
    "sqrt": lambda jax, a: jax.numpy.sqrt(a),
    "rsqrt": lambda jax, a: 1 / jax.numpy.sqrt(a),
    "reciprocal": lambda jax, a: 1 / a,
    "square": lambda jax, a: a * a,
    "tanh": lambda jax, a: jax.numpy.tanh(a),
    "sin": lambda jax, a: jax.numpy.sin(a),
    "cos": lambda jax, a: jax.numpy.cos(a),
    "erf": lambda jax, a: jax.scipy.special.erf(a),
    "erfc": lambda jax, a: jax.scipy.special.erfc(a),
    "log": lambda jax, a: jax.numpy.log(a),
    "expm1": lambda jax, a: jax.numpy.expm1(a),
    "sign": lambda jax, a: jax.numpy.sign(a),
    "cbrt": lambda jax, a: jax.numpy.cbrt(a),
    "tan": lambda jax, a: jax.numpy.tan(a),
    "atan": lambda jax, a: jax.numpy.arctan(a),
    "sinh": lambda jax, a: jax.numpy.sinh(a),
    "cosh": lambda jax, a: jax.numpy.cosh(a),
    "sigmoid": lambda jax, a: jax.nn.sigmoid(a),
    "relu": lambda jax, a: jax.numpy.maximum(a, 0),
    "silu": lambda jax, a: a * jax.nn.sigmoid(a),
    "gelu": _gelu,
    "relu6": lambda jax, a: jax.numpy.clip(a, 0, 6),
    "softplus": lambda jax, a, beta=1.0, threshold=20.0: jax.numpy.where(
        beta * a > threshold, a, jax.nn.softplus(beta * a) / beta
    ),
    "mish": lambda jax, a: a * jax.numpy.tanh(jax.nn.softplus(a)),
    "elu": lambda jax, a, alpha, scale=1.0, inside=1.0: (
        scale * jax.numpy.where(a > 0, a, alpha * jax.numpy.expm1(inside * jax.numpy.minimum(a, 0)))
    ),
    "selu": lambda jax, a: jax.nn.selu(a),
    "celu": lambda jax, a, alpha: jax.nn.celu(a, alpha),
    "log_sigmoid": lambda jax, a: jax.nn.log_sigmoid(a),
    "threshold": lambda jax, a, least, other: jax.numpy.where(a > least, a, other),
    "softshrink": lambda jax, a, by: jax.numpy.sign(a) * jax.numpy.maximum(abs(a) - by, 0),
    "hardshrink": lambda jax, a, by: jax.numpy.where(abs(a) > by, a, 0.0),
    "leaky_relu": lambda jax, a, slope: jax.nn.leaky_relu(a, slope),
    "hardtanh": lambda jax, a, low, high: jax.numpy.clip(a, low, high),
    "clamp": lambda jax, a, low, high: jax.numpy.clip(a, low, high),
    "clamp_min": lambda jax, a, low: jax.numpy.maximum(a, low),
    "clamp_max": lambda jax, a, high: jax.numpy.minimum(a, high),
    "hardsigmoid": lambda jax, a: jax.numpy.clip(a / 6 + 0.5, 0, 1),
    "hardswish": lambda jax, a: a * jax.numpy.clip(a / 6 + 0.5, 0, 1),
    "lax.max": lambda jax, a, b: jax.numpy.maximum(a, b),
    "lax.min": lambda jax, a, b: jax.numpy.minimum(a, b),
    "lax.clamp": lambda jax, low, a, high: jax.numpy.clip(a, low, high),
    "lax.gt": lambda jax, a, b: a > b,
    "lax.ge": lambda jax, a, b: a >= b,
    "lax.lt": lambda jax, a, b: a < b,
    "lax.le": lambda jax, a, b: a <= b,
    "lax.eq": lambda jax, a, b: a == b,
    "lax.ne": lambda jax, a, b: a != b,
    "lax.and": lambda jax, a, b: jax.numpy.logical_and(a, b),
    "lax.or": lambda jax, a, b: jax.numpy.logical_or(a, b),
    "lax.not": lambda jax, a: jax.numpy.logical_not(a),
    "lax.select_n": lambda jax, which, a, b: jax.numpy.where(which, b, a),
}
"""What is elementwise: operation to what jax computes of its arguments."""


def activation(expression: Expression) -> Activation:
    """Return the registered activation that the expression equals, else one of its own.

    Raises ``InputError`` where it is not finite on [-6, 6].
    """
    import jax

    with jax.enable_x64(True):
        x = jax.numpy.asarray(np.arange(-120, 121) / 20)  # 0 is one of them
        far = jax.numpy.asarray([-40.0, -15.0, 15.0, 40.0])  # relu6 is relu up to 6
        values, beyond = (np.asarray(expression(at), dtype=np.float64) for at in (x, far))
        if not np.isfinite(values).all():
            raise InputError(
                f"activation {written(expression)}: not finite everywhere; accepted: functions "
                f"that are finite on the real line"
            )
        scale = np.abs(values).max()
        for other in ACTIVATIONS.values():
            if np.abs(np.asarray(other.function(x)) - values).max() <= ALIKE * max(scale, 1.0):
                with np.errstate(all="ignore"):
                    if np.allclose(other.function(far), beyond, rtol=ALIKE, atol=ALIKE):
                        return other
    return Activation(written(expression), expression)


def written(expression: Expression | float) -> str:
    """Return the expression as text."""
    if not isinstance(expression, Expression):
        return f"{expression:g}"
    if expression.operation == "x":
        return "x"
    return f"{expression.operation}({', '.join(map(written, expression.arguments))})"

"""Scalars of a description: named numbers and arithmetic on them, read under any algebra (floats,
arrays, sympy).

A vector expression never holds the *value* of a parameter, only its name, so one structure (and one
compilation) serves all values. ``evaluate`` gives the scalar a meaning: floats for a network,
traced arrays for the engines, symbols for a derivation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True)
class Scalar:
    """Base of scalar expressions; ``+ - * / **`` build larger ones, with each other and with
    plain numbers."""

    def __add__(self, other: ScalarLike) -> Scalar:
        return Operation("+", self, as_scalar(other))

    def __radd__(self, other: ScalarLike) -> Scalar:
        return Operation("+", as_scalar(other), self)

    def __sub__(self, other: ScalarLike) -> Scalar:
        return Operation("-", self, as_scalar(other))

    def __rsub__(self, other: ScalarLike) -> Scalar:
        return Operation("-", as_scalar(other), self)

    def __mul__(self, other: ScalarLike) -> Scalar:
        if not _is_scalar(other):
            return NotImplemented  # scalar * vector is the vector's business
        return Operation("*", self, as_scalar(other))

    def __rmul__(self, other: ScalarLike) -> Scalar:
        return self.__mul__(other)

    def __truediv__(self, other: ScalarLike) -> Scalar:
        return Operation("/", self, as_scalar(other))

    def __rtruediv__(self, other: ScalarLike) -> Scalar:
        return Operation("/", as_scalar(other), self)

    def __pow__(self, other: ScalarLike) -> Scalar:
        return Operation("**", self, as_scalar(other))

    def __neg__(self) -> Scalar:
        return Operation("*", Constant(-1), self)


ScalarLike = Scalar | int | float | Fraction
"""What arithmetic with scalars takes."""


@dataclass(frozen=True)
class Constant(Scalar):
    """A plain number; fractions stay exact in derivations."""

    value: int | float | Fraction

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Number(Scalar):
    """A named number, e.g. ``Number("residual_scale", r"\\varepsilon")``; its value lives in
    ``Architecture.numbers``."""

    name: str
    latex: str = ""

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Operation(Scalar):
    """``left op right`` with op one of ``+ - * / **``."""

    op: str
    left: Scalar
    right: Scalar

    def __str__(self) -> str:
        sides = (
            f"({side})" if isinstance(side, Operation) else str(side)
            for side in (self.left, self.right)
        )
        return self.op.join(sides)


def _is_scalar(value: object) -> bool:
    return isinstance(value, (Scalar, int, float, Fraction))


def as_scalar(value: object) -> Scalar:
    """A scalar as it is; an int, float or Fraction as a constant."""
    if isinstance(value, Scalar):
        return value
    if isinstance(value, (int, float, Fraction)) and not isinstance(value, bool):
        return Constant(value)
    raise TypeError(f"a scalar expression takes numbers and sp.Number, not {type(value).__name__}")


Value = Any
"""A number of whichever algebra a scalar is read under: a float, an array, a symbol."""


def evaluate(
    scalar: Scalar,
    values: Mapping[str, Value],
    constant: Callable[[int | float | Fraction], Value] = float,
) -> Value:
    """The scalar's value where ``values[name]`` gives each named number and ``constant`` reads
    the plain ones."""
    match scalar:
        case Constant(value):
            return constant(value)
        case Number(name, _):
            return values[name]
        case Operation(op, left, right):
            x, y = evaluate(left, values, constant), evaluate(right, values, constant)
            if op == "+":
                return x + y
            if op == "-":
                return x - y
            if op == "*":
                return x * y
            return x / y if op == "/" else x**y
        case _:
            raise TypeError(f"not a scalar: {scalar!r}")


def names(scalar: Scalar) -> frozenset[Number]:
    """The named numbers that a scalar holds."""
    match scalar:
        case Number():
            return frozenset((scalar,))
        case Operation(_, left, right):
            return names(left) | names(right)
        case _:
            return frozenset()

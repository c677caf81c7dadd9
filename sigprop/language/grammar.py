"""A small grammar for numbers that depend on size, such as ``1/(N*sqrt(L))``: text to ``Scalar``,
nothing executed.

    sum     = product (("+" | "-") product)*
    product = unary (("*" | "/") unary)*
    unary   = "-" unary | power
    power   = atom (("**" | "^") unary)?
    atom    = number | N | L | S | n | l | a | "sqrt" "(" sum ")" | "(" sum ")"

N: loops, L: distinct blocks, S = L s: distinct sub-blocks, n: model_width; l: the application's
block, a: the application, from 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from sigprop.errors import InputError
from sigprop.language.scalar import Constant, Number, Operation, Scalar, evaluate

SIZES = ("N", "L", "S")
PLACES = ("l", "a")
Floats = NDArray[np.float64]
NAMES = (*SIZES, *PLACES, "n")
_TOKEN = re.compile(
    r"\s*(?:((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)|(\*\*|[-+*/^()])|([A-Za-z_]\w*))"
)
_LONGEST = 200  # characters
_DEEPEST = 30  # nested brackets, signs and exponents; keeps the recursion far from Python's limit


class _Parser:
    def __init__(self, text: str, names: tuple[str, ...]):
        self.names = names
        self.tokens: list[str] = []
        position = 0
        while position < len(text.rstrip()):
            match = _TOKEN.match(text, position)
            if not match:
                raise ValueError(f"'{text[position:].strip()[0]}' is not part of the grammar")
            self.tokens.append(match.group().strip())
            position = match.end()
        self.at = 0
        self.depth = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, *expected: str) -> str:
        token = self.peek()
        if expected and token not in expected:
            raise ValueError(f"expected {' or '.join(expected)}, found '{token or 'the end'}'")
        self.at += 1
        return token

    def sum(self) -> Scalar:
        left = self.product()
        while self.peek() in ("+", "-"):
            left = Operation(self.take(), left, self.product())
        return left

    def product(self) -> Scalar:
        left = self.unary()
        while self.peek() in ("*", "/"):
            left = Operation(self.take(), left, self.unary())
        return left

    def unary(self) -> Scalar:
        self.depth += 1  # every way to nest passes here
        if self.depth > _DEEPEST:
            raise ValueError(f"nested deeper than {_DEEPEST}")
        if self.peek() == "-":
            self.take()
            scalar = -self.unary()
        else:
            scalar = self.power()
        self.depth -= 1
        return scalar

    def power(self) -> Scalar:
        base = self.atom()
        if self.peek() in ("**", "^"):
            self.take()
            return Operation("**", base, self.unary())
        return base

    def atom(self) -> Scalar:
        token = self.take()
        if token == "(":
            inner = self.sum()
            self.take(")")
            return inner
        if token == "sqrt":
            self.take("(")
            inner = self.sum()
            self.take(")")
            return Operation("**", inner, Constant(Fraction(1, 2)))
        if token in self.names:
            return Number(token)
        if token and (token[0].isdigit() or token[0] == "."):
            return Constant(int(token) if token.isdigit() else float(token))
        raise ValueError(
            f"'{token or 'the end'}' where a number, {', '.join(self.names)}, sqrt( or ( should "
            f"stand"
        )


def parse(text: str, parameter: str, names: tuple[str, ...] = NAMES) -> Scalar:
    """The scalar that ``text`` writes in these names; raises ``InputError`` that names the
    parameter and what the grammar accepts."""
    shown = text if len(text) <= 60 else text[:57] + "..."
    try:
        if len(text) > _LONGEST:
            raise ValueError(f"longer than {_LONGEST} characters")
        parser = _Parser(text, names)
        scalar = parser.sum()
        if parser.peek():
            raise ValueError(f"'{parser.peek()}' left over")
    except ValueError as error:
        raise InputError(
            f"{parameter}={shown!r}: {error}; accepted: a number or an expression in "
            f"{', '.join(names)} such as 1/(N*sqrt(L))"
        ) from None
    return scalar


def finite(scalar: Scalar, at: Mapping[str, float | Floats]) -> float | Floats | None:
    """Its float value (an array, where sizes or places are arrays) at these sizes; None where
    that is not a finite number."""
    with np.errstate(all="ignore"):
        try:
            value = evaluate(scalar, at)
        except (ZeroDivisionError, OverflowError):
            return None
    return value if _real(value) and np.all(np.isfinite(value)) else None


def _real(value: object) -> TypeGuard[float | Floats]:
    """Whether a value is no complex number, which a root of a negative one is."""
    return isinstance(value, (float, np.ndarray))


def resolve(value: str | int | float, parameter: str, sizes: dict[str, int]) -> float:
    """The finite number that ``value`` (a number, or text of the grammar in N, L, S) has at
    these sizes."""
    scalar = parse(value, parameter, SIZES) if isinstance(value, str) else Constant(value)
    number = finite(scalar, {name: float(size) for name, size in sizes.items()})
    if number is None:
        at = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise InputError(
            f"{parameter}={value!r} has no finite value at {at}; accepted: an expression that is "
            f"a finite number"
        )
    return float(number)

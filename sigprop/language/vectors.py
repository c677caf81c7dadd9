"""The base of vector expressions: factors and sums of them, token tables, and how nodes check
what they are given."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, TypeGuard

from sigprop.errors import InputError, short
from sigprop.language.scalar import Operation, Scalar, ScalarLike, as_scalar


@dataclass(frozen=True)
class Vector:
    """Base of vector expressions: ``+``, ``-`` with vectors, ``*``, ``/`` with scalars.
    compound: written in brackets as a factor."""

    compound: ClassVar[bool] = False

    def __add__(self, other: Vector) -> Vector:
        return Sum(_terms(self) + _terms(other))

    def __sub__(self, other: Vector) -> Vector:
        return self + (-1) * other

    def __neg__(self) -> Vector:
        return (-1) * self

    def __mul__(self, factor: ScalarLike) -> Vector:
        return Scale(as_scalar(factor), self)

    __rmul__ = __mul__

    def __truediv__(self, divisor: ScalarLike) -> Vector:
        return Scale(1 / as_scalar(divisor), self)


def _terms(vector: object) -> tuple[Vector, ...]:
    if not isinstance(vector, Vector):
        raise TypeError(
            f"a vector expression adds to vector expressions, not to {type(vector).__name__}"
        )
    return vector.terms if isinstance(vector, Sum) else (vector,)


def vectors_in(value: object) -> tuple[Vector, ...]:
    """The vector expressions that a tuple holds; none where it is no tuple, or holds others."""
    if not _is_tuple(value):
        return ()
    found = tuple(entry for entry in value if isinstance(entry, Vector))
    return found if len(found) == len(value) else ()


def _is_tuple(value: object) -> TypeGuard[tuple[object, ...]]:
    return isinstance(value, tuple)


def refuse(node: object, name: str, value: object, accepted: str) -> InputError:
    """What a node says of a field that cannot be."""
    return InputError(
        f"{type(node).__name__}: {name}={short(repr(value), 40)}; accepted: {accepted}"
    )


def check_type(
    node: object, name: str, kind: type[object] | tuple[type[object], ...], accepted: str
) -> None:
    """Raise ``InputError`` unless the field is of that type, or one of those."""
    if not isinstance(value := getattr(node, name), kind):
        raise refuse(node, name, value, accepted)


def check_vectors(node: object, *names: str) -> None:
    """Raise ``InputError`` unless these fields hold vector expressions."""
    for name in names:
        if not isinstance(value := getattr(node, name), Vector):
            raise refuse(node, name, value, "a vector expression, such as Read()")


def take_scalars(node: object, *names: str) -> None:
    """Make these fields scalars (plain numbers become constants); raises ``InputError``."""
    for name in names:
        value = getattr(node, name)
        try:
            object.__setattr__(node, name, as_scalar(value))
        except TypeError:
            raise refuse(node, name, value, "a number or sp.Number('name')") from None


def check_name(node: object, name: str) -> None:
    """Raise ``InputError`` unless the field is a name."""
    if not isinstance(value := getattr(node, name), str) or not value:
        raise refuse(node, name, value, "a name of its own")


def take_rows(node: object) -> None:
    """Make ``rows`` a positive ``Fraction``; raises ``InputError``."""
    rows: object = vars(node)["rows"]
    if isinstance(rows, bool) or not isinstance(rows, (int, Fraction)) or rows <= 0:
        raise refuse(node, "rows", rows, "a positive integer or Fraction, in units of the width")
    object.__setattr__(node, "rows", Fraction(rows))


def check_count(node: object, name: str, least: int = 1) -> None:
    """Raise ``InputError`` unless the field is an integer from ``least`` on."""
    if (
        isinstance(value := getattr(node, name), bool)
        or not isinstance(value, int)
        or value < least
    ):
        raise refuse(node, name, value, f"an integer from {least} on")


def within(vector: Vector) -> str:
    """The vector as a factor of something else."""
    return f"({vector})" if vector.compound else str(vector)


@dataclass(frozen=True)
class Scale(Vector):
    """factor * of."""

    factor: Scalar
    of: Vector

    def __post_init__(self) -> None:
        take_scalars(self, "factor")
        check_vectors(self, "of")

    def __str__(self) -> str:
        sums = isinstance(self.factor, Operation) and self.factor.op in "+-"
        return f"{f'({self.factor})' if sums else self.factor} {within(self.of)}"


@dataclass(frozen=True)
class Sum(Vector):
    """The sum of ``terms``."""

    compound: ClassVar[bool] = True
    terms: tuple[Vector, ...]

    def __post_init__(self) -> None:
        if not vectors_in(self.terms):
            raise refuse(self, "terms", self.terms, "a tuple of vector expressions")

    def __str__(self) -> str:
        return " + ".join(map(str, self.terms))


@dataclass(frozen=True)
class TokenTable:
    """A named table of numbers with token axes, [T] or [T, T], one for all applications or one
    each; its values are the architecture's.

    heads: how many kinds of heads have a table [T, T] of their own, [heads, T, T] (a bias on scores
    only); None: one for all. A network of more heads holds every kind as often: head h has the
    table of kind h mod heads.
    """

    name: str
    axes: int = 1
    heads: int | None = None

    def __post_init__(self) -> None:
        check_name(self, "name")
        if self.axes not in (1, 2):
            raise refuse(self, "axes", self.axes, "1 or 2 axes of tokens")
        if self.heads is None:
            return
        check_count(self, "heads")
        if self.axes != 2:
            raise refuse(self, "heads", self.heads, "None, or axes=2")

    def shape(self, tokens: int) -> tuple[int, ...]:
        """The shape of its values at one application."""
        return (() if self.heads is None else (self.heads,)) + (tokens,) * self.axes


def check_table(node: object, name: str, axes: int) -> None:
    """Raise ``InputError`` unless the field holds a token table of so many axes, the same for all
    heads."""
    value = getattr(node, name)
    if not isinstance(value, TokenTable) or value.axes != axes or value.heads is not None:
        raise refuse(node, name, value, f"a TokenTable of {axes} token axes")

"""What can be read off a vector expression without evaluating it: its parts, its length, the
numbers it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from fractions import Fraction
from typing import TypeVar

from sigprop.errors import InputError
from sigprop.language.expression import Attend, Bias, Linear, TokenTable, Vector
from sigprop.language.scalar import Number, Scalar, names
from sigprop.language.vectors import vectors_in

Node = TypeVar("Node", bound=Vector)


def children(expression: Vector) -> Iterator[Vector]:
    """The vector expressions directly inside ``expression``."""
    for field in fields(expression):
        value = getattr(expression, field.name)
        if isinstance(value, Vector):
            yield value
        else:
            yield from vectors_in(value)


def walk(expression: Vector) -> Iterator[Vector]:
    """``expression`` and everything inside it, parents first."""
    yield expression
    for child in children(expression):
        yield from walk(child)


def mapped(expression: Node, change: Callable[[Vector], Vector]) -> Node:
    """The same node with ``change`` made to the vector expressions directly inside it."""

    def new(value: object) -> object:
        if isinstance(value, Vector):
            return change(value)
        return tuple(map(change, inside)) if (inside := vectors_in(value)) else value

    return replace(
        expression, **{f.name: new(getattr(expression, f.name)) for f in fields(expression)}
    )


def replaced(expression: Vector, new: Mapping[Vector, Vector]) -> Vector:
    """The expression with every occurrence of a key put in place of by its value (which is not
    looked into)."""
    if expression in new:
        return new[expression]
    return mapped(expression, lambda inside: replaced(inside, new))


def rows_of(expression: Vector) -> Fraction:
    """The expression's length as a multiple of the width n."""
    if isinstance(expression, (Linear, Bias)):
        return expression.rows
    if isinstance(expression, Attend):
        return rows_of(expression.query)
    lengths = {rows_of(child) for child in children(expression)} or {Fraction(1)}
    if len(lengths) > 1:
        raise ValueError(
            f"vectors of different lengths meet in {type(expression).__name__}: {sorted(lengths)}"
        )
    return lengths.pop()


def numbers_in(expression: Vector) -> frozenset[Number]:
    """All named numbers of an expression."""
    found: set[Number] = set()
    for node in walk(expression):
        for field in fields(node):
            value = getattr(node, field.name)
            if isinstance(value, Scalar):
                found |= names(value)
    return frozenset(found)


def tables_in(expression: Vector) -> frozenset[TokenTable]:
    """All token tables of an expression."""
    return frozenset(
        value
        for node in walk(expression)
        for field in fields(node)
        if isinstance(value := getattr(node, field.name), TokenTable)
    )


def group_of(attend: Attend) -> int:
    """g: query heads that share one head of keys and values; raises ``InputError`` where that is
    no integer."""
    ratio = rows_of(attend.query) / rows_of(attend.key)
    if ratio.denominator != 1 or rows_of(attend.key) != rows_of(attend.value):
        rows = ", ".join(str(rows_of(leg)) for leg in (attend.query, attend.key, attend.value))
        raise InputError(f"attention: {rows} rows; accepted: query = g x key = g x value")
    return int(ratio)

"""One application of a module as a sub-block: what every kind of term is in a branch."""

from __future__ import annotations

import math
from dataclasses import replace

from sigprop.errors import InputError
from sigprop.language.expression import Activate, Product, Vector
from sigprop.modules.pointwise import activation
from sigprop.modules.terms import (
    Attention,
    Gain,
    Matrix,
    Norm,
    Part,
    Plus,
    Pointwise,
    Shift,
    Term,
    Times,
)
from sigprop.reading.attention import attention
from sigprop.reading.converter import Converter, Rule
from sigprop.reading.stem import where


def _part(converter: Converter, term: Part) -> Vector:
    """Rows of a matrix that several share; raises ``InputError`` for a choice of tokens, and for
    rows that lie apart in a matrix whose rows have several laws."""
    inner = term.of
    others = term.whole[: term.axis] + term.whole[term.axis + 1 :]
    if converter.stem.tokens not in others:
        raise InputError(
            f"{where(term)}: a choice of tokens in a branch; accepted: all tokens, or features"
        )
    if not isinstance(inner, Matrix) or inner.rows % term.length:
        if isinstance(inner, Pointwise):
            function = inner.function
            part = replace(term, of=inner.of)
            return _pointwise(converter, Pointwise(term.node, part, function))
        raise converter.refused(term)
    together = math.prod(term.whole[term.axis :]) >= inner.rows
    if not together and converter.stem.parameters[inner.parameter].pieces:
        raise InputError(
            f"{inner.parameter}: filled in pieces, and read in rows that lie apart; accepted: one "
            f"law for all rows"
        )
    each = inner.rows // term.length
    return converter.matrix(inner, term.start * each, term.stop * each)


def _matrix(converter: Converter, term: Matrix) -> Vector:
    return converter.matrix(term, 0, term.rows)


def _wrap(converter: Converter, term: Norm | Gain | Shift) -> Vector:
    return converter.wrapped(term, converter.vector(term.of))


def _pointwise(converter: Converter, term: Pointwise) -> Vector:
    factor = term.function.factor
    of = converter.vector(term.of)
    return (
        converter.times(factor, of)
        if factor is not None
        else Activate(activation(term.function), of)
    )


def _plus(converter: Converter, term: Plus) -> Vector:
    return converter.vector(term.left) + converter.vector(term.right)


def _times(converter: Converter, term: Times) -> Vector:
    return Product(converter.vector(term.left), converter.vector(term.right))


RULES: dict[type[Term], Rule] = {
    Matrix: _matrix,
    Part: _part,
    Norm: _wrap,
    Gain: _wrap,
    Shift: _wrap,
    Pointwise: _pointwise,
    Plus: _plus,
    Times: _times,
    Attention: attention,
}
"""Kind of term to the expression that it is in a branch."""

"""One application of a module as a sub-block: what every kind of term is in a branch."""

from __future__ import annotations

import math
from dataclasses import replace

from sigprop.errors import InputError
from sigprop.language.expression import Activate, Product, Read, Vector
from sigprop.language.nodes import Experts
from sigprop.modules.pointwise import Expression, X, activation
from sigprop.modules.terms import (
    Attention,
    Gain,
    Matrix,
    Norm,
    Part,
    Plus,
    Pointwise,
    Routed,
    Sent,
    Shift,
    Sloped,
    Term,
    Times,
)
from sigprop.reading.converter import Converter, Drawn, Rule
from sigprop.reading.rules.attention import attention
from sigprop.reading.stem import where


def _part(converter: Converter, term: Part) -> Vector:
    """Rows of a matrix that several share; raises ``InputError`` for a choice of tokens, and for
    rows that lie apart in a matrix whose rows have several laws."""
    inner = term.of
    others = term.whole[: term.axis] + term.whole[term.axis + 1 :]
    experts = isinstance(inner, Matrix) and inner.experts > 1
    if converter.stem.tokens not in others and not experts:
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


def _sloped(converter: Converter, term: Sloped) -> Vector:
    """A leaky relu of the slope that the parameter holds; raises ``InputError`` where slopes
    differ."""
    law = converter.stem.spread(term.parameter)
    if law.variance:
        raise InputError(
            f"{term.parameter}: slopes that are {law}; accepted: one slope at initialisation"
        )
    function = Expression("leaky_relu", (X, law.mean))
    return Activate(activation(function), converter.vector(term.of))


def _plus(converter: Converter, term: Plus) -> Vector:
    return converter.vector(term.left) + converter.vector(term.right)


def _times(converter: Converter, term: Times) -> Vector:
    product = Product(converter.vector(term.left), converter.vector(term.right))
    lengths = {side.shape[-1] for side in (term.left, term.right)}
    if len(lengths) > 1:
        raise InputError(
            f"{where(term)}: a product of {min(lengths)} and {max(lengths)} features; accepted: of "
            f"as many features (a factor of each token that a matrix computes has no rule)"
        )
    return product


def _sent(converter: Converter, term: Sent) -> Vector:
    if id(term) not in converter.sent:
        raise converter.refused(term)
    return converter.vector(term.of)


def _routed(converter: Converter, term: Routed) -> Vector:
    """A mixture of experts; raises ``InputError`` for a router that sees something else than the
    branch does, or whose matrix has no law."""
    converter.sent |= {id(sent) for sent in term.sent}
    router, law = term.router, converter.stem.law(term.router.parameter)
    of, read = converter.vector(term.of), converter.vector(router.of)
    if read != Read(0) or law.mean:
        raise InputError(
            f"{where(router)}: a router of {read if read != Read(0) else law}; accepted: a matrix "
            f"drawn around zero, of what the branch reads first"
        )
    drawn = Drawn(router.parameter, 0, router.rows, law, router.columns)
    name = converter.weight(drawn)
    variance = converter.number(law.variance * router.columns, name)
    return Experts(name, of, variance, term.count, term.chosen, term.among)


RULES: dict[type[Term], Rule] = {
    Matrix: _matrix,
    Part: _part,
    Norm: _wrap,
    Gain: _wrap,
    Shift: _wrap,
    Pointwise: _pointwise,
    Sloped: _sloped,
    Plus: _plus,
    Times: _times,
    Attention: attention,
    Sent: _sent,
    Routed: _routed,
}
"""Kind of term to the expression that it is in a branch."""

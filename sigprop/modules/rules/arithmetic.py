"""Sums, differences, products and quotients of two terms, of a term and a number or fixed ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sigprop.modules.compounds.norms import less, normed, same
from sigprop.modules.lookup import Terms
from sigprop.modules.patterns import fused
from sigprop.modules.pointwise import Expression, X
from sigprop.modules.rules.common import applied
from sigprop.modules.terms import (
    Embedding,
    Fixed,
    Gain,
    Offset,
    Plus,
    Pointwise,
    Shift,
    Source,
    Term,
    Times,
    Weight,
    Weighted,
    base,
)


def binary(name: str) -> Callable[[Terms, Any], Term]:
    """The rule of ``+ - * / **`` of two terms, of a term and a number, of a term and fixed ones."""

    def make(terms: Terms, node: Any) -> Term:
        left, right = node.args[:2]
        alpha = node.args[2] if len(node.args) > 2 else node.kwargs.get("alpha", 1)
        numbers = terms.number(left), terms.number(right)
        if numbers[1] is not None:
            if name == "rsub" and alpha != 1:
                return terms.unknown(node)
            value = numbers[1] * (alpha if name in ("add", "sub") else 1)
            if (name, value) in (("add", 0.0), ("sub", 0.0), ("mul", 1.0), ("div", 1.0)):
                return terms.term(left)
            return applied(node, Expression(name, (X, value)), terms.term(left))
        if numbers[0] is not None and name != "pow":
            return applied(node, Expression(name, (numbers[0], X)), terms.term(right))
        if name in ("pow", "rsub"):
            return terms.unknown(node)
        return _of_two(terms, node, name, float(alpha) if name in ("add", "sub") else 1.0)

    return make


def _of_two(terms: Terms, node: Any, name: str, alpha: float) -> Term:
    left, right = (terms.term(n) for n in node.args[:2])
    if alpha != 1:
        right = applied(node, Expression("mul", (X, alpha)), right)
    (u, f), (v, g) = base(left), base(right)
    curved = name in ("mul", "div") or f.factor is None or g.factor is None
    if same(u, v) and not isinstance(u, Fixed) and curved:
        return Pointwise(node, u, Expression(name, (f, g)))
    for one, other in ((left, right), (right, left)):
        if isinstance(other, Fixed) and name in ("add", "mul"):
            return (Offset if name == "add" else Weighted)(node, one, other)
        parameter, function = base(other)
        if not isinstance(parameter, Weight) or any(n != 1 for n in parameter.shape[:-1]):
            continue
        if not isinstance(one, (Weight, Embedding, Source)):
            if name == "mul":
                return Gain(node, one, parameter.parameter, function)
            if name == "add" and function == X:
                return Shift(node, one, parameter.parameter)
    if name in ("add", "sub"):
        right = right if name == "add" else applied(node, Expression("neg", (X,)), right)
        total = Plus(node, left, right)
        return less(total) or fused(total, terms.graph)
    right = right if name == "mul" else applied(node, Expression("reciprocal", (X,)), right)
    product = Times(node, left, right)
    return normed(product) or product

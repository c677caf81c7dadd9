"""Products of matrices: a parameter's, or of two terms."""

from __future__ import annotations

from typing import Any

from sigprop.modules.lookup import Terms
from sigprop.modules.patterns import fused
from sigprop.modules.pointwise import Expression, X
from sigprop.modules.rules.common import applied, turned
from sigprop.modules.terms import Contract, Fixed, Matrix, Offset, Term, Weight


def linear(terms: Terms, node: Any) -> Term:
    of, weight, *rest = node.args
    bias = rest[0] if rest else node.kwargs.get("bias")
    rows, columns = weight.meta["val"].shape
    return _matrix(terms, node, of, weight, bias, int(turned(weight)), rows, columns)


def addmm(terms: Terms, node: Any) -> Term:
    bias, of, weight = node.args[:3]
    if any(node.kwargs.get(name, 1) != 1 for name in ("alpha", "beta")):
        return terms.unknown(node)
    columns, rows = weight.meta["val"].shape
    return _matrix(terms, node, of, weight, bias, 1 - int(turned(weight)), rows, columns)


def _matrix(terms: Terms, node: Any, of: Any, weight: Any, bias: Any, *sizes: int) -> Term:
    w, b = terms.term(weight), None if bias is None else terms.term(bias)
    if not isinstance(w, Weight) or not (b is None or isinstance(b, Weight)):
        return terms.unknown(node)
    return Matrix(node, terms.term(of), w.parameter, b and b.parameter, *sizes)


def matmul(terms: Terms, node: Any) -> Term:
    left, right = node.args[:2]
    weight = terms.term(right)
    if isinstance(weight, Weight) and len(right.meta["val"].shape) == 2 == len(weight.shape):
        columns, rows = right.meta["val"].shape
        axis = 1 - int(turned(right))
        return Matrix(node, terms.term(left), weight.parameter, None, axis, rows, columns)
    return fused(_contract(terms, node, left, right), terms.graph)


def _contract(terms: Terms, node: Any, left: Any, right: Any) -> Contract:
    """A product of matrices of two terms."""
    return Contract(node, terms.term(left), terms.term(right), left.meta["val"].shape[-1])


def baddbmm(terms: Terms, node: Any) -> Term:
    """Fixed numbers (slopes on scores) plus a multiple of a product of matrices."""
    names = ("input", "batch1", "batch2")
    given = dict(zip(names, node.args, strict=False)) | node.kwargs
    fixed = terms.term(given["input"])
    if not isinstance(fixed, Fixed) or given.get("beta", 1) != 1:
        return terms.unknown(node)
    product: Term = _contract(terms, node, given["batch1"], given["batch2"])
    scale = given.get("alpha", 1)
    if scale != 1:
        product = applied(node, Expression("mul", (X, float(scale))), product)
    return Offset(node, product, fixed)

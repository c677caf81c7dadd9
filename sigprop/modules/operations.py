"""What every operation of a graph is as a term: one small function each, in one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch  # pyright: ignore[reportMissingImports]

from sigprop.modules.experts import grouped, summed
from sigprop.modules.lookup import Terms, filled
from sigprop.modules.patterns import fused, numbers_of
from sigprop.modules.pointwise import OPERATIONS, Expression, X
from sigprop.modules.slices import indexed, joined, selected, sliced
from sigprop.modules.terms import (
    UNSEEN,
    Attention,
    Contract,
    Embedding,
    Fixed,
    Gain,
    Hidden,
    Matrix,
    Mean,
    Norm,
    Offset,
    Patches,
    Plus,
    Pointwise,
    Shift,
    Softmax,
    Source,
    Term,
    Times,
    Weight,
    Weighted,
    base,
)

LAYOUT = {
    *(
        "view",
        "reshape",
        "transpose",
        "contiguous",
        "dropout",
        "to",
        "_to_copy",
        "expand",
    ),
    *("unsqueeze", "squeeze", "alias", "clone", "permute", "flatten", "_unsafe_view", "detach"),
    *(
        "unflatten",
        "numpy_T",
        "broadcast_to",
        "lift_fresh_copy",
        "type_as",
        "t",
        "movedim",
        "repeat_interleave",
        "lift_fresh",
        "expand_as",
        "view_as",
        "mT",
    ),
}
"""Operations that move numbers and change none (dropout in evaluation is one)."""
TURNS = {"t", "transpose", "numpy_T", "mT", "permute"}
"""Of them: those that turn a matrix around."""
UNARY = {
    name for name in OPERATIONS if name not in ("add", "sub", "rsub", "mul", "div", "pow", "x")
}


def named(node: Any) -> str:
    """Return an operation's name, ``add`` of ``aten.add.Tensor``."""
    schema = getattr(node.target, "_schema", None)
    if schema is not None:
        return schema.name.split("::")[1]
    return getattr(node.target, "__name__", "")


def drops(node: Any) -> bool:
    """Tell whether an operation is dropout that is live."""
    if named(node) != "dropout":
        return False
    _, rate, live = node.args
    return bool(live) and rate > 0


def _turned(node: Any) -> bool:
    """Tell whether what a parameter passed through turned it around."""
    turns = 0
    while named(node) in LAYOUT:
        turns += named(node) in TURNS
        node = node.args[0]
    return turns % 2 == 1


def applied(node: Any, function: Expression, of: Term) -> Term:
    """Return function(of), one elementwise function where ``of`` is one itself."""
    if isinstance(of, Pointwise):
        return Pointwise(node, of.of, function.after(of.function))
    return Pointwise(node, of, function)


def _binary(name: str) -> Callable[[Terms, Any], Term]:
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
    if u is v and not isinstance(u, Fixed) and curved:
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
        return fused(Plus(node, left, right), terms.graph)
    right = right if name == "mul" else applied(node, Expression("reciprocal", (X,)), right)
    return fused(Times(node, left, right), terms.graph)


def _linear(terms: Terms, node: Any) -> Term:
    of, weight, *rest = node.args
    bias = rest[0] if rest else node.kwargs.get("bias")
    rows, columns = weight.meta["val"].shape
    return _matrix(terms, node, of, weight, bias, int(_turned(weight)), rows, columns)


def _addmm(terms: Terms, node: Any) -> Term:
    bias, of, weight = node.args[:3]
    columns, rows = weight.meta["val"].shape
    return _matrix(terms, node, of, weight, bias, 1 - int(_turned(weight)), rows, columns)


def _matrix(terms: Terms, node: Any, of: Any, weight: Any, bias: Any, *sizes: int) -> Term:
    w, b = terms.term(weight), None if bias is None else terms.term(bias)
    if not isinstance(w, Weight) or not (b is None or isinstance(b, Weight)):
        return terms.unknown(node)
    return Matrix(node, terms.term(of), w.parameter, b and b.parameter, *sizes)


def _matmul(terms: Terms, node: Any) -> Term:
    left, right = node.args[:2]
    weight = terms.term(right)
    if isinstance(weight, Weight) and len(weight.shape) == 2:
        columns, rows = right.meta["val"].shape
        axis = 1 - int(_turned(right))
        return Matrix(node, terms.term(left), weight.parameter, None, axis, rows, columns)
    return fused(_contract(terms, node, left, right), terms.graph)


def _contract(terms: Terms, node: Any, left: Any, right: Any) -> Contract:
    """A product of matrices of two terms."""
    return Contract(node, terms.term(left), terms.term(right), left.meta["val"].shape[-1])


def _baddbmm(terms: Terms, node: Any) -> Term:
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


def _layer_norm(terms: Terms, node: Any) -> Term:
    of, shape, *rest = node.args
    weight, bias, epsilon = filled(rest, None, None, 1e-5)
    term: Term = Norm(node, terms.term(of), "layer", float(epsilon), int(shape[-1]))
    return _with_parameters(terms, node, term, weight, bias)


def _rms_norm(terms: Terms, node: Any) -> Term:
    of, shape, *rest = node.args
    weight, epsilon = filled(rest, None, None)
    small = torch.finfo(of.meta["val"].dtype).eps if epsilon is None else float(epsilon)
    return _with_parameters(
        terms, node, Norm(node, terms.term(of), "rms", small, int(shape[-1])), weight, None
    )


def _with_parameters(terms: Terms, node: Any, term: Term, weight: Any, bias: Any) -> Term:
    """A norm's own gain and shift; where they are no vectors of parameters: no rule."""
    for given, make in ((weight, _gain), (bias, _shift)):
        if given is not None:
            parameter = terms.term(given)
            if not isinstance(parameter, Weight):
                return terms.unknown(node)
            term = make(node, term, parameter.parameter)
    return term


def _gain(node: Any, of: Term, parameter: str) -> Term:
    return Gain(node, of, parameter, X)


def _shift(node: Any, of: Term, parameter: str) -> Term:
    return Shift(node, of, parameter)


def _embedding(terms: Terms, node: Any) -> Term:
    weight, indices = (terms.term(n) for n in node.args[:2])
    if not isinstance(weight, Weight) or not isinstance(indices, Fixed):
        return terms.unknown(node)
    return Embedding(node, weight.parameter, indices)


def _mean(terms: Terms, node: Any) -> Term:
    of, axes = node.args[:2]
    last = len(of.meta["val"].shape) - 1
    if [a % (last + 1) for a in axes] != [last]:
        return terms.unknown(node)
    return Mean(node, terms.term(of))


def _softmax(terms: Terms, node: Any) -> Term:
    rank = len(node.meta["val"].shape)
    if node.args[1] % rank != rank - 1:
        return terms.unknown(node)
    return Softmax(node, terms.term(node.args[0]))


def _masked_fill(terms: Terms, node: Any) -> Term:
    """Scores of keys that are not seen, filled with -inf or nearly so."""
    of, mask, value = node.args
    return _hidden(terms, node, of, mask, value, seen=False)


def _where(terms: Terms, node: Any) -> Term:
    """Scores of keys that are seen, -inf or nearly so elsewhere."""
    mask, of, value = node.args
    return _hidden(terms, node, of, mask, value, seen=True)


def _hidden(terms: Terms, node: Any, of: Any, mask: Any, value: Any, *, seen: bool) -> Term:
    low, booleans = terms.number(value), terms.term(mask)
    if low is None or low > UNSEEN or not isinstance(booleans, Fixed):
        return terms.unknown(node)
    return Hidden(node, terms.term(of), booleans, seen)


def _attention(terms: Terms, node: Any) -> Term:
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given = dict(zip(names, node.args, strict=False)) | node.kwargs
    head_dim = given["query"].meta["val"].shape[-1]
    scale = given.get("scale")
    mask = given.get("attn_mask")
    table = None if mask is None else terms.term(mask)
    if table is not None and not isinstance(table, Fixed):
        table = numbers_of(mask, table)
        if table is None:
            return terms.unknown(node)
    if given.get("dropout_p", 0.0) > 0:
        return terms.unknown(node)
    return Attention(
        node,
        *(terms.term(given[name]) for name in names[:3]),
        scale=head_dim**-0.5 if scale is None else float(scale),
        causal=bool(given.get("is_causal", False)),
        masks=() if table is None else (table,),
        cap=None,
        head_dim=head_dim,
    )


def _convolution(terms: Terms, node: Any) -> Term:
    of, weight, *rest = node.args
    bias, stride, padding = filled(rest, None, 1, 0)
    kernel = terms.term(weight)
    size = tuple(weight.meta["val"].shape[2:])
    strides = (stride,) * len(size) if isinstance(stride, int) else tuple(stride)
    pads = {padding} if isinstance(padding, int) else set(padding)
    of_bias = None if bias is None else terms.term(bias)
    if (
        not isinstance(kernel, Weight)
        or strides != size
        or pads != {0}
        or not (of_bias is None or isinstance(of_bias, Weight))
    ):
        return terms.unknown(node)
    return Patches(node, terms.term(of), kernel.parameter, of_bias and of_bias.parameter, size)


TERMS: dict[str, Callable[[Terms, Any], Term]] = {
    **{name: _binary(name) for name in ("add", "sub", "rsub", "mul", "div", "pow")},
    "linear": _linear,
    "addmm": _addmm,
    "matmul": _matmul,
    "bmm": _matmul,
    "baddbmm": _baddbmm,
    "mm": _matmul,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "embedding": _embedding,
    "mean": _mean,
    "sum": summed,
    "grouped_mm_fallback": grouped,
    "_grouped_mm": grouped,
    "masked_fill": _masked_fill,
    "where": _where,
    "softmax": _softmax,
    "_softmax": _softmax,
    "scaled_dot_product_attention": _attention,
    "slice": sliced,
    "select": selected,
    "narrow": lambda terms, node: terms.part(
        node, node.args[0], node.args[1], node.args[2], node.args[2] + node.args[3]
    ),
    "index": indexed,
    "cat": joined,
    "conv1d": _convolution,
    "conv2d": _convolution,
}
"""Operation to the function that makes its term."""

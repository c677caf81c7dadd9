"""What every operation of a graph is as a term: one small function each, in one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sigprop.modules.lookup import Terms, filled
from sigprop.modules.pointwise import OPERATIONS, Expression, X
from sigprop.modules.rules.arithmetic import binary
from sigprop.modules.rules.common import applied
from sigprop.modules.rules.experts import grouped
from sigprop.modules.rules.heads import attention, masked_fill, softmax, where
from sigprop.modules.rules.products import addmm, baddbmm, linear, matmul
from sigprop.modules.rules.reductions import (
    deviation,
    layer_norm,
    length,
    mean,
    rms_norm,
    total,
    variance,
)
from sigprop.modules.slices import indexed, joined, selected, sliced
from sigprop.modules.terms import Embedding, Fixed, Patches, Sloped, Term, Weight

UNARY = {
    name for name in OPERATIONS if name not in ("add", "sub", "rsub", "mul", "div", "pow", "x")
}


def _embedding(terms: Terms, node: Any) -> Term:
    weight, indices = (terms.term(n) for n in node.args[:2])
    if not isinstance(weight, Weight) or not isinstance(indices, Fixed):
        return terms.unknown(node)
    return Embedding(node, weight.parameter, indices)


def _sloped(terms: Terms, node: Any) -> Term:
    of, slope = node.args[:2]
    weight = terms.term(slope)
    return (
        Sloped(node, terms.term(of), weight.parameter)
        if isinstance(weight, Weight)
        else terms.unknown(node)
    )


def _rrelu(terms: Terms, node: Any) -> Term:
    """Of a slope that is drawn in training, its mean."""
    of, *rest = node.args
    low, high, training = filled(rest, 1 / 8, 1 / 3, False)
    if training:
        return terms.unknown(node)
    slope = (float(low) + float(high)) / 2
    return applied(node, Expression("leaky_relu", (X, slope)), terms.term(of))


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
    **{name: binary(name) for name in ("add", "sub", "rsub", "mul", "div", "pow")},
    "linear": linear,
    "addmm": addmm,
    "matmul": matmul,
    "bmm": matmul,
    "baddbmm": baddbmm,
    "mm": matmul,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "embedding": _embedding,
    "prelu": _sloped,
    "rrelu": _rrelu,
    "mean": mean,
    "sum": total,
    "grouped_mm_fallback": grouped,
    "_grouped_mm": grouped,
    "var": variance,
    "std": deviation,
    "linalg_vector_norm": length,
    "masked_fill": masked_fill,
    "where": where,
    "softmax": softmax,
    "_softmax": softmax,
    "scaled_dot_product_attention": attention,
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

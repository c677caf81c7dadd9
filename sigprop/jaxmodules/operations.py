"""What every operation of a jaxpr is as a term: one small function each, in one table."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from sigprop.jaxmodules.axes import (
    FEATURES,
    TOKENS,
    Own,
    Side,
    along_features,
    combined,
    places,
)
from sigprop.jaxmodules.compounds import contraction, largest, less, product, summed
from sigprop.jaxmodules.nodes import Node
from sigprop.jaxmodules.slices import gathered, joined, one_of, patches, sliced, sliced_at
from sigprop.modules.patterns import fused
from sigprop.modules.pointwise import Expression, X
from sigprop.modules.terms import (
    UNSEEN,
    Embedding,
    Fixed,
    Gain,
    Hidden,
    Matrix,
    Offset,
    Patches,
    Plus,
    Pointwise,
    Shift,
    Source,
    Term,
    Unknown,
    Weight,
    Weighted,
    base,
)

POINTWISE = {
    **{name: name for name in ("add", "sub", "mul", "div", "pow", "neg", "abs", "exp", "log")},
    **{name: name for name in ("log1p", "expm1", "sqrt", "rsqrt", "square", "tanh", "sin", "cos")},
    **{name: name for name in ("erf", "erfc", "sign", "cbrt", "atan", "sinh", "cosh", "tan")},
    **{name: f"lax.{name}" for name in ("gt", "ge", "lt", "le", "eq", "ne", "and", "or", "not")},
    "add_any": "add",
    "logistic": "sigmoid",
    "integer_pow": "pow",
    "max": "lax.max",
    "min": "lax.min",
    "clamp": "lax.clamp",
    "select_n": "lax.select_n",
}
"""Elementwise operations to their names in an ``Expression``."""
IDENTITIES = {
    ("add", 0.0),
    ("sub", 0.0),
    ("mul", 1.0),
    ("div", 1.0),
    ("pow", 1.0),
    ("lax.max", -math.inf),
    ("lax.min", math.inf),
}
"""Operation and second number that change nothing."""
EITHER = {"add", "mul", "lax.max", "lax.min"}
"""Operations whose operands may change places."""


def applied(node: Node, function: Expression, of: Term) -> Term:
    """Return function(of), one elementwise function where ``of`` is one itself."""
    inner, before = base(of)
    return Pointwise(node, inner, function.after(before))


def elementwise(reader: Any, node: Node) -> Term:
    """One elementwise function of one term, or a rule of two."""
    name = POINTWISE[node.operation]
    live = [(given, reader.axes[given]) for given in node.given if given.live]
    reader.axes[node] = combined(node, live)
    if name == "lax.select_n":
        chosen = _chosen(reader, node)
        if chosen is not None:
            return chosen
    numbers = [reader.number(given) for given in node.given]
    if node.operation == "integer_pow":
        numbers.append(float(node.params["y"]))
    terms = [reader.term(given) for given in node.given]
    if len(numbers) == 2 and (alone := _unchanged(name, numbers)) is not None:
        return terms[alone]
    pairs = zip(terms, numbers, strict=False)
    bases = [base(term) for term, number in pairs if number is None]
    first = bases[0][0]
    if all(of is first for of, _ in bases) and not isinstance(first, Fixed):
        linear = len(bases) == 2 and all(f.factor is not None for _, f in bases)
        if not (linear and name in ("add", "sub")):
            functions = iter(bases)
            arguments = [next(functions)[1] if number is None else number for number in numbers]
            return Pointwise(reader.at(node), first, Expression(name, tuple(arguments)))
    if name in ("add", "sub", "mul", "div") and len(bases) == 2:
        return _of_two(reader, node, name, terms)
    return reader.unknown(node)


def _unchanged(name: str, numbers: list[float | None]) -> int | None:
    """Which operand an operation returns as it is."""
    if (name, numbers[1]) in IDENTITIES:
        return 0
    return 1 if name in EITHER and (name, numbers[0]) in IDENTITIES else None


def _chosen(reader: Any, node: Node) -> Term | None:
    """A choice that is the same everywhere, or scores of keys that are seen."""
    which, *cases = node.given
    if which.live:
        _, function = base(reader.term(which))
        never = function.operation == "lax.ne" and function.arguments[0] == function.arguments[-1]
        return reader.term(cases[0]) if never else None  # x is not x: none of a number
    number = reader.number(which)
    if number is not None:
        return reader.term(cases[int(number)])
    if len(cases) == 2:
        for at, case in enumerate(cases):
            low = reader.number(case)
            if low is not None and low <= UNSEEN:
                return Hidden(node, reader.term(cases[1 - at]), _by_heads(Fixed(which)), at == 0)
    return None


def _of_two(reader: Any, node: Node, name: str, terms: list[Term]) -> Term:
    """Sums and products of two terms, of which one may be fixed or a parameter."""
    left, right = terms
    at = reader.at(node)
    if name == "sub":
        found = less(reader, node, left, right)
        if found is not None:
            return found
        right = applied(node.given[1], Expression("neg", (X,)), right)
    if name == "div":
        right = applied(node.given[1], Expression("reciprocal", (X,)), right)
    adds = name in ("add", "sub")
    for one, other in ((left, right), (right, left)):
        if isinstance(one, Unknown) and isinstance(base(other)[0], (Weight, Fixed)):
            return one
    for k, (one, other) in enumerate(((left, right), (right, left))):
        if isinstance(base(other)[0], Fixed):
            return _of_fixed(reader, node, one, other, adds=adds)
        given = node.given[1 - k]
        found = _of_parameter(reader, node, one, other, given=given, adds=adds)
        if found is not None:
            return found
    if adds:
        return fused(Plus(at, left, right), reader.graph)
    return product(reader, node, left, right)


def _of_fixed(reader: Any, node: Node, one: Term, other: Term, *, adds: bool) -> Term:
    """A term plus or times numbers that differ between entries."""
    fixed, function = base(other)[0].node, base(other)[1]
    if len(fixed.shape) != len(node.shape):
        return reader.unknown(node)
    labels = reader.axes[node]
    heads = len(places(labels, FEATURES)) > 1
    scores = any(isinstance(label, Side) for label in labels)
    order = reader.heads(node, labels) if heads and not scores else reader.order(node)
    table = Fixed(_computed(reader.view(fixed, order), function))
    table = _by_heads(table) if scores else table
    return (Offset if adds else Weighted)(reader.view(node, order), one, table)


def _by_heads(fixed: Fixed) -> Fixed:
    """A table of scores, [heads, T, T], one where all have the same."""
    node = fixed.node

    def run(value: Any) -> Any:
        tables = value.reshape(-1, *value.shape[-2:])
        return tables[:1] if bool((tables == tables[:1]).all()) else tables

    out = Node("by heads", (node,), node.shape, node.dtype, False, run)
    out.path, out.source = node.path, node.source
    return Fixed(out)


def _computed(node: Node, function: Expression) -> Node:
    """A fixed array put through a function."""
    if function == X:
        return node
    out = Node("computed", (node,), node.shape, node.dtype, False, lambda value: function(value))
    out.path, out.source = node.path, node.source
    return out


def _of_parameter(
    reader: Any, node: Node, one: Term, other: Term, *, given: Node, adds: bool
) -> Term | None:
    """A bias or a gain: a parameter along all features, and along nothing else."""
    weight, function = base(other)
    if not isinstance(weight, Weight) or isinstance(one, (Weight, Embedding, Source)):
        return None
    own = reader.axes[given]
    if not along_features(given, own, node, reader.axes[node], heads=not adds):
        return None
    at = reader.at(node)
    if not adds:
        return Gain(at, one, weight.parameter, function)
    if function != X:
        return None
    if isinstance(one, Patches) and one.bias is None:
        rows = reader.rows(node, flat=True)
        return Patches(rows, one.of, one.parameter, weight.parameter, one.size)
    if isinstance(one, Matrix) and one.bias is None and _size(weight) == one.rows:
        return Matrix(at, one.of, one.parameter, weight.parameter, one.axis, one.rows, one.columns)
    return Shift(at, one, weight.parameter)


def _size(term: Term) -> int:
    return math.prod(term.shape)


def multiplied(reader: Any, node: Node) -> Term:
    """A parameter's matrix, or a product of two terms."""
    (first, second), (batch, other_batch) = node.params["dimension_numbers"]
    terms = [reader.term(given) for given in node.given]
    reader.axes[node] = (None,) * len(node.shape)
    for k, (w, of) in enumerate(((1, 0), (0, 1))):
        if not isinstance(terms[w], Weight) or isinstance(terms[of], Weight):
            continue
        axes = (first, second)
        weight, x = node.given[w], node.given[of]
        labels = reader.axes[x]
        features = [axis for axis in places(labels, FEATURES) if x.shape[axis] > 1]
        if batch or other_batch or sorted(axes[of]) != features:
            return reader.unknown(node)
        free = [axis for axis in range(len(weight.shape)) if axis not in axes[w]]
        kept = [label for axis, label in enumerate(labels) if axis not in axes[of]]
        outputs = [FEATURES if weight.shape[axis] > 1 else TOKENS for axis in free]
        reader.axes[node] = tuple(kept + outputs if k == 0 else outputs + kept)
        return _matrix(reader, node, terms[w], terms[of], weight=weight, free=free)
    return contraction(reader, node) if all(n.live for n in node.given) else reader.unknown(node)


def _matrix(reader: Any, node: Node, w: Any, x: Term, *, weight: Node, free: list[int]) -> Term:
    rows = math.prod(weight.shape[axis] for axis in free)
    own = [reader.axes[weight][axis] for axis in free if weight.shape[axis] > 1]
    axis = own[0].axis if own and isinstance(own[0], Own) else 0
    return Matrix(reader.at(node), x, w.parameter, None, axis, rows, weight.size // rows)


TERMS: dict[str, Callable[[Any, Node], Term]] = {
    **dict.fromkeys(POINTWISE, elementwise),
    "dot_general": multiplied,
    "reduce_sum": summed,
    "reduce_max": largest,
    "gather": gathered,
    "slice": sliced,
    "dynamic_slice": sliced_at,
    "output": one_of,
    "split": lambda reader, node: reader.unknown(node),
    "concatenate": joined,
    "conv_general_dilated": patches,
}
"""Operation to the function that makes its term."""

"""Compounds that libraries write out: means taken away, norms, softmax, attention in two products.

Each is known by what it computes: functions are compared by their values, axes by what they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sigprop.jaxmodules.axes import FEATURES, REPEATED, TOKENS, Side, places
from sigprop.jaxmodules.nodes import Node
from sigprop.modules.compounds.norms import (
    CLOSE,
    POINTS,
    SIGNED,
    is_multiple,
    root_of,
    squares,
)
from sigprop.modules.patterns import fused
from sigprop.modules.pointwise import Expression, X, values
from sigprop.modules.terms import (
    Attention,
    Centred,
    Contract,
    Gain,
    Hidden,
    Mean,
    Norm,
    Offset,
    Plus,
    Pointwise,
    Softmax,
    Term,
    Times,
    Variance,
    base,
)


@dataclass(eq=False)
class Most(Term):
    """The largest entry along an axis."""

    of: Term


@dataclass(eq=False)
class Lowered(Term):
    """of minus its largest entry, which a softmax does not see."""

    of: Term


@dataclass(eq=False)
class Sum(Mean):
    """A mean over an axis that is summed. axis: what it is; length: how many entries."""

    axis: Any
    length: int


def summed(reader: Any, node: Node) -> Term:
    """A sum over features or over one axis of scores, as its length times a mean."""
    of = node.given[0]
    axes = tuple(int(axis) for axis in node.params["axes"])
    labels = reader.axes[of]
    kinds = {labels[axis] for axis in axes if of.shape[axis] > 1}
    kind = kinds.pop() if len(kinds) == 1 else None
    last = max(places(labels, FEATURES), default=-1)
    if kind is None or kind == TOKENS or (kind == FEATURES and last not in axes):
        return reader.unknown(node)
    reader.axes[node] = tuple(label for axis, label in enumerate(labels) if axis not in axes)
    inner = reader.term(of)
    length = int(np.prod([of.shape[axis] for axis in axes]))
    key = "mean", id(inner), kind, length
    if key not in reader.held:
        reader.held[key] = _mean(node, inner, kind, length)
    return Pointwise(node, reader.held[key], Expression("mul", (X, float(length))))


def _mean(node: Node, of: Term, kind: Any, length: int) -> Term:
    inner, function = base(of)
    if kind == FEATURES and isinstance(inner, Centred) and squares(function, X):
        return Variance(node, inner.of)
    return Sum(node, of, kind, length)


def largest(reader: Any, node: Node) -> Term:
    """The largest entry along one axis of scores."""
    of = node.given[0]
    axes = tuple(int(axis) for axis in node.params["axes"])
    labels = reader.axes[of]
    if len(axes) != 1 or not isinstance(labels[axes[0]], Side):
        return reader.unknown(node)
    reader.axes[node] = tuple(label for axis, label in enumerate(labels) if axis not in axes)
    return Most(node, reader.term(of))


def less(reader: Any, node: Node, left: Term, right: Term) -> Term | None:
    """left - right: a mean or a maximum taken away, a variance; None for others."""
    if isinstance(right, Most) and right.of is left:
        return Lowered(node, left)
    inner, function = base(right)
    if not isinstance(inner, Sum) or inner.axis != FEATURES:
        return None
    if inner.of is left and is_multiple(function, 1.0):
        key = "centred", id(left), inner.length
        return reader.held.setdefault(key, Centred(node, left))
    other, scale = base(left)
    if not (isinstance(other, Sum) and other.axis == FEATURES and is_multiple(scale, 1.0)):
        return None
    (u, square), (v, f) = base(other.of), base(inner.of)
    same = u is v and other.length == inner.length and squares(square, f)
    return Variance(node, inner.of) if same and squares(function, X) else None


def product(reader: Any, node: Node, left: Term, right: Term) -> Term:
    """left times right: a norm, a softmax, or a product."""
    for one, other in ((left, right), (right, left)):
        gain = other if isinstance(other, Gain) else None
        found = _norm(reader, node, one, other if gain is None else gain.of)
        found = found or (_softmax(reader, node, one, other) if gain is None else None)
        if found is not None:
            return found if gain is None else Gain(node, found, gain.parameter, gain.function)
    return Times(reader.at(node), left, right)


def _norm(reader: Any, node: Node, x: Term, other: Term) -> Term | None:
    """x times 1/sqrt(mean of x^2 + epsilon), or that of what was centred, and a number."""
    inner, function = base(other)
    if not isinstance(inner, (Sum, Variance)):
        return None
    root = root_of(function)
    if root is None:
        return None
    found = _normed(reader, node, x, inner, root.epsilon)
    if found is None or root.factor == 1.0:
        return found
    return Pointwise(node, found, Expression("mul", (X, root.factor)))


def _normed(reader: Any, node: Node, x: Term, inner: Sum | Variance, epsilon: float) -> Norm | None:
    if isinstance(inner, Variance):
        if not isinstance(x, Centred) or x.of is not inner.of:
            return None
        return Norm(reader.at(node), x.of, "layer", epsilon, _length(reader, x.of))
    (u, f), (v, square) = base(x), base(inner.of)
    if u is not v or inner.axis != FEATURES or not squares(square, f):
        return None
    return Norm(reader.at(node), x, "rms", epsilon, inner.length)


def _length(reader: Any, of: Term) -> int:
    """Over how many features a term was centred."""
    return next(
        key[2]
        for key, term in reader.held.items()
        if key[0] == "centred" and isinstance(term, Centred) and term.of is of
    )


def _softmax(reader: Any, node: Node, left: Term, right: Term) -> Softmax | None:
    """exp(x) over its sum."""
    inner, function = base(right)
    if not isinstance(inner, Sum) or not isinstance(inner.axis, Side) or inner.of is not left:
        return None
    if not np.allclose(values(function, POINTS), 1 / (inner.length * POINTS), rtol=CLOSE):
        return None
    of, exponential = base(left)
    if not np.allclose(values(exponential, SIGNED), np.exp(SIGNED), rtol=CLOSE):
        return None
    found = Softmax(node, of.of if isinstance(of, Lowered) else of)
    reader.held["softmax", id(found)] = inner
    return found


def contraction(reader: Any, node: Node) -> Term:
    """A product of two terms: scores, or values weighted by a softmax."""
    (first, second), batch = node.params["dimension_numbers"]
    sides = list(zip(node.given, (first, second), batch, strict=True))
    terms = [reader.term(one) for one in node.given]
    for at, term in enumerate(terms):
        if isinstance(term, Softmax):
            found = _weighted(reader, node, sides, at)
            return found if found is not None else reader.unknown(node)
    return _scores(reader, node, sides, terms) or reader.unknown(node)


def _free(node: Node, axes: Any, batch: Any) -> list[int]:
    return [axis for axis in range(len(node.shape)) if axis not in (*axes, *batch)]


def _scores(reader: Any, node: Node, sides: Any, terms: Any) -> Term | None:
    """Queries times keys: features are summed over, tokens of both stay apart."""
    found = [reader.axes[sides[0][0]][axis] for axis in sides[0][2]]
    length = 1
    for second, (of, axes, batch) in enumerate(sides):
        labels = reader.axes[of]
        if any(labels[axis] != FEATURES for axis in axes):
            return None
        if any(labels[axis] not in (FEATURES, REPEATED, TOKENS) for axis in batch):
            return None
        length = int(np.prod([of.shape[axis] for axis in axes]))
        free = _free(of, axes, batch)
        tokens = [axis for axis in free if labels[axis] == TOKENS and of.shape[axis] > 1]
        known = all(labels[axis] in (FEATURES, TOKENS) for axis in free)
        if len(tokens) != 1 or not known:
            return None
        found += [Side(node, bool(second)) if axis in tokens else labels[axis] for axis in free]
    reader.axes[node] = tuple(found)
    return Contract(node, terms[0], terms[1], length)


def _weighted(reader: Any, node: Node, sides: Any, at: int) -> Term | None:
    """Values weighted by a softmax over keys; at: which factor the weights are."""
    (of, axes, batch), (value, summed_axes, value_batch) = sides[at], sides[1 - at]
    labels, of_value = reader.axes[of], reader.axes[value]
    softmax = reader.term(of)
    side = reader.held["softmax", id(softmax)].axis
    if [labels[k] for k in axes] != [side] or [of_value[k] for k in summed_axes] != [TOKENS]:
        return None
    free, features = _free(of, axes, batch), _free(value, summed_axes, value_batch)
    query = Side(side.product, not side.second)
    if places(labels, query) != tuple(axis for axis in free if labels[axis] == query):
        return None
    both = [[labels[axis] for axis in free], [of_value[axis] for axis in features]]
    if query not in both[0] or not set(both[0]) <= {query, FEATURES, TOKENS}:
        return None
    kept = [of_value[axis] for axis in value_batch] + both[at] + both[1 - at]
    reader.axes[node] = tuple(TOKENS if label == query else label for label in kept)
    scores = _with_keys_second(reader, softmax.of, side)
    if scores is None:
        return None
    view = reader.view(node, reader.heads(node, reader.axes[node]))
    made = Contract(view, replace(softmax, of=scores), reader.term(value), value.shape[0])
    found = fused(made, reader.graph)
    if not isinstance(found, Attention):
        return None
    root = found.head_dim**-0.5  # of float32, in the graph
    return replace(found, scale=root) if math.isclose(found.scale, root, rel_tol=1e-6) else found


def _with_keys_second(reader: Any, term: Term, side: Side) -> Term | None:
    """Scores whose second factor is the keys; None where a mask lies in another order of axes."""
    if isinstance(term, Contract):
        if term.node is not side.product:
            return None
        return term if side.second else Contract(term.node, term.right, term.left, term.size)
    if not isinstance(term, (Hidden, Offset, Pointwise, Plus)):
        return None
    if not isinstance(term, Pointwise):
        sides = [label for label in reader.axes[term.node] if isinstance(label, Side)]
        if reader.axes[term.node][-1] != side or len(sides) != 2:
            return None
    if isinstance(term, Plus):
        for name in ("left", "right"):
            inner = _with_keys_second(reader, getattr(term, name), side)
            if inner is not None:
                return replace(term, **{name: inner})
        return None
    inner = _with_keys_second(reader, term.of, side)
    return None if inner is None else replace(term, of=inner)

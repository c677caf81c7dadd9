"""Compounds that libraries write out: rotary positions, attention in three operations.

Each is known by what it computes (functions are compared by their values, angles are solved for),
not by how it was written. What is not recognised stays as it is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sigprop.modules.compounds.norms import CLOSE
from sigprop.modules.lookup import Graph
from sigprop.modules.pointwise import Expression
from sigprop.modules.pointwise import values as _values
from sigprop.modules.terms import (
    Attention,
    Contract,
    Embedding,
    Fixed,
    Hidden,
    Joined,
    Numbers,
    Offset,
    Part,
    Plus,
    Softmax,
    Term,
    Turned,
    Unseen,
    Weighted,
    base,
)

ANGLE = 1e-3  # of float32 angles that are hundreds of radians large


def fused(term: Term, graph: Graph) -> Term:
    """Return the compound that a term completes, or the term."""
    if isinstance(term, Plus):
        return _turned(term, graph) or term
    if isinstance(term, Joined):
        return _partly_turned(term) or term
    if isinstance(term, Contract):
        return _attention(term) or term
    return term


def _table(fixed: Fixed, graph: Graph, axes: int) -> NDArray[np.float64] | None:
    """The last axes of a fixed tensor; None where entries before them differ."""
    value = graph.array(fixed.node).astype(np.float64)
    flat = value.reshape(-1, *value.shape[-axes:]) if value.ndim >= axes else None
    return flat[0] if flat is not None and (flat == flat[0]).all() else None


def _turned(total: Plus, graph: Graph) -> Turned | None:
    """x cos + rotate_half(x) sin, the angles t base^(-2j/d)."""
    for one, other in ((total.left, total.right), (total.right, total.left)):
        if not (isinstance(one, Weighted) and isinstance(other, Weighted)):
            return None
        if _is_half_turn(other.of, one.of):
            cos, sin = _table(one.by, graph, 2), _table(other.by, graph, 2)
            found = None if cos is None or sin is None else _rope_base(cos, sin)
            return None if found is None else Turned(total.node, one.of, found, one.shape[-1])
    return None


def _is_half_turn(term: Term, of: Term) -> bool:
    """Tell whether a term is (-second half, first half) of the other's features."""
    if not isinstance(term, Joined) or len(term.parts) != 2:
        return False
    (second, minus), (first, same) = (base(part) for part in term.parts)
    if minus.factor != -1.0 or same.factor != 1.0:
        return False
    return (
        isinstance(second, Part)
        and isinstance(first, Part)
        and first.of is of
        and second.of is of
        and (first.start, first.stop) == (0, first.length // 2)
        and (second.start, second.stop) == (second.length // 2, second.length)
    )


def _rope_base(cos: NDArray[np.float64], sin: NDArray[np.float64]) -> float | None:
    """Solve angles t base^(-2j/d) for base; None where these are others."""
    tokens, features = cos.shape
    half = features // 2
    if tokens < 2 or not np.allclose(cos**2 + sin**2, 1.0, atol=ANGLE):
        return None
    angles = np.arctan2(sin[1], cos[1])[:half]
    if half < 2 or angles[-1] <= 0 or not math.isclose(angles[0], 1.0, rel_tol=ANGLE):
        return None
    found = float(angles[-1] ** (-features / (2 * (half - 1))))
    expected = np.outer(np.arange(tokens), found ** (-2 * np.arange(half) / features))
    turns = np.concatenate([expected, expected], axis=1)
    alike = np.allclose(np.cos(turns), cos, atol=ANGLE) and np.allclose(
        np.sin(turns), sin, atol=ANGLE
    )
    return float(f"{found:.6g}") if alike else None  # the graph holds float32


def _partly_turned(joined: Joined) -> Turned | None:
    """The first features of a head turned, the others as they are."""
    if len(joined.parts) != 2:
        return None
    turned, rest = joined.parts
    if not isinstance(turned, Turned) or not isinstance(rest, Part):
        return None
    part = turned.of
    whole = (
        isinstance(part, Part)
        and part.of is rest.of
        and part.start == 0
        and part.stop == rest.start
        and rest.stop == rest.length
    )
    return Turned(joined.node, rest.of, turned.base, turned.features) if whole else None


def _attention(product: Contract) -> Attention | None:
    """softmax(cap(scale q k^T) + mask) v."""
    if not isinstance(product.left, Softmax):
        return None
    scores, masks = _below_masks(product.left.of)
    scale, cap = 1.0, None
    inner, function = base(scores)
    if function.factor is not None:
        scale = function.factor
    else:
        cap, scale = _soft_cap(function)
    if not isinstance(inner, Contract) or math.isnan(scale):
        return None
    (q, by_q), (k, by_k) = base(inner.left), base(inner.right)
    if by_q.factor is None or by_k.factor is None:
        return None
    return Attention(
        product.node,
        q,
        k,
        product.right,
        scale=scale * by_q.factor * by_k.factor,
        causal=False,
        masks=masks,
        cap=cap,
        head_dim=inner.size,
    )


def _below_masks(scores: Term) -> tuple[Term, tuple[Term, ...]]:
    """The scores below all that is added to them or hides them, and these."""
    masks: list[Term] = []
    while True:
        if isinstance(scores, Plus) and (found := _beside_numbers(scores)) is not None:
            scores, numbers = found
            masks.append(numbers)
        elif isinstance(scores, Offset):
            scores, mask = scores.of, scores.by
            masks.append(mask)
        elif isinstance(scores, Hidden):
            masks.append(scores.by if scores.seen else Unseen(scores.by.node, scores.by))
            scores = scores.of
        else:
            return scores, tuple(masks)


def _beside_numbers(total: Plus) -> tuple[Term, Numbers] | None:
    """The other side of a sum one side of which is rows of a parameter, and these."""
    sides = (total.left, total.right)
    for node, one, other in zip(total.node.args, sides, sides[::-1], strict=False):
        if (numbers := numbers_of(node, one)) is not None:
            return other, numbers
    return None


def numbers_of(node: Any, term: Term) -> Numbers | None:
    """What is added to scores, where it is rows of one parameter and fixed numbers; None where it
    is something else."""
    inside = term
    while isinstance(inside, (Offset, Hidden)):
        inside = inside.of
    return Numbers(node, term, inside.parameter) if isinstance(inside, Embedding) else None


def _soft_cap(function: Expression) -> tuple[float | None, float]:
    """c and s of c tanh(s x / c); (None, nan) where it is another function."""
    cap = float(_values(function, np.array([1e9]))[0])
    if not math.isfinite(cap) or cap <= 0:
        return None, math.nan
    small = 1e-4 * cap
    ratio = float(_values(function, np.array([small]))[0]) / cap
    scale = math.atanh(ratio) * cap / small if abs(ratio) < 1 else math.nan
    points = cap * np.array([-2.0, -0.5, 0.5, 2.0])
    expected = cap * np.tanh(scale * points / cap)
    alike = np.allclose(_values(function, points), expected, rtol=CLOSE)
    return (cap, scale) if alike else (None, math.nan)


def tables_of(value: Any, heads: int, tokens: int) -> Any:
    """Return what is added to scores, or which keys are seen, of every head or of all, [heads or
    1, T, T]; None where inputs differ, or it has other axes."""
    table = np.asarray(value)
    table = table.reshape((1,) * (3 - table.ndim) + table.shape)
    table = table.reshape(-1, *table.shape[-3:])
    if (table != table[:1]).any() or table.shape[1] not in (1, heads):
        return None
    if any(size not in (1, tokens) for size in table.shape[2:]):
        return None
    return np.broadcast_to(table[0], (table.shape[1], tokens, tokens))


def buckets_of(numbers: Numbers, graph: Graph, shape: tuple[int, int]) -> tuple[Any, Any]:
    """(What is fixed, which row of the parameter [heads, T, T] every pair of tokens is given, less
    0 where none) of what is added to scores: it is evaluated with zeros and with numbered entries
    in place of the parameter [rows, heads]."""
    (place,) = (node for node, name in graph.parameters.items() if name == numbers.parameter)
    entries = np.arange(1.0, 1 + shape[0] * shape[1]).reshape(shape)
    fixed = graph.given(numbers.node, {place: np.zeros(shape)})
    differences = graph.given(numbers.node, {place: entries}) - fixed
    return fixed, np.rint(differences).astype(int) - 1

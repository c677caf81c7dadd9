"""The mean over features of every token of a stem, which a LayerNorm takes away: of positions that
are fixed, of parameters that are drawn around a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sigprop.modules.terms import (
    Embedding,
    Gain,
    Joined,
    Matrix,
    Norm,
    Offset,
    Part,
    Patches,
    Plus,
    Pointwise,
    Shift,
    Term,
    Weight,
    Weighted,
    base,
)
from sigprop.reading.stems.known import beside, known, means_of, rows_of

Means = NDArray[np.float64]


def means(stem: Any, term: Term) -> Means:
    """Return the mean over features of every row of a term, [T] ([1] of what is one for all).

    stem: what knows laws, Grams and the graph (``reading.stem.Stem``). Terms whose Gram has no
    rule have no mean here: they are refused there.
    """
    if known(term):
        return means_of(rows_of(stem.graph, term))
    rule = next((rule for kind, rule in RULES.items() if isinstance(term, kind)), None)
    return np.zeros(1) if rule is None else rule(stem, term)


def _parameter(stem: Any, term: Embedding | Weight) -> Means:
    return np.full(1, stem.law(term.parameter).mean)


def _plus(stem: Any, term: Plus) -> Means:
    return means(stem, term.left) + means(stem, term.right)


def _norm(stem: Any, term: Norm) -> Means:
    if term.kind == "layer":
        return np.zeros(1)
    return means(stem, term.of) / np.sqrt(np.diag(stem.gram(term.of)) + term.epsilon)


def _gain(stem: Any, term: Gain) -> Means:
    return means(stem, term.of) * float(term.function(np.float64(stem.law(term.parameter).mean)))


def _shift(stem: Any, term: Shift) -> Means:
    return means(stem, term.of) + stem.law(term.parameter).mean


def _bias(stem: Any, term: Matrix | Patches) -> Means:
    return np.full(1, stem.law(term.bias).mean if term.bias else 0.0)


def _scale(stem: Any, term: Pointwise) -> Means:
    inner, function = base(term)
    return means(stem, inner) * (function.factor or 0.0)


def _offset(stem: Any, term: Offset) -> Means:
    return means(stem, term.of) + means_of(beside(stem.graph, term.by, term))


def _weighted(stem: Any, term: Weighted) -> Means:
    return means(stem, term.of) * beside(stem.graph, term.by, term)[:, 0]


def _joined(stem: Any, term: Joined) -> Means:
    parts = [(means(stem, part), len(stem.gram(part))) for part in term.parts]
    return np.concatenate([np.broadcast_to(mean, length) for mean, length in parts])


def _part(stem: Any, term: Part) -> Means:
    of = means(stem, term.of)
    return of if len(of) == 1 else of[term.start : term.stop]


RULES: dict[type[Term], Callable[[Any, Any], Means]] = {
    Embedding: _parameter,
    Weight: _parameter,
    Plus: _plus,
    Norm: _norm,
    Gain: _gain,
    Shift: _shift,
    Matrix: _bias,
    Patches: _bias,
    Pointwise: _scale,
    Offset: _offset,
    Weighted: _weighted,
    Joined: _joined,
    Part: _part,
}
"""Kind of term to its rule."""

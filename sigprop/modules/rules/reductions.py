"""Norms, and what is summed over features: means, variances, lengths."""

from __future__ import annotations

from typing import Any

import torch  # pyright: ignore[reportMissingImports]

from sigprop.modules.compounds.norms import mean_of
from sigprop.modules.lookup import Terms, filled
from sigprop.modules.pointwise import Expression, X
from sigprop.modules.rules.common import applied, named
from sigprop.modules.rules.experts import summed
from sigprop.modules.terms import Gain, Norm, Shift, Term, Variance, Weight

SQUARE = Expression("square", (X,))
ROOT = Expression("sqrt", (X,))


def layer_norm(terms: Terms, node: Any) -> Term:
    of, shape, *rest = node.args
    weight, bias, epsilon = filled(rest, None, None, 1e-5)
    if len(shape) > 1:
        return terms.unknown(node)  # over tokens, too
    term: Term = Norm(node, terms.term(of), "layer", float(epsilon), int(shape[-1]))
    return _with_parameters(terms, node, term, weight, bias)


def rms_norm(terms: Terms, node: Any) -> Term:
    of, shape, *rest = node.args
    weight, epsilon = filled(rest, None, None)
    small = torch.finfo(of.meta["val"].dtype).eps if epsilon is None else float(epsilon)
    if len(shape) > 1:
        return terms.unknown(node)
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


def _over_features(node: Any, axes: Any) -> bool:
    """Tell whether axes are the last one and no other."""
    rank = len(node.args[0].meta["val"].shape)
    axes = [axes] if isinstance(axes, int) else axes
    return isinstance(axes, (list, tuple)) and [axis % rank for axis in axes] == [rank - 1]


def mean(terms: Terms, node: Any) -> Term:
    if not _over_features(node, _given(node, 1, "dim")):
        return terms.unknown(node)
    return mean_of(node, terms.term(node.args[0]))


def total(terms: Terms, node: Any) -> Term:
    """A sum over features: their number times their mean; over another axis, that of experts."""
    if not _over_features(node, _given(node, 1, "dim")):
        return summed(terms, node)
    length = node.args[0].meta["val"].shape[-1]
    return applied(node, _times(length), mean_of(node, terms.term(node.args[0])))


def length(terms: Terms, node: Any) -> Term:
    """The Euclidean length over features."""
    order, axes = _given(node, 1, "ord"), _given(node, 2, "dim")
    if order not in (2, None) or not _over_features(node, axes):
        return terms.unknown(node)
    size = node.args[0].meta["val"].shape[-1]
    of = applied(node, SQUARE, terms.term(node.args[0]))
    return applied(node, ROOT, applied(node, _times(size), mean_of(node, of)))


def variance(terms: Terms, node: Any) -> Term:
    return _spread(terms, node, node) or terms.unknown(node)


def deviation(terms: Terms, node: Any) -> Term:
    found = _spread(terms, node, node)
    return terms.unknown(node) if found is None else applied(node, ROOT, found)


def of_both(terms: Terms, node: Any) -> Term:
    """One of a variance (or its root) and the mean, which one operation gives."""
    source, index = node.args
    found = _spread(terms, node, source)
    if found is None:
        return terms.unknown(node)
    if index == 1:
        return mean_of(node, terms.term(source.args[0]))
    return applied(node, ROOT, found) if named(source) == "std_mean" else found


def _spread(terms: Terms, at: Any, source: Any) -> Term | None:
    """The variance over features that an operation takes, of all entries or of all less some."""
    lost = _lost(source)
    if lost is None or not _over_features(source, _given(source, 1, "dim")):
        return None
    size = source.args[0].meta["val"].shape[-1]
    term = Variance(at, terms.term(source.args[0]))
    return applied(at, _times(size / (size - lost)), term) if lost else term


def _lost(node: Any) -> float | None:
    """By how much a variance's divisor is less than the number of entries; None where that is no
    number below it."""
    given = node.kwargs.get("correction", node.kwargs.get("unbiased"))
    if given is None:
        given = node.args[2] if len(node.args) > 2 else True
    return float(given) if float(given) < node.args[0].meta["val"].shape[-1] else None


def _times(factor: float) -> Expression:
    return Expression("mul", (X, float(factor)))


def _given(node: Any, place: int, name: str) -> Any:
    """An argument by its place or its name."""
    return node.args[place] if len(node.args) > place else node.kwargs.get(name)

"""The stem's Gram: what the state holds before the first application, in the wide limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sigprop.errors import InputError
from sigprop.modules.laws import Law, Parameter
from sigprop.modules.lookup import Graph
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
    Source,
    Term,
    Times,
    Weight,
    Weighted,
    base,
    place,
)
from sigprop.reading.stems.known import beside, known, means_of, rows_of
from sigprop.reading.stems.means import Means, means

Gram = NDArray[np.float64]
NUMBERS = "inputs or fixed numbers"
"""What stands for all that is not drawn, among the names of parameters."""


@dataclass(frozen=True)
class Stem:
    """Evaluates the Gram of terms above which there is no application."""

    graph: Graph
    parameters: Mapping[str, Parameter]
    tokens: int

    def gram(self, term: Term) -> Gram:
        """Return <w[t], w[s]> of a term, [T, T]; raises ``InputError`` for what has no rule."""
        if known(term):
            rows = rows_of(self.graph, term)
            return rows @ rows.T / rows.shape[-1]
        rule = next((rule for kind, rule in RULES.items() if isinstance(term, kind)), None)
        if rule is None:
            raise InputError(
                f"stem: {type(term).__name__.lower()} at {where(term)} has no rule; accepted: "
                f"embeddings, inputs, matrices, norms and sums of them"
            )
        return rule(self, term)

    def means(self, term: Term) -> Means:
        """Return the mean over features of every row of a term, [T] ([1] of what is one for
        all)."""
        return means(self, term)

    def law(self, name: str) -> Law:
        """Return a parameter's law; raises ``InputError`` where it is not known."""
        parameter = self.parameters[name]
        law = parameter.law_of(0, parameter.shape[0], 0) if parameter.shape else parameter.law
        if not law.known:
            raise InputError(
                f"{name}: its law is not known ({law.source}); accepted: a library's own "
                f"initialisers, multiples and copies of them, or a module as it is"
            )
        return law

    def spread(self, name: str) -> Law:
        """Return the law of a parameter over features; raises ``InputError`` for one number that is
        drawn, which no width averages."""
        law = self.law(name)
        if int(np.prod(self.parameters[name].shape)) == 1 and law.variance:
            raise InputError(
                f"{name}: one number that is drawn ({law}); accepted: a constant, or a number of "
                f"every feature"
            )
        return law


def _sources(term: Term) -> Iterator[str]:
    """What a term of the stem depends on in the mean: parameters, and numbers that are not drawn;
    what a matrix makes of others is independent of them."""
    if isinstance(term, (Source, Offset)):
        yield NUMBERS
    if isinstance(term, (Embedding, Weight, Matrix, Patches)):
        yield term.parameter
    if isinstance(term, (Matrix, Patches)):
        return
    for part in term.inside:
        yield from _sources(part)


def where(term: Term) -> str:
    """Return the path of the module that a term comes from, or the operation's name."""
    return place(term.node).path


def _embedding(stem: Stem, term: Embedding) -> Gram:
    indices = stem.graph.array(term.indices.node).reshape(-1)
    if indices.size == 1:
        indices = np.repeat(indices, stem.tokens)
    law, padding = stem.law(term.parameter), stem.parameters[term.parameter].padding
    if padding is not None and padding in indices:
        raise InputError(
            f"{term.parameter}: row {padding}, of padding, was filled on its own; accepted: an "
            f"example without it"
        )
    return law.variance * (indices[:, None] == indices[None, :]) + law.mean**2


def _weight(stem: Stem, term: Weight) -> Gram:
    """Positions, a row a token; one row is the same for every token."""
    law, shape = stem.law(term.parameter), stem.parameters[term.parameter].shape
    rows = int(np.prod(shape[:-1]))
    return law.variance * (np.eye(rows) if rows > 1 else np.ones((1, 1))) + law.mean**2


def _plus(stem: Stem, term: Plus) -> Gram:
    _check_apart(term, _sources(term.left), _sources(term.right))
    means = stem.means(term.left), stem.means(term.right)
    return stem.gram(term.left) + stem.gram(term.right) + _crossed(*means)


def _crossed(one: Means, other: Means) -> Gram:
    """What two independent vectors that have means over features have in common."""
    tokens = max(len(one), len(other))
    u, v = (np.broadcast_to(mean, tokens) for mean in (one, other))
    return np.outer(u, v) + np.outer(v, u)


def _check_apart(total: Term, one: Iterable[str], other: Iterable[str]) -> None:
    """Raise ``InputError`` for a sum of what is not independent."""
    both = set(one) & set(other)
    if both:
        raise InputError(
            f"{min(both)}: on both sides of a sum in the stem at {where(total)}; accepted: sums of "
            f"what is independent"
        )


def _offset(stem: Stem, term: Offset) -> Gram:
    """Fixed numbers (positions) are added: they are orthogonal to what is drawn."""
    _check_apart(term, _sources(term.of), (NUMBERS,))
    rows = beside(stem.graph, term.by, term)
    means = stem.means(term.of), means_of(rows)
    return stem.gram(term.of) + rows @ rows.T / rows.shape[-1] + _crossed(*means)


def _weighted(stem: Stem, term: Weighted) -> Gram:
    """Every token times a number of its own."""
    rows = beside(stem.graph, term.by, term)
    if (rows != rows[:, :1]).any():
        raise InputError(
            f"stem: fixed numbers that multiply features at {where(term)} have no rule; accepted: "
            f"embeddings, inputs, matrices, norms and sums of them, times one number a token"
        )
    return stem.gram(term.of) * np.outer(rows[:, 0], rows[:, 0])


def _norm(stem: Stem, term: Norm) -> Gram:
    inner = stem.gram(term.of)
    if term.kind == "layer":
        mean = np.broadcast_to(stem.means(term.of), len(inner))
        inner = inner - np.outer(mean, mean)
    size = np.sqrt(np.diag(inner) + term.epsilon)
    return inner / np.outer(size, size)


def _gain(stem: Stem, term: Gain) -> Gram:
    return stem.gram(term.of) * mean_square(stem.spread(term.parameter), term)


def mean_square(law: Law, term: Gain) -> float:
    """E of the squared gain: of a constant, its function's; of drawn ones, c w + b's. Raises
    ``InputError`` for another function of drawn ones."""
    if law.variance == 0:
        return float(term.function(np.float64(law.mean))) ** 2
    shift, once, twice, back = (float(term.function(np.float64(w))) for w in (0, 1, 2, -1))
    slope = once - shift
    if not np.allclose([twice, back], [shift + 2 * slope, shift - slope], rtol=1e-9, atol=1e-12):
        raise InputError(
            f"{term.parameter}: a curve of a gain that is drawn; accepted: constant gains, "
            f"multiples and sums of drawn ones"
        )
    return law.affine(slope, shift).second


def _shift(stem: Stem, term: Shift) -> Gram:
    return stem.gram(term.of) + stem.spread(term.parameter).second


def _matrix(stem: Stem, term: Matrix) -> Gram:
    law = stem.law(term.parameter)
    bias = stem.law(term.bias).second if term.bias else 0.0
    return law.variance * term.columns * stem.gram(term.of) + bias


def _scale(stem: Stem, term: Pointwise) -> Gram:
    inner, function = base(term)
    if function.factor is None:
        raise InputError(
            f"stem: an activation at {where(term)} has no rule; accepted: embeddings, inputs, "
            f"matrices, norms and sums of them"
        )
    return stem.gram(inner) * function.factor**2


def _joined(stem: Stem, term: Joined) -> Gram:
    """Tokens one after another (a class token, patches), independent of each other."""
    grams = [stem.gram(part) for part in term.parts]
    sizes = [len(gram) for gram in grams]
    found = np.zeros((sum(sizes), sum(sizes)))
    for start, gram in zip(np.cumsum([0, *sizes]), grams, strict=False):
        found[start : start + len(gram), start : start + len(gram)] = gram
    return found


def _patches(stem: Stem, term: Patches) -> Gram:
    if not isinstance(term.of, Source):
        raise InputError(f"stem: patches of what is no input at {where(term)}")
    image = stem.graph.array(term.of.node)[0]
    law = stem.law(term.parameter)
    channels, *sides = image.shape
    grid = [side // size for side, size in zip(sides, term.size, strict=True)]
    shape = [channels, *(n for pair in zip(grid, term.size, strict=True) for n in pair)]
    axes = len(sides)
    order = [*range(1, 2 * axes, 2), 0, *range(2, 2 * axes + 1, 2)]
    cut = image[(slice(None), *(slice(g * s) for g, s in zip(grid, term.size, strict=True)))]
    rows = cut.reshape(shape).transpose(order).reshape(int(np.prod(grid)), -1)
    bias = stem.law(term.bias).second if term.bias else 0.0
    return law.variance * rows @ rows.T + bias


def _part(stem: Stem, term: Part) -> Gram:
    return stem.gram(term.of)[term.start : term.stop, term.start : term.stop]


def _no_product(stem: Stem, term: Times) -> Gram:
    raise InputError(
        f"stem: a product at {where(term)} has no rule; accepted: embeddings, inputs, matrices, "
        f"norms and sums of them"
    )


RULES = {
    Embedding: _embedding,
    Offset: _offset,
    Weighted: _weighted,
    Weight: _weight,
    Plus: _plus,
    Norm: _norm,
    Gain: _gain,
    Shift: _shift,
    Matrix: _matrix,
    Pointwise: _scale,
    Joined: _joined,
    Patches: _patches,
    Part: _part,
    Times: _no_product,
}
"""Kind of term to its rule."""

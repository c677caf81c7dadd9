"""The stem's Gram: what the state holds before the first application, in the wide limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    Part,
    Patches,
    Plus,
    Pointwise,
    Shift,
    Source,
    Term,
    Times,
    Weight,
    base,
    place,
)

Gram = NDArray[np.float64]


@dataclass(frozen=True)
class Stem:
    """Evaluates the Gram of terms above which there is no application."""

    graph: Graph
    parameters: Mapping[str, Parameter]
    tokens: int

    def gram(self, term: Term) -> Gram:
        """Return <w[t], w[s]> of a term, [T, T]; raises ``InputError`` for what has no rule."""
        rule = next((rule for kind, rule in RULES.items() if isinstance(term, kind)), None)
        if rule is None:
            raise InputError(
                f"stem: {type(term).__name__.lower()} at {where(term)} has no rule; accepted: "
                f"embeddings, inputs, matrices, norms and sums of them"
            )
        return rule(self, term)

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


def uncentred(stem: Stem, term: Term) -> str | None:
    """Return the parameter that gives a term a mean over features, which a LayerNorm takes away."""
    if isinstance(term, (Matrix, Patches)):
        return term.bias if term.bias and stem.law(term.bias).mean else None
    if isinstance(term, Norm) and term.kind == "layer":
        return None
    if isinstance(term, (Embedding, Weight, Shift)) and stem.law(term.parameter).mean:
        return term.parameter
    return next((name for part in term.inside if (name := uncentred(stem, part))), None)


def check_centred(stem: Stem, term: Term) -> None:
    """Raise ``InputError`` for a term whose features have a mean."""
    if (name := uncentred(stem, term)) is not None:
        raise InputError(
            f"{name}: entries of mean {stem.law(name).mean:.3g}, which LayerNorm takes away; "
            f"accepted: entries drawn around zero"
        )


def _sources(term: Term) -> Iterator[object]:
    """Parameters and inputs that a term of the stem depends on in the mean; what a matrix makes of
    others is independent of them."""
    if isinstance(term, Source):
        yield term
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


def _source(stem: Stem, term: Source) -> Gram:
    values = stem.graph.array(term.node)
    rows = values.reshape(-1, values.shape[-1])
    return rows @ rows.T / rows.shape[-1]


def _weight(stem: Stem, term: Weight) -> Gram:
    """Positions, a row a token; one row is the same for every token."""
    law, shape = stem.law(term.parameter), stem.parameters[term.parameter].shape
    rows = int(np.prod(shape[:-1]))
    return law.variance * (np.eye(rows) if rows > 1 else np.ones((1, 1))) + law.mean**2


def _plus(stem: Stem, term: Plus) -> Gram:
    both = set(_sources(term.left)) & set(_sources(term.right))
    if both:
        name = next((name for name in both if isinstance(name, str)), "an input")
        raise InputError(
            f"{name}: on both sides of a sum in the stem at {where(term)}; accepted: sums of what "
            f"is independent"
        )
    return stem.gram(term.left) + stem.gram(term.right)


def _norm(stem: Stem, term: Norm) -> Gram:
    if term.kind == "layer":
        check_centred(stem, term.of)
    inner = stem.gram(term.of)
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
    Source: _source,
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

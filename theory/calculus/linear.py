"""Linear forms: a read or a residual rule as coefficients on states and the write, and how such
forms advance Grams.

The coefficients may hold Gram entries of the same token (norms); the same code reads them on
symbols and on arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sigprop.language.expression import Normalise, Scale, State, Stem, Sum, Vector, Write
from sigprop.language.nodes import Centre, Modulate, Project, Truncate
from sigprop.language.scalar import Scalar
from sigprop.theory.calculus.algebra import determinant, exp, over, root_mean_square
from sigprop.theory.calculus.algebra import log as logarithm

Coefficients = dict[int, Any]
"""leaf -> coefficient; leaves: lanes 0.., the stem's lane, and WRITE. Arrays are [K, T] (band,
token)."""
WRITE, ONES = -1, -2
"""Leaves beside the lanes: the write; the vector whose coordinates are all 1."""


class Form:
    """What evaluating a linear expression needs: Gram entries of the same token, logs, numbers; on
    any algebra.

    gram(i, j): <leaf_i, leaf_j> per band and token; log(i): log scale of leaf i per token;
    number(scalar); over_bands(x): the width-weighted sum over bands, kept broadcastable;
    modulate(node): m per token; within(scalar): 1 for bands within the first so many of all
    coordinates, else 0; tidy(x): a square's shorter form, on symbols;
    mean(i): of leaf i over coordinates per token, where a unit is traced (None: 0).
    """

    def __init__(
        self,
        gram: Callable[[int, int], Any],
        log: Callable[[int], Any],
        number: Callable[[Scalar], Any],
        stem: int | None,
        over_bands: Callable[[Any], Any] = lambda x: x,
        maximum: Callable[[Any, Any], Any] = lambda x, y: x,
        modulate: Callable[[Modulate], Any] | None = None,
        within: Callable[[Scalar], Any] | None = None,
        tidy: Callable[[Any], Any] = lambda x: x,
        mean: Callable[[int], Any] | None = None,
    ):
        self.modulate: Any = modulate
        self.within: Any = within
        self.tidy, self.mean = tidy, mean
        self.gram, self.log, self.number, self.stem, self.over_bands, self.maximum = (
            gram,
            log,
            number,
            stem,
            over_bands,
            maximum,
        )

    def __call__(self, expression: Vector) -> tuple[Coefficients, Any]:
        """({leaf: c}, log) with expression = exp(log) sum c leaf-mantissa."""
        match expression:
            case State(lane):
                return {lane: 1}, self.log(lane)
            case Stem():
                assert self.stem is not None
                return {self.stem: 1}, self.log(self.stem)
            case Write():
                return {WRITE: 1}, self.log(WRITE)
            case Scale(factor, of):
                form, log = self(of)
                return {leaf: self.number(factor) * c for leaf, c in form.items()}, log
            case Sum(terms):
                return self.add([self(term) for term in terms])
            case Normalise(of):
                form, log = self(of)
                norm = self.norm(expression)
                form = self._centred(form) if expression.kind == "layer" else form
                return {leaf: over(c, norm) for leaf, c in form.items()}, 0 * log
            case Centre(of):
                form, log = self(of)
                return self._centred(form), log
            case Modulate(of=of):
                form, log = self(of)
                return {leaf: self.modulate(expression) * c for leaf, c in form.items()}, log
            case Truncate(of, fraction):
                form, log = self(of)
                return {leaf: self.within(fraction) * c for leaf, c in form.items()}, log
            case Project(of, along):
                (form, log), (other, _) = self(of), self(along)
                part = over(self.overlap(form, other), self.overlap(other, other))
                return self.add(
                    [(form, log), ({leaf: -part * c for leaf, c in other.items()}, log)]
                )
        raise TypeError(f"not a linear expression: {expression!r}")

    def norm(self, u: Normalise) -> Any:
        """What the mantissa of ``u.of`` is divided by, per token."""
        square = self.square(u.of)
        if u.kind == "layer" and self.mean is not None:
            square = square - self.average(self(u.of)[0]) ** 2
        return root_mean_square(self.tidy(square), self.number(u.epsilon), self(u.of)[1])

    def _centred(self, form: Coefficients) -> Coefficients:
        """A form less its mean over coordinates, where a unit is traced."""
        if self.mean is None:
            return form
        return {**form, ONES: form.get(ONES, 0) - self.average(form)}

    def average(self, form: Coefficients) -> Any:
        """A form's mean over coordinates per token."""
        assert self.mean is not None
        return total(c * self.mean(leaf) for leaf, c in form.items())

    def gain(self, u: Vector) -> Any:
        """log of what ``u`` divides its argument by, per token (0 where it is not a norm, or
        that of 0)."""
        if not isinstance(u, Normalise):
            return 0 * self(u)[1]
        return self(u.of)[1] + logarithm(self.norm(u))

    def square(self, of: Vector) -> Any:
        """<x, x> per token of x = ``of``, summed over bands; what is orthogonal to something,
        without cancellation."""
        if isinstance(of, Project):
            x, y = self(of.of)[0], self(of.along)[0]
            xx, yy = self.overlap(x, x), self.overlap(y, y)
            return over(determinant(xx, self.overlap(x, y), yy), yy)
        form = self(of)[0]
        return self.overlap(form, form)

    def overlap(self, left: Coefficients, right: Coefficients) -> Any:
        """<x, y> per token of x = sum c leaf and y, summed over bands."""
        return self.over_bands(
            total(x * y * self.gram(i, j) for i, x in left.items() for j, y in right.items())
        )

    def add(self, forms: Sequence[tuple[Coefficients, Any]]) -> tuple[Coefficients, Any]:
        """The sum of forms, on their largest log scale."""
        log = forms[0][1]
        for _, other in forms[1:]:
            log = self.maximum(log, other)
        result: Coefficients = {}
        for form, own in forms:
            for leaf, c in form.items():
                term = c * exp(own - log)
                result[leaf] = result[leaf] + term if leaf in result else term
        return result, log


def total(terms: Any) -> Any:
    """Sum without a leading integer 0, so that array dtypes and symbols stay as they are."""
    result: Any = 0
    for term in terms:
        result = term if isinstance(result, int) and result == 0 else result + term
    return result


def advance(
    transition: Mapping[tuple[int, int], Any],
    into: Mapping[tuple[int, int], Any],
    old: Sequence[Any],
    new: Sequence[Any],
) -> list[Any]:
    """<S'_i, y> = sum_j M_ij <S_j, y> + sum_k B_ik <w_k, y> for every lane i, S' = M S + B w.

    transition: {(i, j): M_ij}; into: {(i, k): B_ik}; old: <S_j, y> by lane; new: <w_k, y> by
    write. The one step of every recursion, forward (one write) and, with M, B from the transposed
    rule, backward (one write for each read).
    """
    lanes = range(len(old))
    return [
        total(
            [transition[i, j] * old[j] for j in lanes if (i, j) in transition]
            + [into[i, k] * value for k, value in enumerate(new) if (i, k) in into]
        )
        for i in lanes
    ]


def overlap(
    left: Mapping[int, Any], right: Mapping[int, Any], gram: Callable[[int, int], Any]
) -> Any:
    """<x, y> of two forms: sum_ij x_i y_j <leaf_i, leaf_j>."""
    return total(x * y * gram(i, j) for i, x in left.items() for j, y in right.items())

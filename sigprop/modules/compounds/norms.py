"""Norms that are written out: means taken away, variances, division by the root of one of them.

A norm is known by the function of the variance that it divides by: 1/(s sqrt(v + epsilon)) and no
other (an epsilon outside the root is another function).
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from sigprop.modules.pointwise import Expression, X
from sigprop.modules.pointwise import values as _values
from sigprop.modules.terms import (
    Centred,
    Gain,
    Mean,
    Norm,
    Plus,
    Pointwise,
    Term,
    Times,
    Variance,
    base,
    place,
)

POINTS = np.array([0.3, 1.0, 2.5, 7.0])
SIGNED = np.concatenate([-POINTS, POINTS])
CLOSE = 1e-5  # relative: graphs hold float32
SMALL = 1e-12  # a variance below which no state is


class Root(NamedTuple):
    """factor / sqrt(v + epsilon)."""

    factor: float
    epsilon: float


@functools.lru_cache(maxsize=1024)
def root_of(function: Expression) -> Root | None:
    """Return factor and epsilon where a function of v > 0 is factor / sqrt(v + epsilon)."""
    low, high = POINTS[0], POINTS[-1]
    with np.errstate(all="ignore"):
        ends = _values(function, np.array([low, high])) ** -2.0
    slope = (ends[1] - ends[0]) / (high - low)
    if not 0 < slope < math.inf:
        return None
    factor = float(slope**-0.5)
    factor = 1.0 if math.isclose(factor, 1.0, rel_tol=CLOSE) else factor
    if _is_root(function, bare := Root(factor, 0.0), POINTS * SMALL):
        return bare
    at_zero = float(_values(function, np.zeros(1))[0])
    if not 0 < at_zero < math.inf:
        return None
    epsilon = float(f"{(factor / at_zero) ** 2:.12g}")
    # near epsilon, too: there sqrt(v) + e and sqrt(v + e^2) differ
    return found if _is_root(function, found := Root(factor, epsilon), POINTS * epsilon) else None


def _is_root(function: Expression, root: Root, near: Any) -> bool:
    """Tell whether a function is that root at ordinary variances and at some more."""
    at = np.concatenate([POINTS, near])
    with np.errstate(all="ignore"):
        expected = root.factor * (at + root.epsilon) ** -0.5
        return bool(np.allclose(_values(function, at), expected, rtol=CLOSE, atol=0))


def squares(function: Expression, of: Expression) -> bool:
    """Tell whether a function is the square of another."""
    return bool(np.allclose(_values(function, SIGNED), _values(of, SIGNED) ** 2, rtol=CLOSE))


def is_multiple(function: Expression, factor: float) -> bool:
    """Tell whether a function is that number times its argument."""
    return function.factor is not None and math.isclose(function.factor, factor, rel_tol=CLOSE)


def same(one: Term, other: Term) -> bool:
    """Tell whether two terms are one, or the same statistic of one."""
    alike = type(one) is type(other) and isinstance(one, (Centred, Mean))
    return one is other or (alike and same(one.of, other.of))  # pyright: ignore


def mean_of(node: Any, of: Term) -> Term:
    """Return the mean of a term over its features: of squares of what is centred, its variance."""
    inner, function = base(of)
    if isinstance(inner, Centred) and squares(function, X):
        return Variance(node, inner.of)
    return Mean(node, of)


def less(total: Plus) -> Term | None:
    """A sum as a term less its mean, or as the mean of squares less the square of the mean."""
    for left, right in ((total.left, total.right), (total.right, total.left)):
        (u, f), (inner, function) = base(left), base(right)
        if not isinstance(inner, Mean):
            continue
        if same(inner.of, left) and is_multiple(function, -1.0) and in_rows(total.node):
            return Centred(total.node, left)
        if isinstance(u, Mean) and is_multiple(f, 1.0):
            (v, square), (w, g) = base(u.of), base(inner.of)
            opposite = Expression("neg", (function,))
            if same(v, w) and squares(square, g) and squares(opposite, X):
                return Variance(total.node, inner.of)
    return None


def in_rows(node: Any) -> bool:
    """Tell whether two operands are laid out alike, so that a number of every token stands beside
    its features."""
    shapes = [place(given).shape for given in node.args[:2]]
    return len(shapes[0]) == len(shapes[1])


def normed(product: Times) -> Term | None:
    """A product as a norm: a term, or it less its mean, times 1/sqrt(its variance + epsilon)."""
    if not in_rows(product.node):
        return None
    for x, other in ((product.left, product.right), (product.right, product.left)):
        statistic, function = base(other)
        if not isinstance(statistic, (Mean, Variance)):
            continue
        if (found := _normed(product, x, statistic)) is None:
            continue
        if (root := root_of(function)) is None:
            return None
        return found.finished(root)
    return None


class Peeled(NamedTuple):
    """What a norm is of, with what stands around it: gains, innermost last, and a factor."""

    node: Any
    kind: str
    of: Term
    gains: tuple[Gain, ...] = ()
    factor: float = 1.0

    def finished(self, root: Root) -> Term:
        """Return the norm with that epsilon, its factor and its gains."""
        length = place(self.node).shape[-1]
        term: Term = Norm(self.node, self.of, self.kind, root.epsilon, length)
        factor = self.factor * root.factor
        if factor != 1.0:
            term = Pointwise(self.node, term, Expression("mul", (X, factor)))
        for gain in reversed(self.gains):
            term = Gain(self.node, term, gain.parameter, gain.function)
        return term


def _normed(product: Times, x: Term, statistic: Mean | Variance) -> Peeled | None:
    """What is normed where a statistic is of it; gains and factors around it are passed over."""
    gains: list[Gain] = []
    factor, node = 1.0, product.node
    while True:
        found = _of_rms(x, statistic) or _of_variance(x, statistic)
        if found is not None:
            return Peeled(node, *found, (*gains,), factor)
        inner, function = base(x)
        if isinstance(x, Gain):
            gains.append(x)
            x = x.of
        elif inner is not x and function.factor is not None:
            factor, x = factor * function.factor, inner
        else:
            return None


def _of_rms(x: Term, statistic: Mean | Variance) -> tuple[str, Term] | None:
    if not isinstance(statistic, Mean):
        return None
    (u, f), (v, square) = base(x), base(statistic.of)
    return ("rms", x) if same(u, v) and squares(square, f) else None


def _of_variance(x: Term, statistic: Mean | Variance) -> tuple[str, Term] | None:
    """Of what was centred, written with the variance of what it is."""
    if not isinstance(statistic, Variance) or not isinstance(x, Centred):
        return None
    return ("layer", x.of) if same(x.of, statistic.of) else None

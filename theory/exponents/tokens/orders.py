"""Powers of the number of tokens T that uniform attention gives, by counting.

A Gram of T exchangeable tokens is its diagonal and what lies off it, T and T^2 entries; of each the
power of T is enough. Tokens overlap with the power x: 0 where their cosine stays, -1 where all they
have in common is an average over T tokens that are not alike, -inf where it is zero.

    attention over T tokens      every entry of the write is sum_ss' R_ss'/T^2 ~ T^m, m = max(-1, x)
    what acts on each token      overlap x again; 0 where the tokens' means differ from zero
                                 (``overlap``: activations that are not odd, biases)
    with a skip                  the diagonal stays, overlaps are the largest of the two

The cotangents' Gram begins as the identity ('each': diagonal 0, off it -inf), at one token ('last')
or at T^-2 everywhere ('mean'), and attention spreads it in the same way: off the diagonal -1, -2,
-2. So the gradients sum_tt' G_tt' X_tt' of a weight whose input has diagonal d and overlap x are

                                     each             last       mean
    weight on each token             max(1+d, 1+x)    d          max(d-1, x)
    below attention (values)         1+m              m          m
    queries that are zero            0                -1         max(-1, x)-1
    stem (trace)                     1                0          -1

Behind a causal mask averages are over t tokens and token t has 1/t where T was: powers are the same
at a fixed share of T, and sums over t of 1/t are logarithms. Source: derived (docs/exponents.md;
tests/theory/exponents/tokens).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sigprop.errors import NoRule
from sigprop.language.activation import Activation
from sigprop.language.expression import (
    Activate,
    Attend,
    Bias,
    Dropout,
    Linear,
    Normalise,
    Product,
    Read,
)
from sigprop.language.nodes import Centre, Gate, Project, Truncate
from sigprop.language.traversal import children
from sigprop.language.vectors import Scale, Sum, Vector

NEVER = -math.inf
LOCAL, BELOW, QUERY = "local", "below", "query"
"""Where a weight stands: it acts on each token; attention averages what it makes; it makes
queries."""


class Order(NamedTuple):
    """T^power (ln T)^log; log None: open."""

    power: float
    log: float | None = 0.0


class Place(NamedTuple):
    """A weight: where it stands, and the powers of its input's diagonal and overlaps."""

    where: str
    diagonal: float
    overlap: float


def averaged(x: float) -> float:
    """The power of an average over tokens that overlap with the power x."""
    return max(-1.0, x)


def overlap(u: Vector, x: float) -> float:
    """The power of u's overlaps, of a read that has x. Raises ``NoRule`` for a node that nobody has
    counted."""
    match u:
        case Read():
            return x
        case Bias():
            return 0.0
        case (
            Linear(of=of)
            | Scale(of=of)
            | Gate(of=of)
            | Normalise(of=of)
            | Dropout(of=of)
            | Truncate(of=of)
            | Centre(of=of)
            | Project(of=of)
        ):
            return overlap(of, x)
        case Activate(activation, of):
            return overlap(of, x) if odd(activation) else 0.0
        case Product(left, right):
            return overlap(left, x) + overlap(right, x)
        case Sum(terms):
            return max(overlap(term, x) for term in terms)
        case Attend(value=value):
            return averaged(overlap(value, x))
    raise NoRule(f"what {type(u).__name__} does to many tokens has not been counted")


def diagonal(u: Vector, x: float) -> float:
    """The power of u's diagonal: that of an average where all of it went through attention."""
    match u:
        case Read() | Bias():
            return 0.0
        case Attend():
            return overlap(u, x)
        case Product(left, right):
            return diagonal(left, x) + diagonal(right, x)
        case _:
            return max(diagonal(part, x) for part in children(u))


def odd(activation: Activation) -> bool:
    """Whether phi(-x) = -phi(x), so that independent arguments give independent values of mean
    zero."""
    x = np.linspace(0.1, 4.0, 40)
    above, below = (np.asarray(activation.function(sign * x)) for sign in (1.0, -1.0))
    return bool(np.allclose(above, -below, rtol=0, atol=1e-9))


def places(u: Vector, x: float, where: str = LOCAL) -> Iterator[tuple[str, Place]]:
    """Yield (weight, its place) of every weight in u, whose read has overlaps x."""
    match u:
        case Read():
            return
        case Bias(weight=weight):
            yield weight, Place(where, 0.0, 0.0)
        case Linear(weight=weight, of=of) | Gate(weight=weight, of=of):
            yield weight, Place(where, diagonal(of, x), overlap(of, x))
            yield from places(of, x, where)
        case Attend(query, _, value, scores):
            yield from places(value, x, BELOW)
            if scores.scale == "zero_query":  # else no gradient comes back through the scores
                yield from places(query, x, QUERY)
        case _:
            for part in children(u):
                yield from places(part, x, where)


def gradient(place: Place, tokens: str, causal: bool) -> Order:
    """The order of a weight's squared gradient; tokens: of the read-out, 'each', 'last', 'mean'."""
    d, x = place.diagonal, place.overlap
    m = averaged(x)
    if place.where == BELOW:
        return Order({"each": 1 + m}.get(tokens, m), float(causal and m < 0 and tokens == "each"))
    if place.where == QUERY:
        power = {"each": 0.0, "last": -1.0}.get(tokens, m - 1)
        if causal and tokens == "mean" and m < 0:
            return Order(power, None)  # grows with the layers above
        return Order(power, float(causal and tokens == "each"))
    power = {"each": max(1 + d, 1 + x), "last": d}.get(tokens, max(d - 1, x))
    return Order(power, float(causal and d < 0 and tokens == "each"))

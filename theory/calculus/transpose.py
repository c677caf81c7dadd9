"""Reverse mode on expressions: the branch's transposed Jacobian applied to a cotangent, and every
weight's gradient.

For f = F(r) and delta = the gradient that arrives at f, ``transpose`` writes (df/dr)^T delta as a
vector expression again, so the rules that expand the forward pass expand the backward pass too.
Terms that the derivative of a norm adds are multiples of an overlap of the gradient with a state:
they vanish as n^-1/2 and are not written (docs/theory.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from sigprop.errors import no_rule
from sigprop.language.expression import (
    Activate,
    Attend,
    Bias,
    Dropout,
    Linear,
    Normalise,
    PositionBias,
    Product,
    Read,
    Rescale,
    Scale,
    Sum,
    Vector,
)
from sigprop.language.nodes import Gate, Mix, Ones, Truncate
from sigprop.language.scalar import Constant, Scalar
from sigprop.language.traversal import rows_of
from sigprop.language.vectors import within


@dataclass(frozen=True)
class Cotangent(Vector):
    """delta: the gradient sqrt(n) dz/df that arrives at the branch's output."""

    def __str__(self) -> str:
        return "delta"


@dataclass(frozen=True)
class Transposed(Vector):
    """W^T of; ``ratio`` = n_out / n_in of W."""

    weight: str
    of: Vector
    variance: Scalar
    ratio: Constant = Constant(Fraction(1))

    def __str__(self) -> str:
        return f"{self.weight}^T {within(self.of)}"


@dataclass(frozen=True)
class Divide(Vector):
    """of / sqrt(<x, x> + epsilon), x = by.of: what is left of a norm's Jacobian in the limit."""

    of: Vector
    by: Normalise

    def __str__(self) -> str:
        return f"({self.of}) / |{self.by.of}|"


@dataclass(frozen=True)
class AttendTransposed(Vector):
    """Attention's output cotangent ``of``, pulled back to its value, query or key (``leg``).

    With A_ts = <of_t, v_s> of a head, and dS_ts = Omega_ts (A_ts - sum_u Omega_tu A_tu):
    value: sum_t Omega_ts of_t; query: scale sum_s dS_ts k_s; key: scale sum_t dS_ts q_t; bias: of a
    drawn bias, at token t and for every bucket the sum of dS_ts over its tokens s (no cap's slope).
    """

    attend: Attend
    of: Vector
    leg: str

    def __str__(self) -> str:
        return f"the gradient by the {self.leg} of {self.attend}"


@dataclass
class Gradient:
    """reads: index of a read -> the terms of (df/dr)^T delta; uses: weight -> its (input x or
    None for a bias, output cotangent d) pairs."""

    reads: dict[int, list[Vector]] = field(default_factory=dict)
    uses: dict[str, list[tuple[Vector | None, Vector]]] = field(default_factory=dict)

    def by_read(self, index: int = 0) -> Vector | None:
        """(df/dr)^T delta of one read, or None where the branch does not depend on it."""
        terms = self.reads.get(index, [])
        return Sum(tuple(terms)) if len(terms) > 1 else next(iter(terms), None)


def transpose(branch: Vector) -> Gradient:
    """The gradient of <delta, branch> with respect to the read and to each weight, as vector
    expressions."""
    gradient = Gradient()
    _pull(branch, Cotangent(), gradient)
    return gradient


def _pull(u: Vector, d: Vector, gradient: Gradient) -> None:
    """Add what the cotangent d of u gives to reads and weights inside u."""
    match u:
        case Read(index):
            gradient.reads.setdefault(index, []).append(d)
        case Linear(of=of) | Gate(of=of):
            gradient.uses.setdefault(u.weight, []).append((of, d))
        case Bias() | PositionBias():
            gradient.uses.setdefault(u.weight, []).append((None, d))
    for argument, cotangent in arguments(u, d):
        _pull(argument, cotangent, gradient)


def arguments(u: Vector, d: Vector) -> list[tuple[Vector, Vector]]:
    """Return the arguments of a node, each with its cotangent d pulled back."""
    match u:
        case Read() | Bias() | PositionBias() | Ones():
            return []
        case Linear(of=of):
            return [(of, Transposed(u.weight, d, u.variance, Constant(u.rows / rows_of(of))))]
        case Activate(activation, of, order=0):
            return [(of, Product(Activate(activation, of, 1), d))]
        case Product(left, right):
            return [(left, Product(right, d)), (right, Product(left, d))]
        case Gate(factor, of) | Scale(factor, of):
            return [(of, Scale(factor, d))]
        case Mix(table, of, turned):
            return [(of, Mix(table, d, not turned))]
        case Rescale(factor, of):
            return [(of, Rescale(factor, d))]
        case Truncate(of, fraction, parts):
            return [(of, Truncate(d, fraction, parts))]
        case Dropout(name, of, rate):
            return [(of, Dropout(name, d, rate))]
        case Sum(terms):
            return [(term, d) for term in terms]
        case Normalise(of=of):
            return [(of, Divide(d, u))]
        case Attend(query=query, value=value):
            legs: dict[str, Vector] = {"value": value, "query": query, "key": _seen(u)}
            if u.drawn_bias is not None:
                legs["bias"] = u.drawn_bias
            return [(of, AttendTransposed(u, d, leg)) for leg, of in legs.items()]
    raise no_rule(
        u,
        "no rule for its transposed Jacobian",
        "branches of matrices, biases, activations, products, norms, dropout and attention",
    )


def _seen(u: Attend) -> Vector:
    """The keys without what a softmax does not see: a bias adds one number to all of a row's
    scores, so no gradient arrives at it (where nothing bends, turns or normalises them)."""
    bent = u.cap is not None or u.scores.rotary or u.scores.qk_norm
    if bent or not isinstance(u.key, Sum):
        return u.key
    seen = tuple(term for term in u.key.terms if not isinstance(term, Bias))
    return Sum(seen) if len(seen) > 1 else seen[0] if seen else u.key

"""Vector expressions: the one language in which a network is described, and which every part of sigprop reads.

A *sub-block* is three expressions (what it reads, its branch, its residual rule); the theory expands inner products
of them, the simulation evaluates them on vectors. Leaves:

    Stem()     w_0, the stem's output                State(j)   lane j of the state (lane 0 is the residual stream)
    Read()     the branch's input                    Write()    the branch's output f_a

Nodes: ``u + v``, ``c * u``, ``Linear``, ``Bias``, ``Activate``, ``Product``, ``Normalise``, ``Dropout``, ``Attend``, ``Rescale``;
of rules that rotate a state: ``sigprop.rotation``.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sigprop.activation import Activation, find
from sigprop.scalar import Constant, Scalar, as_scalar
from sigprop.scores import Scores


@dataclass(frozen=True)
class Vector:
    """Base of vector expressions: ``+``, ``-`` with vectors, ``*``, ``/`` with scalars."""

    def __add__(self, other: Vector) -> Vector:
        return Sum(_terms(self) + _terms(other))

    def __sub__(self, other: Vector) -> Vector:
        return self + (-1) * other

    def __neg__(self) -> Vector:
        return (-1) * self

    def __mul__(self, factor: Any) -> Vector:
        return Scale(as_scalar(factor), self)

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Vector:
        return Scale(1 / as_scalar(divisor), self)


def _terms(vector: Vector) -> tuple[Vector, ...]:
    if not isinstance(vector, Vector):
        raise TypeError(f"a vector expression adds to vector expressions, not to {type(vector).__name__}")
    return vector.terms if isinstance(vector, Sum) else (vector,)


@dataclass(frozen=True)
class Stem(Vector):
    """w_0: the stem's output, i.i.d. Gaussian coordinates with the architecture's ``input_gram`` between tokens."""


@dataclass(frozen=True)
class State(Vector):
    """Lane ``lane`` of the state that the application finds."""

    lane: int = 0


@dataclass(frozen=True)
class Write(Vector):
    """f_a, the output of the application's branch."""


@dataclass(frozen=True)
class Read(Vector):
    """r_a, what the branch is applied to."""


@dataclass(frozen=True)
class Linear(Vector):
    """W of, W_ij ~ N(0, variance / n_in) of the application's slot; ``rows``: n_out as a multiple of the width n."""

    weight: str
    of: Vector
    variance: Scalar
    rows: Fraction = Fraction(1)


@dataclass(frozen=True)
class Bias(Vector):
    """b, b_i ~ N(0, variance) of the application's slot, the same for every token; ``rows`` as in ``Linear``."""

    weight: str
    variance: Scalar
    rows: Fraction = Fraction(1)


@dataclass(frozen=True)
class Activate(Vector):
    """phi(of) elementwise, phi an ``Activation`` or the name of a registered one; ``order`` = 1 is its derivative phi'(of)."""

    activation: Activation
    of: Vector
    order: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", find(self.activation))


@dataclass(frozen=True)
class Product(Vector):
    """u * v elementwise; the factors must come from different matrices."""

    left: Vector
    right: Vector


@dataclass(frozen=True)
class Normalise(Vector):
    """of / sqrt(<of, of> + epsilon), token by token; kind 'layer' first subtracts the mean over coordinates."""

    of: Vector
    kind: str = "rms"
    epsilon: Scalar = Constant(0)


@dataclass(frozen=True)
class Dropout(Vector):
    """of * m/(1 - rate), m = 0 with probability ``rate`` else 1, drawn for every coordinate, token and application; name: its own."""

    name: str
    of: Vector
    rate: Scalar


@dataclass(frozen=True)
class TokenTable:
    """A named table of numbers with token axes, [T] or [T, T], one for all applications or one each; its values are the architecture's."""

    name: str
    axes: int = 1


@dataclass(frozen=True)
class Rescale(Vector):
    """factor_t * of_t: every token times a number of its own."""

    factor: TokenTable
    of: Vector


@dataclass(frozen=True)
class Attend(Vector):
    """o_t = sum_s Omega_ts v_s, head by head, Omega the softmax of ``scores`` of queries and keys.

    query, key, value: vectors of coordinates [heads, head_dim]; keys and values may have fewer heads, each of which
    serves as many query heads (grouped queries): rows of query = g times rows of key = g times rows of value. cap:
    scores S become cap tanh(S / cap); base: of rotary positions; rate: of dropout on Omega, drawn for every head, pair of
    tokens and application; bias: a table [T, T] that is added to the (capped) scores; kept_by: a modulator of the sub-block: keys of tokens
    that it skips are not seen.
    """

    query: Vector
    key: Vector
    value: Vector
    scores: Scores = Scores()
    cap: Scalar | None = None
    base: Scalar | None = None
    rate: Scalar | None = None
    bias: TokenTable | None = None
    kept_by: str = ""


@dataclass(frozen=True)
class Scale(Vector):
    """factor * of."""

    factor: Scalar
    of: Vector


@dataclass(frozen=True)
class Sum(Vector):
    """The sum of ``terms``."""

    terms: tuple[Vector, ...]

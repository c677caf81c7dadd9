"""A graph of operations as terms: what a module computes, layouts left out.

Reshapes, transposes and copies move numbers and are no terms; a slice of features (one of the
matrices that are packed in one) is a ``Part``. What is elementwise in one term is one
``Pointwise``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import singledispatch
from typing import Any, NamedTuple

from sigprop.modules.pointwise import Expression, X

UNSEEN = -1e4
"""A score below it is that of a key that is not seen."""


class Place(NamedTuple):
    """Where a value of a graph stands. shape: of the tensor, as the example has it; path: of the
    module that computes it, or the operation's name."""

    shape: tuple[int, ...]
    path: str


@singledispatch
def place(node: Any) -> Place:
    """Return a node's place; every kind of graph says it of its own nodes."""
    raise TypeError(f"{type(node).__name__} is no node of a graph")


@dataclass(eq=False)
class Term:
    """A value of the graph. node: where it comes from, of any kind that has a ``place``; uses: how
    many operations take it, layouts passed through; two terms are equal where they are one."""

    node: Any
    uses: int = field(default=0, init=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor, as the example has it."""
        return place(self.node).shape

    @property
    def inside(self) -> Iterator[Term]:
        """The terms that this one is computed from."""
        for part in fields(self):
            value = getattr(self, part.name)
            if isinstance(value, Term):
                yield value
            elif isinstance(value, tuple):
                yield from (term for term in value if isinstance(term, Term))


@dataclass(eq=False)
class Source(Term):
    """A floating-point input of the module."""


@dataclass(eq=False)
class Fixed(Term):
    """What depends on no parameter; the graph has its value."""


@dataclass(eq=False)
class Weight(Term):
    """A parameter, as it is."""

    parameter: str


@dataclass(eq=False)
class Embedding(Term):
    """Rows of a parameter, chosen by integers (``Fixed``)."""

    parameter: str
    indices: Fixed


@dataclass(eq=False)
class Matrix(Term):
    """W of + b; axis: of the parameter's shape, along which the outputs lie; columns: fan-in;
    experts: how many such matrices the parameter holds, one for the rows of each expert."""

    of: Term
    parameter: str
    bias: str | None
    axis: int
    rows: int
    columns: int
    experts: int = 1


@dataclass(eq=False)
class Norm(Term):
    """of / sqrt(mean of squares + epsilon) over the last ``length`` features; kind as of
    ``Normalise``."""

    of: Term
    kind: str
    epsilon: float
    length: int


@dataclass(eq=False)
class Gain(Term):
    """of times a parameter over features; function: what is done to the parameter first."""

    of: Term
    parameter: str
    function: Expression


@dataclass(eq=False)
class Shift(Term):
    """of plus a parameter over features (a bias that is no matrix's own)."""

    of: Term
    parameter: str


@dataclass(eq=False)
class Pointwise(Term):
    """function(of), elementwise."""

    of: Term
    function: Expression


@dataclass(eq=False)
class Sloped(Term):
    """of where it is positive, else of times a parameter over features (PReLU)."""

    of: Term
    parameter: str


@dataclass(eq=False)
class Plus(Term):
    """A sum of two terms."""

    left: Term
    right: Term


@dataclass(eq=False)
class Times(Term):
    """A product of two terms, elementwise."""

    left: Term
    right: Term


@dataclass(eq=False)
class Weighted(Term):
    """of times fixed numbers that differ between entries (angles of rotary positions)."""

    of: Term
    by: Fixed


@dataclass(eq=False)
class Offset(Term):
    """of plus fixed numbers that differ between entries (a mask on scores)."""

    of: Term
    by: Fixed


@dataclass(eq=False)
class Hidden(Term):
    """of where fixed booleans are ``seen``, elsewhere so low that a softmax passes it over."""

    of: Term
    by: Fixed
    seen: bool


@dataclass(eq=False)
class Part(Term):
    """Some of the entries along an axis: from ``start`` up to ``stop`` of ``length``; whole: the
    shape that they are cut from."""

    of: Term
    axis: int
    start: int
    stop: int
    length: int
    whole: tuple[int, ...]


@dataclass(eq=False)
class Joined(Term):
    """Terms one after another along an axis."""

    parts: tuple[Term, ...]
    axis: int


@dataclass(eq=False)
class Mean(Term):
    """The mean over features."""

    of: Term


@dataclass(eq=False)
class Centred(Term):
    """of less its mean over features."""

    of: Term


@dataclass(eq=False)
class Variance(Term):
    """The mean square over features of a term less its mean."""

    of: Term


@dataclass(eq=False)
class Unseen(Term):
    """Fixed booleans that say which keys are not seen."""

    by: Fixed


@dataclass(eq=False)
class Numbers(Term):
    """What is added to scores where rows of a parameter are chosen by pairs of tokens, a number for
    every head; node: as it is laid out there, with what is fixed beside it."""

    of: Term
    parameter: str


@dataclass(eq=False)
class Contract(Term):
    """A product of matrices of two terms (scores, weighted values); size: the coordinates that it
    sums over."""

    left: Term
    right: Term
    size: int


@dataclass(eq=False)
class Softmax(Term):
    """The softmax over the last axis."""

    of: Term


@dataclass(eq=False)
class Turned(Term):
    """Rotary positions: the first ``features`` of a head turned by angles t base^(-2j/features)."""

    of: Term
    base: float
    features: int


@dataclass(eq=False)
class Attention(Term):
    """Heads of softmax(scale q . k + masks) v; masks: fixed tables of what is added, or of booleans
    that say which keys are seen (``Fixed``) or not (``Unseen``), and drawn ``Numbers``; cap: scores
    are cap tanh(score / cap)."""

    query: Term
    key: Term
    value: Term
    scale: float
    causal: bool
    masks: tuple[Term, ...]
    cap: float | None
    head_dim: int


@dataclass(eq=False)
class Sent(Term):
    """Rows of a term, chosen by what a router says (``by``): tokens in the order of experts, or
    experts' outputs in that of tokens."""

    of: Term
    by: Term


@dataclass(eq=False)
class Routed(Term):
    """sum_e p_te of_e,t of ``count`` experts, p the softmax of the router's scores as ``Experts``
    has it; sent: the tokens that experts see."""

    of: Term
    router: Matrix
    count: int
    chosen: int
    among: str
    sent: tuple[Term, ...]


@dataclass(eq=False)
class Patches(Term):
    """A convolution whose patches do not overlap: a matrix of every patch's pixels."""

    of: Term
    parameter: str
    bias: str | None
    size: tuple[int, ...]


@dataclass(eq=False)
class Unknown(Term):
    """An operation without a rule."""

    operation: str
    given: tuple[Term, ...]


def base(term: Term) -> tuple[Term, Expression]:
    """Return what a term is an elementwise function of, and that function."""
    return (term.of, term.function) if isinstance(term, Pointwise) else (term, X)

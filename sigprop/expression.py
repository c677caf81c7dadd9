"""Vector expressions: the one language in which a network is described, and which every part of sigprop reads.

A *sub-block* is three expressions (what it reads, its branch, its residual rule); the theory expands inner products
of them, the simulation evaluates them on vectors. Leaves:

    Stem()     w_0, the stem's output                State(j)   lane j of the state (lane 0 is the residual stream)
    Read()     the branch's input                    Write()    the branch's output f_a

Nodes: ``u + v``, ``c * u``, ``Linear``, ``Bias``, ``Activate``, ``Product``, ``Normalise``, ``Dropout``, ``Attend``, ``Rescale``;
of rules that rotate a state: ``sigprop.rotation``. Every node validates itself (``InputError``) and ``str`` writes it as
formulas do: ``x (gelu(w r) * g r)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sigprop.activation import Activation, composed, find
from sigprop.errors import InputError, short
from sigprop.scalar import Constant, Scalar, as_scalar
from sigprop.scores import Scores

KINDS = ("rms", "layer")
"""Of norms: RMSNorm, LayerNorm."""


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


def refuse(node: object, name: str, value: object, accepted: str) -> InputError:
    """What a node says of a field that cannot be."""
    return InputError(f"{type(node).__name__}: {name}={short(repr(value), 40)}; accepted: {accepted}")


def check_vectors(node: object, *names: str) -> None:
    """Raise ``InputError`` unless these fields hold vector expressions."""
    for name in names:
        if not isinstance(value := getattr(node, name), Vector):
            raise refuse(node, name, value, "a vector expression, such as Read()")


def take_scalars(node: object, *names: str) -> None:
    """Make these fields scalars (plain numbers become constants); raises ``InputError``."""
    for name in names:
        value = getattr(node, name)
        try:
            object.__setattr__(node, name, as_scalar(value))
        except TypeError:
            raise refuse(node, name, value, "a number or sp.Number('name')") from None


def check_name(node: object, name: str) -> None:
    """Raise ``InputError`` unless the field is a name."""
    if not isinstance(value := getattr(node, name), str) or not value:
        raise refuse(node, name, value, "a name of its own")


def take_rows(node: object) -> None:
    """Make ``rows`` a positive ``Fraction``; raises ``InputError``."""
    rows: Any = vars(node)["rows"]
    if isinstance(rows, bool) or not isinstance(rows, (int, Fraction)) or rows <= 0:
        raise refuse(node, "rows", rows, "a positive integer or Fraction, in units of the width")
    object.__setattr__(node, "rows", Fraction(rows))


def check_count(node: object, name: str, least: int = 1) -> None:
    """Raise ``InputError`` unless the field is an integer from ``least`` on."""
    if isinstance(value := getattr(node, name), bool) or not isinstance(value, int) or value < least:
        raise refuse(node, name, value, f"an integer from {least} on")


def within(vector: Vector) -> str:
    """The vector as a factor of something else."""
    return f"({vector})" if isinstance(vector, (Sum, Product)) else str(vector)


@dataclass(frozen=True)
class Stem(Vector):
    """w_0: the stem's output, i.i.d. Gaussian coordinates with the architecture's ``input_gram`` between tokens."""

    def __str__(self) -> str:
        return "stem"


@dataclass(frozen=True)
class State(Vector):
    """Lane ``lane`` of the state that the application finds."""

    lane: int = 0

    def __post_init__(self) -> None:
        check_count(self, "lane", 0)

    def __str__(self) -> str:
        return f"h_{self.lane}" if self.lane else "h"


@dataclass(frozen=True)
class Write(Vector):
    """f_a, the output of the application's branch."""

    def __str__(self) -> str:
        return "f"


@dataclass(frozen=True)
class Read(Vector):
    """r_a, what the branch is applied to."""

    def __str__(self) -> str:
        return "r"


@dataclass(frozen=True)
class Linear(Vector):
    """W of, W_ij ~ N(0, variance / n_in) of the application's slot; ``rows``: n_out as a multiple of the width n."""

    weight: str
    of: Vector
    variance: Scalar
    rows: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        check_name(self, "weight")
        take_rows(self)
        check_vectors(self, "of")
        take_scalars(self, "variance")

    def __str__(self) -> str:
        return f"{self.weight} {within(self.of)}"


@dataclass(frozen=True)
class Bias(Vector):
    """b, b_i ~ N(0, variance) of the application's slot, the same for every token; ``rows`` as in ``Linear``."""

    weight: str
    variance: Scalar
    rows: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        check_name(self, "weight")
        take_rows(self)
        take_scalars(self, "variance")

    def __str__(self) -> str:
        return self.weight


@dataclass(frozen=True)
class Activate(Vector):
    """phi(of) elementwise, phi an ``Activation`` or the name of a registered one; ``order`` = 1 is its derivative phi'(of).

    phi(psi(x)) is one elementwise function of x and becomes one node, of the composed activation.
    """

    activation: Activation
    of: Vector
    order: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", find(self.activation))
        check_vectors(self, "of")
        if self.order not in (0, 1):
            raise refuse(self, "order", self.order, "0, or 1 for the derivative")
        if isinstance(self.of, Activate) and self.order == self.of.order == 0:
            object.__setattr__(self, "activation", composed(self.activation, self.of.activation))
            object.__setattr__(self, "of", self.of.of)

    def __str__(self) -> str:
        return f"{self.activation.name}{chr(39) * self.order}({self.of})"


@dataclass(frozen=True)
class Product(Vector):
    """u * v elementwise; the factors must come from different matrices."""

    left: Vector
    right: Vector

    def __post_init__(self) -> None:
        check_vectors(self, "left", "right")

    def __str__(self) -> str:
        return f"{within(self.left)} * {within(self.right)}"


@dataclass(frozen=True)
class Normalise(Vector):
    """of / sqrt(<of, of> + epsilon), token by token; kind 'layer' first subtracts the mean over coordinates."""

    of: Vector
    kind: str = "rms"
    epsilon: Scalar = Constant(0)

    def __post_init__(self) -> None:
        check_vectors(self, "of")
        if self.kind not in KINDS:
            raise refuse(self, "kind", self.kind, ", ".join(KINDS))
        take_scalars(self, "epsilon")

    def __str__(self) -> str:
        return f"{self.kind}_norm({self.of})"


@dataclass(frozen=True)
class Dropout(Vector):
    """of * m/(1 - rate), m = 0 with probability ``rate`` else 1, drawn for every coordinate, token and application; name: its own."""

    name: str
    of: Vector
    rate: Scalar

    def __post_init__(self) -> None:
        check_name(self, "name")
        check_vectors(self, "of")
        take_scalars(self, "rate")

    def __str__(self) -> str:
        return f"dropout({self.of})"


@dataclass(frozen=True)
class TokenTable:
    """A named table of numbers with token axes, [T] or [T, T], one for all applications or one each; its values are the architecture's."""

    name: str
    axes: int = 1

    def __post_init__(self) -> None:
        check_name(self, "name")
        if self.axes not in (1, 2):
            raise refuse(self, "axes", self.axes, "1 or 2 axes of tokens")


def check_table(node: object, name: str, axes: int) -> None:
    """Raise ``InputError`` unless the field holds a token table of so many axes."""
    if not isinstance(value := getattr(node, name), TokenTable) or value.axes != axes:
        raise refuse(node, name, value, f"a TokenTable of {axes} token axes")


@dataclass(frozen=True)
class Rescale(Vector):
    """factor_t * of_t: every token times a number of its own."""

    factor: TokenTable
    of: Vector

    def __post_init__(self) -> None:
        check_table(self, "factor", 1)
        check_vectors(self, "of")

    def __str__(self) -> str:
        return f"{self.factor.name} {within(self.of)}"


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

    def __post_init__(self) -> None:
        check_vectors(self, "query", "key", "value")
        if not isinstance(self.scores, Scores):
            raise refuse(self, "scores", self.scores, "sp.Scores(...)")
        take_scalars(self, *(name for name in ("cap", "base", "rate") if getattr(self, name) is not None))
        if self.bias is not None:
            check_table(self, "bias", 2)
        if self.scores.rotary and self.base is None:
            raise refuse(self, "base", None, "the base of rotary positions")

    def __str__(self) -> str:
        return f"attend({self.query}, {self.key}, {self.value})"


@dataclass(frozen=True)
class Scale(Vector):
    """factor * of."""

    factor: Scalar
    of: Vector

    def __post_init__(self) -> None:
        take_scalars(self, "factor")
        check_vectors(self, "of")

    def __str__(self) -> str:
        return f"{self.factor} {within(self.of)}"


@dataclass(frozen=True)
class Sum(Vector):
    """The sum of ``terms``."""

    terms: tuple[Vector, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.terms, tuple) or not self.terms or not all(isinstance(term, Vector) for term in self.terms):
            raise refuse(self, "terms", self.terms, "a tuple of vector expressions")

    def __str__(self) -> str:
        return " + ".join(map(str, self.terms))

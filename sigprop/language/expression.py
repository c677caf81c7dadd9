"""Vector expressions: the one language in which a network is described, and which every part of
sigprop reads.

A *sub-block* is three expressions (what it reads, its branch, its residual rule); the theory
expands inner products of them, the simulation evaluates them on vectors. Leaves:

    Stem()    w_0, the stem's output    State(j)  lane j of the state (0: the residual stream)
    Read(j)   what the branch reads     Write()   the branch's output f_a

Nodes: ``u + v``, ``c * u``, ``Linear``, ``Bias``, ``Activate``, ``Product``, ``Normalise``,
``Dropout``, ``Attend``, ``Rescale``; of rules that rotate a state: ``sigprop.language.nodes``.
Every node validates itself (``InputError``) and ``str`` writes it as formulas do: ``x (gelu(w r) *
g r)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from sigprop.language.activation import Activation, composed
from sigprop.language.activations import find
from sigprop.language.position_bias import PositionBias
from sigprop.language.scalar import Constant, Scalar
from sigprop.language.scores import Scores
from sigprop.language.vectors import (
    Scale,
    Sum,
    TokenTable,
    Vector,
    check_count,
    check_name,
    check_table,
    check_type,
    check_vectors,
    refuse,
    take_rows,
    take_scalars,
    within,
)

__all__ = [
    "Activate",
    "Attend",
    "Bias",
    "Dropout",
    "Linear",
    "Normalise",
    "PositionBias",
    "Product",
    "Read",
    "Rescale",
    "Scale",
    "State",
    "Stem",
    "Sum",
    "TokenTable",
    "Vector",
    "Write",
]

KINDS = ("rms", "layer")
"""Of norms: RMSNorm, LayerNorm."""


@dataclass(frozen=True)
class Stem(Vector):
    """w_0: the stem's output, i.i.d. Gaussian coordinates with the architecture's ``input_gram``
    between tokens."""

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
    """r_a, what the branch is applied to; ``index``: which of several reads."""

    index: int = 0

    def __post_init__(self) -> None:
        check_count(self, "index", 0)

    def __str__(self) -> str:
        return f"r_{self.index}" if self.index else "r"


@dataclass(frozen=True)
class Linear(Vector):
    """W of, W_ij ~ N(0, variance / n_in) of the application's slot; ``rows``: n_out as a
    multiple of the width n."""

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
    """b, b_i ~ N(0, variance) of the application's slot, the same for every token; ``rows`` as
    in ``Linear``."""

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
    """phi(of) elementwise, phi an ``Activation`` or the name of a registered one; ``order`` = 1 is
    its derivative phi'(of).

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

    compound: ClassVar[bool] = True
    left: Vector
    right: Vector

    def __post_init__(self) -> None:
        check_vectors(self, "left", "right")

    def __str__(self) -> str:
        return f"{within(self.left)} * {within(self.right)}"


@dataclass(frozen=True)
class Normalise(Vector):
    """of / sqrt(<of, of> + epsilon), token by token; kind 'layer' first subtracts the mean over
    coordinates."""

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
    """of * m/(1 - rate), m = 0 with probability ``rate`` else 1, drawn for every coordinate,
    token and application; name: its own."""

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

    query, key, value: vectors of coordinates [heads, head_dim]; keys and values may have fewer
    heads, each of which serves as many query heads (grouped queries): rows of query = g times rows
    of key = g times rows of value. cap: scores S become cap tanh(S / cap); base: of rotary
    positions; rate: of dropout on Omega, drawn for every head, pair of tokens and application;
    bias: what is added to the (capped) scores, before the mask: a table [T, T], or one for each
    kind of heads (``TokenTable.heads``: slopes of ALiBi), or drawn numbers (``PositionBias``: T5);
    kept_by: a modulator of the sub-block: keys of tokens that it skips are not seen.
    """

    query: Vector
    key: Vector
    value: Vector
    scores: Scores = Scores()
    cap: Scalar | None = None
    base: Scalar | None = None
    rate: Scalar | None = None
    bias: TokenTable | PositionBias | None = None
    kept_by: str = ""

    def __post_init__(self) -> None:
        check_vectors(self, "query", "key", "value")
        check_type(self, "scores", Scores, "sp.Scores(...)")
        take_scalars(
            self, *(name for name in ("cap", "base", "rate") if getattr(self, name) is not None)
        )
        bias: object = self.bias
        table = isinstance(bias, TokenTable) and bias.axes == 2
        if not (table or bias is None or isinstance(bias, PositionBias)):
            raise refuse(self, "bias", bias, "a TokenTable of 2 token axes, or a PositionBias")
        if self.scores.rotary and self.base is None:
            raise refuse(self, "base", None, "the base of rotary positions")

    @property
    def legs(self) -> tuple[Vector, Vector, Vector]:
        """Query, key and value."""
        return self.query, self.key, self.value

    @property
    def kinds(self) -> int:
        """How many kinds of heads its fixed bias tells apart."""
        return (self.bias.heads or 1) if isinstance(self.bias, TokenTable) else 1

    @property
    def drawn_bias(self) -> PositionBias | None:
        """The bias, where it is drawn."""
        return self.bias if isinstance(self.bias, PositionBias) else None

    @property
    def uniform(self) -> bool:
        """Whether all heads have the same weights in the wide limit, those of mask and bias."""
        return self.scores.uniform and self.kinds == 1 and self.drawn_bias is None

    def __str__(self) -> str:
        drawn = self.drawn_bias
        fixed = self.bias.name if isinstance(self.bias, TokenTable) else ""
        bias = f", bias {fixed or drawn}" if self.bias is not None else ""
        return f"attend({self.query}, {self.key}, {self.value}{bias})"

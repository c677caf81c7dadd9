"""What writes the terms of one application as expressions: reads, numbers, weights and norms.

Numbers and weights get names in the order in which they are met, so that two layers that are built
alike give equal expressions; ``describe`` renames them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sigprop.description.sub_block import SubBlock
from sigprop.errors import InputError
from sigprop.language.expression import (
    Bias,
    Linear,
    Normalise,
    PositionBias,
    Read,
    Rescale,
    State,
    TokenTable,
    Vector,
    Write,
)
from sigprop.language.nodes import Ones
from sigprop.language.scalar import Constant, Number, Scalar
from sigprop.modules.laws import Law
from sigprop.modules.terms import (
    Centred,
    Gain,
    Matrix,
    Mean,
    Norm,
    Pointwise,
    Shift,
    Term,
    Unknown,
    Variance,
)
from sigprop.reading.stem import Stem, mean_square, where
from sigprop.reading.stream import Step, wraps

Rule = Callable[["Converter", Any], Vector]


@dataclass(frozen=True)
class Drawn:
    """A matrix or bias as it stands in a branch: the parameter, which of its rows, its law, the
    inputs it sums over."""

    parameter: str
    start: int
    stop: int
    law: Law
    fan_in: int
    packed: bool = False
    axis: int = 0


@dataclass
class Application:
    """A sub-block with the numbers, weights and tables that its names stand for; roles: number to
    what it is ('epsilon', 'scale', or the weight whose variance it is); names: of all of them in
    the whole description."""

    numbers: dict[str, float] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    weights: dict[str, Drawn] = field(default_factory=dict)
    tables: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    block: SubBlock | None = None
    path: str = ""
    names: dict[str, str] = field(default_factory=dict)


class Trial(NamedTuple):
    """What becomes of terms without a rule. write: a term as a node; swallows: whether a node that
    a rule made does not take what such a node returns, and is a part of it."""

    write: Rule
    swallows: Callable[[Vector], bool]


class Converter:
    """Writes the terms of one step as expressions."""

    def __init__(
        self,
        rules: Mapping[type[Term], Rule],
        stem: Stem,
        step: Step,
        width: int,
        named: bool = True,
        trial: Trial | None = None,
        means: NDArray[np.float64] | None = None,
    ) -> None:
        """rules: kind of term to the expression that it is; named: numbers stand under names, as
        those of applications do, else as they are; trial: of what has no rule (None: it is
        refused), and ``tried`` holds where it stands; means: of the state over features, [T],
        which the description's state has not."""
        self.rules = rules
        self.stem = stem
        self.named, self.trial = named, trial
        self.tried: list[str] = []
        self.step = step
        self.width = width
        self.means = means
        self.done = Application(path=where(step.writes[0]))
        self.sent: set[int] = set()  # tokens as experts see them
        self._vectors: dict[int, Vector] = {}
        self._reads: dict[Any, Read] = {}

    def application(self) -> Application:
        """Return the step as a sub-block."""
        branch = self.vector(self.step.writes[0])
        for write in self.step.writes[1:]:
            branch = branch + self.vector(write)
        rule: Vector = Write()
        if self.step.factor:  # without it there is no skip connection
            rule = self.times(self.step.factor, State(0)) + rule
        for wrap in reversed(self.step.norms):
            rule = self.wrapped(wrap, rule)
        self.done.block = SubBlock(tuple(self._reads), branch, rule)
        return self.done

    def vector(self, term: Term) -> Vector:
        """Return a term of the branch as an expression; a term met twice is one expression."""
        if id(term) not in self._vectors:
            self._vectors[id(term)] = self._convert(term)
        return self._vectors[id(term)]

    def _convert(self, term: Term) -> Vector:
        if (read := self._read(term)) is not None:
            return read
        rule = self.rules.get(type(term))
        if self.trial is not None and not isinstance(term, Matrix):
            return self._tried(self.trial, rule, term)
        if rule is None:
            raise self.refused(term)
        return rule(self, term)

    def _tried(self, trial: Trial, rule: Rule | None, term: Term) -> Vector:
        """A term by its rule; where it has none that takes it, by a trial."""
        kept = dict(self._vectors), dict(self._reads), [*self.tried]
        tables = [dict(held) for held in self._held()]
        try:
            if rule is not None and not trial.swallows(vector := rule(self, term)):
                return vector
        except InputError:
            pass
        for held, before in zip(self._held(), tables, strict=True):
            held.clear()
            held.update(before)
        self._vectors, self._reads, self.tried = kept
        return trial.write(self, term)

    def _held(self) -> tuple[dict[str, Any], ...]:
        """What rules note down of an application."""
        return self.done.numbers, self.done.roles, self.done.weights, self.done.tables

    def reads(self, term: Term) -> bool:
        """Tell whether a term is the state, or a norm of it."""
        below = term
        while below is not self.step.state and wraps(below):
            below = below.of
        return below is self.step.state

    def refused(self, term: Term) -> InputError:
        if isinstance(term, Unknown):
            return InputError(
                f"{where(term)}: operation {term.operation} has no rule; accepted: matrices, "
                f"norms, attention, elementwise functions, products and sums, or sampled=True "
                f"(--sampled of inspect), which tries it on Gaussian tokens"
            )
        if isinstance(term, (Mean, Variance, Centred)):
            return InputError(
                f"{where(term)}: a mean over features that belongs to no norm; accepted: "
                f"x/sqrt(mean x^2 + eps) and (x - mean x)/sqrt(var x + eps), eps under the root"
            )
        return InputError(
            f"{where(term)}: {type(term).__name__.lower()} cannot stand in a branch; accepted: "
            f"what is computed from the state before it"
        )

    def _read(self, term: Term) -> Vector | None:
        """The state, or a norm of it, as a read of the sub-block."""
        met: list[Term] = []
        below = term
        while below is not self.step.state and wraps(below):
            met.append(below)
            below = below.of
        if below is not self.step.state or (met and not isinstance(met[-1], Norm)):
            return None
        read: Vector = State(0)
        for wrap in reversed(met):
            read = self.wrapped(wrap, read)
        found = self._reads.setdefault(read, Read(len(self._reads)))
        return found if met or self.means is None else found + self._mean(self.means)

    def _mean(self, means: NDArray[np.float64]) -> Vector:
        """What a matrix sees of a state beside what it is about its mean."""
        name = f"t{len(self.done.tables)}"
        self.done.tables[name] = means
        return Rescale(TokenTable(name), Ones())

    def number(self, value: float, role: str) -> Scalar:
        if not self.named:
            return Constant(value)
        name = f"x{len(self.done.numbers)}"
        self.done.numbers[name] = float(value)
        self.done.roles[name] = role
        return Number(name)

    def times(self, factor: float, vector: Vector) -> Vector:
        return vector if factor == 1.0 else self.number(factor, "scale") * vector

    def wrapped(self, wrap: Term, of: Vector) -> Vector:
        """A norm, its gain or its shift, applied."""
        if isinstance(wrap, Norm):
            self._check_length(wrap)
            return Normalise(of, wrap.kind, self.number(wrap.epsilon, "epsilon"))
        if isinstance(wrap, Gain):
            return self.times(math.sqrt(mean_square(self.stem.spread(wrap.parameter), wrap)), of)
        if isinstance(wrap, Pointwise) and wrap.function.factor is not None:
            return self.times(wrap.function.factor, of)
        assert isinstance(wrap, Shift)
        return self._shifted(of, wrap.parameter)

    def _check_length(self, norm: Norm) -> None:
        features = norm.of.shape[-1]
        if norm.length != features:
            raise InputError(
                f"{where(norm)}: a norm over {norm.length} of {features} features; accepted: over "
                f"all, or over a head's in queries and keys"
            )

    def _shifted(self, of: Vector, parameter: str) -> Vector:
        law = self.stem.spread(parameter)
        return of if law.second == 0 else of + self.bias(parameter, law, 0, self._size(parameter))

    def _size(self, parameter: str) -> int:
        return int(np.prod(self.stem.parameters[parameter].shape))

    def weight(self, drawn: Drawn) -> str:
        """Return the name of a matrix or bias; raises ``InputError`` for one that is met again."""
        for other in self.done.weights.values():
            apart = drawn.stop <= other.start or other.stop <= drawn.start
            if other.parameter == drawn.parameter and not apart:
                raise InputError(
                    f"{drawn.parameter}: used twice in one branch; accepted: once at every "
                    f"application"
                )
        name = f"w{len(self.done.weights)}"
        self.done.weights[name] = drawn
        return name

    def bias(self, parameter: str, law: Law, start: int, stop: int) -> Bias:
        """Return a bias; raises ``InputError`` where its mean is not zero."""
        if law.mean:
            raise InputError(
                f"{parameter}: a bias of mean {law.mean:.3g}; accepted: zero, or drawn around zero"
            )
        packed = stop - start < self._size(parameter)
        name = self.weight(Drawn(parameter, start, stop, law, 1, packed))
        variance = self.number(law.variance, name)
        return Bias(name, variance, Fraction(stop - start, self.width))

    def table(self, values: NDArray[np.float64]) -> TokenTable:
        """Return fixed numbers on scores [T, T], or one such table for each head."""
        name = f"t{len(self.done.tables)}"
        self.done.tables[name] = values
        return TokenTable(name, 2, len(values) if values.ndim > 2 else None)

    def position_bias(
        self, parameter: str, law: Law, buckets: Any, *, size: int, rows: Fraction
    ) -> PositionBias:
        """Return drawn numbers on the scores of heads of ``size`` coordinates (their mean is the
        same for all keys, which a softmax does not see)."""
        name = self.weight(Drawn(parameter, 0, self.stem.parameters[parameter].shape[0], law, 1))
        return PositionBias(name, self.number(law.variance, name), buckets, size, rows)

    def matrix(self, term: Matrix, start: int, stop: int, of: Vector | None = None) -> Vector:
        """Return rows ``start`` to ``stop`` of a matrix, and of its bias, applied (to ``of``, where
        that is given)."""
        self._check_features(term)
        law = self.stem.parameters[term.parameter].law_of(start, stop, term.axis)
        if not law.known or abs(law.mean) > 1e-12:
            raise InputError(
                f"{term.parameter}: its law is {law}; accepted: entries drawn around zero, of one "
                f"variance"
            )
        of = self.vector(term.of) if of is None else of
        packed = stop - start < term.rows
        drawn = Drawn(term.parameter, start, stop, law, term.columns, packed, term.axis)
        name = self.weight(drawn)
        variance = self.number(law.variance * term.columns, name)
        out: Vector = Linear(name, of, variance, Fraction(stop - start, self.width))
        if term.bias is not None:
            of_bias = self.stem.parameters[term.bias].law_of(start, stop, 0)
            if not of_bias.known:
                self.stem.law(term.bias)
            if of_bias.second:
                out = out + self.bias(term.bias, of_bias, start, stop)
        return out

    def _check_features(self, term: Matrix) -> None:
        """A matrix of tokens (a mixer) is none of features; what an expert sees was counted with
        its router."""
        if term.experts > 1:
            return
        entries = int(np.prod(term.shape))
        if entries != term.rows * self.stem.tokens:
            raise InputError(
                f"{where(term)}: a matrix over tokens, or over more than one input; accepted: "
                f"matrices over features, an example of one input"
            )

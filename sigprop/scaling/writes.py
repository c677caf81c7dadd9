"""How large a network's writes are, and each weight's gradient, as functions of N, L, l and a: up
to constants, which are the network's own.

    write      eps^2 S(f), S the second moment of the branch in its variances       S(W x) = C_W
               S(x), S(phi(x)) = S(x) for homogeneous phi
    gradient   eps^2 B(W) S(x) of a weight with input x and what stands above it      B(x) = C_W B(W
               x)

A variance inside an activation that is not homogeneous, or inside a softmax, acts through a
function that is no power: where it depends on size that function stands in the result unevaluated,
and ``powers.degree`` refuses it by name. Derived; tests/theory/exponents/test_size_enters.py
compares the powers with the recursion's slopes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sympy

from sigprop.description.architecture import Architecture
from sigprop.description.family import Family
from sigprop.errors import InputError, short
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
from sigprop.language.formula import Formula
from sigprop.language.nodes import Centre, Experts, Gate, Mix, Ones, Truncate
from sigprop.language.scalar import Scalar, evaluate, names
from sigprop.scaling.residual_rule import ResidualRule, homogeneous, residual_rule
from sigprop.scaling.sizes import as_sympy, varying

ONE = sympy.Integer(1)


@dataclass(frozen=True)
class Sizes:
    """Read scalars of a description as sympy expressions: every named number by its formula."""

    formulas: Mapping[str, Formula]
    blocks: int
    width: int | None
    tokens: int

    def number(self, scalar: Scalar) -> Any:
        """Return the scalar in N, L, l, a, constants included. Raises ``InputError`` for a list,
        which says nothing of other sizes."""
        values = {
            number.name: as_sympy(self.formulas[number.name], number.name, self.blocks, self.width)
            for number in names(scalar)
        }
        return sympy.Integer(1) * evaluate(
            scalar, values, lambda value: as_sympy(value, "a factor")
        )

    def square(self, u: Vector) -> Any:
        """Return S(u), up to constants; 0 where a variance is 0."""
        match u:
            case Read() | Ones():
                return ONE
            case Linear(of=of, variance=variance):
                return varying(self.number(variance)) * self.square(of)
            case Bias(variance=variance):
                return varying(self.number(variance))
            case Scale(factor, of) | Gate(factor, of):
                return varying(self.number(factor)) ** 2 * self.square(of)
            case Activate(activation, of):
                inside = self.square(of)
                return inside if homogeneous(activation) else opaque(u, inside)
            case Product(left, right):
                return self.square(left) * self.square(right)
            case Normalise(epsilon=epsilon):
                return opaque(u, varying(self.number(epsilon)))
            case Truncate(of, fraction):
                return varying(self.number(fraction)) * self.square(of)
            case Rescale(of=of) | Mix(of=of) | Centre(of=of):
                return self.square(of)
            case Dropout(of=of, rate=rate):
                return self.square(of) * opaque(u, varying(self.number(rate)))
            case Experts(of=of, variance=variance):
                return self.square(of) * opaque(u, varying(self.number(variance)))
            case Attend(value=value):
                return self.square(value) * self.scores(u)
            case Sum(terms):
                parts = [part for part in map(self.square, terms) if part != 0]
                alike = all(varying(sympy.simplify(part / parts[0])) == 1 for part in parts[1:])
                return (
                    sympy.Integer(0)
                    if not parts
                    else parts[0]
                    if alike
                    else opaque(u, sympy.Add(*parts))
                )
        raise unknown(u)

    def scores(self, u: Attend) -> Any:
        """Return 1, or what a softmax makes of scores whose size changes."""
        if self.tokens == 1 or u.uniform:
            return ONE
        fixed = u.scores.qk_norm or u.scores.uniform
        of_scores = ONE if fixed else self.square(u.query) * self.square(u.key)
        drawn = None if u.drawn_bias is None else u.drawn_bias.variance
        extra = [
            varying(self.number(scalar))
            for scalar in (u.cap, u.base, u.rate, drawn)
            if scalar is not None
        ]
        return opaque(u, of_scores * sympy.Mul(*extra))

    def size(self, u: Vector) -> Any:
        """Return S(u), of what begins at zero 1."""
        return nonzero(self.square(u))

    def gradients(self, u: Vector, above: Any) -> Iterator[tuple[str, Any]]:
        """Yield (weight, B S(x)) of every weight in u, whose own cotangent has second moment
        ``above``; what begins at zero counts as of order one."""
        match u:
            case Linear(weight=weight, of=of) | Gate(weight=weight, of=of):
                yield weight, above * self.size(of)
            case Bias(weight=weight) | PositionBias(weight=weight):
                yield weight, above
            case _:
                pass
        for part, cotangent in self.below(u, above):
            yield from self.gradients(part, cotangent)

    def below(self, u: Vector, above: Any) -> Iterator[tuple[Vector, Any]]:
        """Yield the vectors that u is made of, each with the second moment of its cotangent."""
        match u:
            case Read() | Bias() | PositionBias():
                return
            case Linear(of=of, variance=variance):
                yield of, above * nonzero(varying(self.number(variance)))
            case Gate(factor, of) | Scale(factor, of):
                yield of, above * nonzero(varying(self.number(factor))) ** 2
            case Activate(activation, of):
                yield of, above if homogeneous(activation) else above * opaque(u, self.size(of))
            case Product(left, right):
                yield left, above * self.size(right)
                yield right, above * self.size(left)
            case Normalise(of=of, epsilon=epsilon):
                yield of, above * opaque(u, varying(self.number(epsilon))) / self.size(of)
            case Truncate(of, fraction):
                yield of, above * nonzero(varying(self.number(fraction)))
            case Dropout(of=of, rate=rate):
                yield of, above * opaque(u, varying(self.number(rate)))
            case Rescale(of=of) | Mix(of=of) | Centre(of=of):
                yield of, above
            case Experts(of=of, variance=variance):
                yield of, above * opaque(u, varying(self.number(variance)))
            case Sum(terms):
                yield from ((term, above) for term in terms)
            case Attend():
                yield from self.legs(u, above)
            case _:
                raise unknown(u)

    def legs(self, u: Attend, above: Any) -> Iterator[tuple[Vector, Any]]:
        """Yield values, queries and keys, each with the second moment of its cotangent."""
        yield u.value, above * self.scores(u)
        through = above * self.size(u.value) * self.scores(u)
        for leg, other in ((u.query, u.key), (u.key, u.query)):
            yield leg, through * (1 / self.size(leg) if u.scores.qk_norm else self.size(other))
        if u.drawn_bias is not None:
            yield u.drawn_bias, through


def unknown(u: Vector) -> InputError:
    """Return the error for a node whose size nobody has said."""
    return InputError(
        f"{short(str(u), 60)}: how {type(u).__name__} depends on size is not known; accepted in a "
        f"branch: nodes that ``Sizes`` reads"
    )


def nonzero(value: Any) -> Any:
    """Return the value; 1 for 0."""
    return ONE if value == 0 else value


def opaque(u: Vector, inside: Any) -> Any:
    """Return 1 where what stands inside depends on no size; else an unevaluated function of it,
    named after the node."""
    return ONE if varying(inside) == 1 or inside == 0 else sympy.Function(short(u, 60))(inside)


@dataclass(frozen=True)
class Write:
    """One independent term of one kind's branch: kind; square: eps^2 S; weights: those that
    stand in it."""

    kind: int
    square: Any
    weights: tuple[str, ...]


@dataclass(frozen=True)
class Writes:
    """rule: the residual rule; added: eps of each kind, in N, L, l, a; writes: all of them;
    gradients {weight: eps^2 B S(x)}; variances {weight: C}: both up to constants."""

    rule: ResidualRule
    added: tuple[Any, ...]
    writes: tuple[Write, ...]
    gradients: Mapping[str, Any]
    variances: Mapping[str, Any]


def sizes_read(arch: Architecture, family: Family | None = None) -> Sizes:
    """Return how numbers of ``arch`` are read: by the family's formulas where it has some, else
    its own."""
    source = family or arch.family
    formulas = arch.formulas if source is None else source.formulas_of(arch)
    return Sizes(
        formulas,
        arch.sizes.get("S", 1) // max(arch.sizes.get("L", 1), 1),
        arch.sizes.get("n"),
        arch.tokens,
    )


def writes(arch: Architecture, family: Family | None = None, trained: bool = False) -> Writes:
    """Return every write and weight of a network with an additive rule or a rotation.

    trained: branches that begin at zero count as of order one, which they are after a step. Raises
    ``InputError`` where a number is a list, or nothing is written.
    """
    rule, read = residual_rule(arch), sizes_read(arch, family)
    added = tuple(read.number(scalar) for scalar in rule.added)
    written: list[Write] = []
    gradients: dict[str, Any] = {}
    for kind, block in enumerate(arch.sub_blocks):
        normed = rule.normed[kind]
        for term in _terms(block.branch, normed):
            whole = read.size(term) if trained else read.square(term)
            above = varying(added[kind]) ** 2 / (whole if normed and whole != 0 else 1)
            of_term = dict(read.gradients(term, above))
            gradients |= of_term
            if added[kind] != 0 and whole != 0:
                written.append(Write(kind, above * whole, tuple(of_term)))
    if not written:
        raise _nothing_written(arch, rule)
    variances = {
        name: nonzero(varying(read.number(node.variance)))
        for name, node in arch.weights.items()
        if isinstance(node, (Linear, Bias, PositionBias))
    }
    return Writes(rule, added, tuple(written), gradients, variances)


def _terms(branch: Vector, normed: bool) -> tuple[Vector, ...]:
    """Return a branch's independent terms; under a norm it is one."""
    return branch.terms if isinstance(branch, Sum) and not normed else (branch,)


def _nothing_written(arch: Architecture, rule: ResidualRule) -> InputError:
    """Return the error that names the numbers which are zero."""
    variances = (node.variance for node in arch.weights.values() if isinstance(node, Linear))
    zero = sorted(
        {
            number.name
            for scalar in (*rule.added, *variances)
            for number in names(scalar)
            if not any_of(arch.numbers[number.name])
        }
    )
    return InputError(
        f"{', '.join(f'{name}=0' for name in zero)}: nothing is written; accepted: numbers at "
        f"which branches write"
    )


def any_of(value: Any) -> bool:
    """Tell if a number or any entry of a table is not 0."""
    return bool(value.any()) if hasattr(value, "any") else value != 0

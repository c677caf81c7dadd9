"""A wide network's vectors by sampled coordinates: forward, and back from the output's cotangent.

In the limit the coordinates of W x over uses and tokens are independent draws of a Gaussian vector
of covariance variance <x, x'>, those of W^T d of variance ratio <d, d'>, and the two independent
(v is). What stands between matrices acts coordinate by coordinate (attention: head by head), so a
sampled coordinate of each space (``spaces``) is everything about it. Grams of what the branch reads
and of its cotangents are the recursion's own (``linear``); others are means over the samples. The
stream's cotangents follow from those of its matrices by the transposed rules.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from sigprop.description.architecture import Architecture
from sigprop.description.checks import BAND
from sigprop.description.sub_block import total
from sigprop.errors import no_rule
from sigprop.language.expression import (
    Activate,
    Attend,
    Bias,
    Normalise,
    Product,
    Read,
    Rescale,
    Scale,
    Sum,
    TokenTable,
    Vector,
)
from sigprop.language.expression import Linear as Matrix
from sigprop.language.nodes import Gate, Mix, Truncate
from sigprop.language.scalar import Scalar, evaluate
from sigprop.language.traversal import walk
from sigprop.theory.calculus.transpose import AttendTransposed, Cotangent, Divide, Transposed
from sigprop.theory.first_step.coordinates import attention, moments
from sigprop.theory.first_step.coordinates.kinds import Kind
from sigprop.theory.first_step.coordinates.linear import Linear
from sigprop.theory.first_step.coordinates.normals import Normals, root
from sigprop.theory.first_step.coordinates.spaces import STREAM

Sample = Float[np.ndarray, "P C T"]
Moments = Float[np.ndarray, "U T U T"]
Leaf = Matrix | Transposed | Bias
LEGS = ("query", "key", "value")


class Particles:
    """One sample of a network's coordinates.

    arch: one band, no learned modulators; linear: ``linear.linear`` of it; cotangent [T]: c_t;
    normals: of all spaces. Vectors are asked for by kind of step, expression and which of the
    kind's steps.
    """

    def __init__(
        self,
        arch: Architecture,
        linear: Linear,
        cotangent: Float[np.ndarray, " T"],
        normals: Normals,
    ):
        self.arch, self.linear, self.output, self.normals = arch, linear, cotangent, normals
        self.kinds = normals.kinds
        if self.elementwise and arch.tied:
            raise no_rule(
                arch.readout.branch,
                "no first step of tied weights behind what acts on the stream's coordinates",
                "branches that begin with a matrix, or untied weights",
            )
        self.places = {int(p): (kind, i) for kind in self.kinds for i, p in enumerate(kind.steps)}
        self._values: dict[tuple[int, Vector, int], Any] = {}
        self._leaves: dict[tuple[int, Vector], Any] = {}
        self._states: list[Any] = []
        self.v = normals.one("v")[:, 0]  # [P]
        self.band, self.weights = _bands(np.asarray(arch.bands), len(self.v))

    @cached_property
    def cotangents(self) -> list[Float[np.ndarray, "P m T"]]:
        """Of the lanes before every step, and after the last, on the stream."""
        linear, tokens = self.linear, self.arch.tokens
        after = np.zeros((len(self.v), linear.transition.shape[1], tokens))
        found = [after]
        for p in reversed(range(len(linear.kinds))):
            kind, i = self.places[p]
            self._values[kind.index, Cotangent(), i] = self._arriving(p, after)
            after = np.einsum("ijpt,pit->pjt", self.coordinates(linear.transition[p]), after)
            for j in range(len(kind.block.reads)):
                term = kind.spaces.gradient.by_read(j)
                if term is not None:
                    back = self.value(kind, term, i)[:, 0]
                    reads = self.coordinates(linear.reads[p, j])
                    after = after + np.einsum("mpt,pt->pmt", reads, back)
            found.append(after)
        return found[::-1]

    @cached_property
    def at_stem(self) -> Float[np.ndarray, "P T"]:
        """The cotangent of the stem's output."""
        return np.einsum("mpt,pmt->pt", self.coordinates(self.linear.initial), self.cotangents[0])

    def _arriving(self, p: int, after: Float[np.ndarray, "P m T"]) -> Sample:
        """Return the cotangent of a step's write (of a tap's: v c_t)."""
        if self.linear.taps[p]:
            return self.v[:, None, None] * self.output[None, None]
        return np.einsum("mpt,pmt->pt", self.coordinates(self.linear.into[p]), after)[:, None]

    def state(self, p: int) -> Float[np.ndarray, "P m T"]:
        """The lanes before step p: needed where something acts on the stream's coordinates."""
        if not self._states:
            gram = np.asarray(total(self.arch.stem_parts), dtype=np.float64)
            stem = self.normals.one("stem") @ root(gram).T
            initial = self.coordinates(self.linear.initial)
            self._states.append(np.einsum("mpt,pt->pmt", initial, stem))
        while len(self._states) <= p:
            at = len(self._states) - 1
            kind, i = self.places[at]
            transition = self.coordinates(self.linear.transition[at])
            moved = np.einsum("ijpt,pjt->pit", transition, self._states[-1])
            if not self.linear.taps[at]:
                write = self.value(kind, kind.block.branch, i)
                into = self.coordinates(self.linear.into[at])
                moved = moved + np.einsum("mpt,pt->pmt", into, write[:, 0])
            self._states.append(moved)
        return self._states[p]

    def value(self, kind: Kind, u: Vector, i: int) -> Sample:
        """[P, C, T] of a vector at the kind's i-th step."""
        key = kind.index, u, i
        if key not in self._values:
            if isinstance(u, Cotangent):
                _ = self.cotangents
            else:
                self._values[key] = self._value(kind, u, i)
        return self._values[key]

    def _value(self, kind: Kind, u: Vector, i: int) -> Any:
        match u:
            case Read(j):
                p = int(kind.steps[i])
                reads = self.coordinates(self.linear.reads[p, j])
                read = np.einsum("mpt,pmt->pt", reads, self.state(p))
                return read[:, None]
            case Matrix() | Transposed() | Bias():
                return self.leaf(kind, u, i)
            case Activate(activation, of, order):
                x = np.asarray(self.value(kind, of, i), dtype=np.float32)
                function = activation.function if order == 0 else activation.derivative
                return np.asarray(function(x), dtype=np.float64)
            case Scale(factor, of) | Gate(factor, of):
                return self.number(kind, factor, i) * self.value(kind, of, i)
            case Product(left, right):
                return self.value(kind, left, i) * self.value(kind, right, i)
            case Sum(terms):
                return sum(self.value(kind, term, i) for term in terms)
            case Normalise(of=of) | Divide(of=of):
                return self.value(kind, of, i) / self.norm(kind, u, i)
            case Truncate():
                return self.value(kind, u.of, i) * self.kept(kind, u, i)
            case Mix() | Rescale():
                return self.value(kind, u.of, i) @ self.mixing(kind, u, i)
            case Attend():
                legs, numbers = self.legs(kind, u, i), self.numbers(kind, u, i)
                return attention.output(u, numbers, legs)
            case AttendTransposed(node, of, leg) if leg in LEGS:
                return self._pulled(kind, node, of, i)[LEGS.index(leg)]
        raise no_rule(
            u,
            "no rule for a step's change of it",
            "matrices, biases, gates, activations, products, norms, attention",
        )

    def _pulled(self, kind: Kind, node: Attend, of: Vector, i: int) -> Any:
        """Return all legs' cotangents, which are made at once."""
        key = kind.index, AttendTransposed(node, of, "legs"), i
        if key not in self._values:
            legs, numbers = self.legs(kind, node, i), self.numbers(kind, node, i)
            self._values[key] = attention.pulled(node, numbers, legs, self.value(kind, of, i))
        return self._values[key]

    def legs(self, kind: Kind, node: Attend, i: int) -> Any:
        """Queries, keys and values [P, C, T]."""
        return tuple(np.ascontiguousarray(self.value(kind, leg, i)) for leg in node.legs)

    def numbers(self, kind: Kind, node: Attend, i: int) -> attention.Numbers:
        """What an attention node is given at a step."""
        cap, base = (None if x is None else self.number(kind, x, i) for x in (node.cap, node.base))
        bias = node.bias
        return attention.Numbers(
            cap, base, kind.table(bias.name, i) if isinstance(bias, TokenTable) else None
        )

    def number(self, kind: Kind, scalar: Scalar, i: int) -> Any:
        """A number at a step."""
        return np.asarray(evaluate(scalar, kind.numbers(i)), dtype=np.float64)

    def mixing(self, kind: Kind, u: Mix | Rescale, i: int) -> Float[np.ndarray, "T T"]:
        """A with (A^T) on tokens: o_t = sum_s of_s A_st."""
        if isinstance(u, Rescale):
            return np.diag(kind.table(u.factor.name, i))
        table = kind.table(u.table.name, i)
        return table if u.turned else table.T

    def norm(self, kind: Kind, u: Normalise | Divide, i: int) -> Float[np.ndarray, " T"]:
        """What a norm divides by, token by token."""
        node = u if isinstance(u, Normalise) else u.by
        moments = self.moments(kind, node.of)[i, :, i]
        return np.sqrt(np.diagonal(moments) + self.number(kind, node.epsilon, i))

    def leaf(self, kind: Kind, u: Leaf, i: int) -> Sample:
        """The i-th step's draw of what a matrix or a bias gives."""
        key = kind.index, u
        if not kind.tied(u.weight):
            step = np.arange(i, i + 1)
            return self.normals.drawn(kind, u, self._covariance(kind, u, step), step)[:, :, 0]
        if key not in self._leaves:
            every = np.arange(len(kind.steps))
            self._leaves[key] = self.normals.drawn(kind, u, self._covariance(kind, u, every), every)
        return self._leaves[key][:, :, i]

    def _covariance(self, kind: Kind, u: Leaf, at: Any) -> Moments:
        """<u, u'> over these steps of the kind, 0 where they share no slot."""
        same = kind.same(u.weight)[np.ix_(at, at)]
        variance = np.array([self.number(kind, u.variance, int(i)) for i in at])
        sizes = np.sqrt(variance[:, None] * variance[None])
        if isinstance(u, Bias):
            square = np.ones((len(at), self.arch.tokens) * 2)
        else:
            square = self.moments(kind, u.of, at)
        if isinstance(u, Transposed):
            square = square * float(u.ratio.value)
        return np.where(same[:, None, :, None], square * sizes[:, None, :, None], 0.0)

    def moments(self, kind: Kind, u: Vector, steps: Any = None) -> Moments:
        """<u, u'> over the kind's steps (or these): the recursion's where u is linear in what is
        read or comes back, else a mean over the sample."""
        at = np.arange(len(kind.steps)) if steps is None else steps
        exact = self._linear(kind, u, at) if self.linear_leaf(u) is not None else None
        if exact is not None:
            leaf, matrix = exact
            own = kind.steps[at]
            if isinstance(leaf, Read):
                gram = self.linear.read_grams[own][:, leaf.index][:, :, own, leaf.index]
            else:
                gram = self.linear.cotangent_grams[own][:, :, own]
            gram = np.where(np.isnan(gram), 0.0, gram)
            return np.einsum("ust,utvw,vxw->usvx", matrix, gram, matrix)
        if moments.ruled(u) and not self.sampled:
            return self._by_rule(kind, u, at)
        sample = np.stack([self.value(kind, u, int(i)) for i in at], axis=2)
        count, size = sample.shape[:2]
        flat = sample.reshape(count * size, -1)
        return (flat.T @ (flat * self.weighing(kind, u, flat))).reshape(sample.shape[2:] * 2)

    def _by_rule(self, kind: Kind, u: Vector, at: Any) -> Moments:
        """<u, u'> by the calculus, of steps that share a slot of any weight."""
        names = sorted(kind.block.weights)
        same = {name: kind.same(name)[np.ix_(at, at)] for name in names}
        shared = np.logical_or.reduce([np.eye(len(at), dtype=bool), *same.values()])
        a, b = np.nonzero(shared)
        p, q = kind.steps[at[a]], kind.steps[at[b]]
        both = ((p, p), (p, q), (q, q))
        reads, cotangents = self.linear.read_grams, self.linear.cotangent_grams
        tables = [kind.given(int(i)) for i in at]
        given = {name: np.stack([table[name] for table in tables]) for name in tables[0]}
        found = moments.inner_products(
            u,
            moments.Pairs(
                np.stack([np.swapaxes(reads[x, :, :, y], 2, 3) for x, y in both]),
                np.stack([cotangents[x, :, y] for x, y in both]),
                {place: {n: t[k] for n, t in given.items()} for place, k in (("a", a), ("b", b))},
                {name: tie[a, b].astype(np.float64) for name, tie in same.items()},
            ),
        )
        tokens = self.arch.tokens
        gram = np.zeros((len(at), tokens, len(at), tokens))
        gram[a, :, b] = found
        return gram

    def coordinates(self, table: Float[np.ndarray, "*axes K T"]) -> Float[np.ndarray, "*axes P T"]:
        """A table of bands, for each coordinate of the stream its band's."""
        return table[..., self.band, :]

    def weighing(self, kind: Kind, u: Vector, flat: Any) -> Any:
        """The weight of each of the coordinates [P C] of a vector's space, of sum 1 (one number
        where all have the same)."""
        on_stream = len(self.arch.bands) > 1 and kind.spaces.of(u) == STREAM
        return self.weights[:, None] if on_stream else 1 / len(flat)

    def mean(self, kind: Kind, u: Vector, x: Float[np.ndarray, "P C"]) -> float:
        """The mean over the coordinates of a vector's space."""
        flat = x.reshape(-1, 1)
        return float((flat * self.weighing(kind, u, flat)).sum())

    def kept(self, kind: Kind, u: Truncate, i: int) -> Float[np.ndarray, "P C 1"]:
        """1 for coordinates that a truncation leaves, else 0."""
        share, size = float(self.number(kind, u.fraction, i)), kind.spaces.size(u)
        if kind.spaces.of(u) == STREAM:
            left = np.cumsum(self.arch.bands) <= share + BAND
            return left[self.band].astype(np.float64)[:, None, None]
        if u.parts > 1 and size > 1:
            whole = share * size
            if abs(whole - round(whole)) > BAND * size:
                raise no_rule(u, f"{whole:g} coordinates of a head", "a whole number of them")
            return (np.arange(size) < round(whole)).astype(np.float64)[None, :, None]
        if kind.spaces.columns(u) not in (1, u.parts):
            raise no_rule(u, f"{u.parts} runs of coordinates", "one of every head")
        count = self.normals.particles(kind, u)
        return (np.arange(count) + 0.5 < share * count).astype(np.float64)[:, None, None]

    @property
    def sampled(self) -> bool:
        """Whether the stream's coordinates are not all alike Gaussian, so that they are sampled."""
        return self.elementwise or len(self.arch.bands) > 1

    @cached_property
    def elementwise(self) -> bool:
        """Whether something acts on the stream's coordinates one by one."""
        return any(
            isinstance(node, (Activate, Product)) and kind.spaces.of(node) == STREAM
            for kind in self.kinds
            for node in walk(kind.block.branch)
        )

    def linear_leaf(self, u: Vector) -> Vector | None:
        """What is read or comes back, where u is linear in it, else None."""
        while isinstance(u, (Scale, Mix, Rescale, Normalise, Divide)):
            u = u.of
        return u if isinstance(u, (Read, Cotangent)) else None

    def _linear(self, kind: Kind, u: Vector, at: Any) -> tuple[Vector, Any] | None:
        """Return (the leaf, M [U, T, T]) where u = M leaf, else None."""
        if isinstance(u, (Read, Cotangent)):
            return u, np.broadcast_to(np.eye(self.arch.tokens), (len(at), *[self.arch.tokens] * 2))
        if not isinstance(u, (Scale, Mix, Rescale, Normalise, Divide)):
            return None
        inside = self._linear(kind, u.of, at)
        if inside is None:
            return None
        leaf, matrix = inside
        if isinstance(u, Scale):
            factors = [np.eye(self.arch.tokens) * self.number(kind, u.factor, int(i)) for i in at]
        elif isinstance(u, (Mix, Rescale)):
            factors = [self.mixing(kind, u, int(i)).T for i in at]
        else:
            factors = [np.diag(1 / self.norm(kind, u, int(i))) for i in at]
        return leaf, np.stack(factors) @ matrix


def _bands(widths: Float[np.ndarray, " K"], count: int) -> tuple[Any, Any]:
    """Return the band of each of the stream's coordinates, and their weights: runs of (nearly) as
    many coordinates, each run of a sequence of low discrepancy being one."""
    band = np.arange(count) * len(widths) // count
    return band, (widths / np.bincount(band, minlength=len(widths)))[band]

"""The direction of a first step, group by group, as a function of sampled cotangents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from sigprop.description.structure import READOUT
from sigprop.description.sub_block import inputs
from sigprop.errors import InputError, no_rule
from sigprop.language.expression import Bias, Linear, Normalise, Read, Scale, Vector
from sigprop.language.nodes import Centre, Gate, Project, Truncate
from sigprop.language.scalar import Constant
from sigprop.language.traversal import rows_of, walk
from sigprop.theory.calculus.transpose import AttendTransposed, Transposed
from sigprop.theory.first_step import updates
from sigprop.theory.first_step.coordinates.faint import Faint
from sigprop.theory.first_step.coordinates.kinds import Kind
from sigprop.theory.first_step.coordinates.particles import Particles
from sigprop.theory.first_step.coordinates.vanishing import faint

INPUTS = 512
"""Coordinates of inputs that are no Gaussians, over which the mean of a sign is taken."""


class Directions:
    """What a step of rate 1 does to each weight of one sample.

    optimizer: 'sgd', 'adam', or 'muon' (matrices; 'adam' for the rest); epsilon {group: of Adam,
    over what makes a gradient's entries of order one}, 0 where not named.
    """

    def __init__(
        self, particles: Particles, optimizer: str, epsilon: Mapping[str, float] | None = None
    ):
        self.particles, self.optimizer = particles, optimizer
        self.epsilon = dict.fromkeys(particles.arch.groups, 0.0) | dict(epsilon or {})
        self._faint = Faint(particles)
        self._made: dict[tuple[int, str, int], Any] = {}

    def transposed(self, kind: Kind, u: Linear) -> Transposed:
        """The transposed matrix that goes with a use of the matrix."""
        (pair,) = self._pairs(kind, u.weight)
        return Transposed(u.weight, pair[1], u.variance, Constant(u.rows / rows_of(u.of)))

    def view(self, kind: Kind, u: Linear | Bias | Gate) -> Particles:
        """The sample in which a weight's cotangents are seen: at their own scale where all that
        comes back to it comes through scores that vanish, and the step does not depend on its
        gradient's size."""
        ((_, d),) = self._pairs(kind, u.weight)
        sized = self.epsilon[u.weight] > 0 and not (
            self.optimizer == "muon" and isinstance(u, Linear)
        )
        if self.optimizer == "sgd" or sized or not faint(d):
            return self.particles
        seen = any(self.particles.value(kind, d, i).any() for i in range(len(kind.steps)))
        return self.particles if seen else self._faint

    def _pairs(self, kind: Kind, weight: str) -> Any:
        pairs = kind.spaces.gradient.uses[weight]
        if len(pairs) != 1:
            raise no_rule(weight, f"it stands {len(pairs)} times in its branch", "once")
        return pairs

    def of(self, kind: Kind, u: Linear | Bias | Gate, i: int) -> Float[np.ndarray, "P C T"]:
        """The change of a weight's output at the i-th step's input."""
        uses = kind.sharing(u.weight, i)
        key = kind.index, u.weight, uses[0]
        if key not in self._made:
            self._made[key] = self._of(kind, u, uses)
        return self._made[key][:, :, uses.index(i)]

    def _of(self, kind: Kind, u: Any, uses: list[int]) -> Float[np.ndarray, "P C U T"]:
        """Return the change at every use of a slot."""
        ((_, d),) = self._pairs(kind, u.weight)
        view = self.view(kind, u)
        cotangents = np.stack([view.value(kind, d, j) for j in uses], axis=2)
        shape = cotangents.shape
        if isinstance(u, Bias):
            gradient = cotangents.sum(axis=(2, 3), keepdims=True)
            return np.broadcast_to(self._vector(u.weight, gradient), shape)
        if isinstance(u, Gate):
            return self._gate(kind, u, cotangents, uses)
        flat = cotangents.reshape(shape[0] * shape[1], -1)
        return self._matrix(kind, u, flat, uses).reshape(shape)

    def whole(self, kind: Kind, u: Any, i: int) -> Any:
        """The mean square [T] of a polar factor's whole effective change, <x, P x> of a projection
        on the inputs that something comes back from, where the limit has a part of it; else None.

        Where a norm or a projection acts on a write, its tokens' cotangents are parallel in the
        limit, v c_t, and n^-1/2 beside it (what the norm projects out). At every width a polar
        factor has those directions with singular values of 1 as well. What they write is what the
        norm takes away again.
        """
        if self.optimizer != "muon" or not isinstance(u, Linear):
            return None
        if not (self.normed_in_rule(kind) or _normed(self.particles.arch.readout.read)):
            return None
        uses = kind.sharing(u.weight, i)
        ((_, d),) = self._pairs(kind, u.weight)
        a, b = (self._square(kind, x, uses) for x in (d, u.of))
        heard = np.diagonal(a) > 0
        kept = np.diag(heard.astype(np.float64))
        if _sums_to_zero(d):  # at every width, and use by use
            use = np.repeat(np.arange(len(uses)), self.particles.arch.tokens)
            same = kept @ (use[:, None] == use[None]) @ kept
            kept = kept - same / np.maximum(same.sum(axis=1, keepdims=True), 1.0)
        inputs_heard = kept @ b @ kept
        if not heard.any() or _rank(a) >= _rank(inputs_heard):
            return None
        whole = b @ kept @ np.linalg.pinv(inputs_heard, hermitian=True) @ kept @ b
        tokens = self.particles.arch.tokens
        return np.diagonal(whole)[uses.index(i) * tokens :][:tokens]

    def _square(self, kind: Kind, x: Vector, uses: list[int]) -> updates.Gram:
        """Return <x, x'> over uses and tokens."""
        moments = self.particles.moments(kind, x, np.array(uses))
        return moments.reshape(len(uses) * moments.shape[1], -1)

    def normed_in_rule(self, kind: Kind) -> bool:
        """Tell if a norm or a projection acts on what the branch writes."""
        return any(_normed(lane) for lane in kind.block.rule)

    def _vector(self, group: str, gradient: Any) -> Any:
        if self.optimizer == "sgd":
            return gradient
        return updates.normalised(gradient, self.epsilon[group])

    def _gate(self, kind: Kind, u: Gate, cotangents: Any, uses: list[int]) -> Any:
        """Return the change of what a gate of one coordinate, or of a head, gives."""
        size = kind.spaces.size(u)
        if u.size != size:
            raise no_rule(u, f"a gate of {u.size} coordinates", f"one of {size}")
        together = (1, 2, 3) if size > 1 else (2, 3)
        x = np.stack([self.particles.value(kind, u.of, j) for j in uses], axis=2)
        gradient = (cotangents * x).sum(axis=together, keepdims=True)
        return self._vector(u.weight, gradient) * x

    def _matrix(self, kind: Kind, u: Linear, d: Any, uses: list[int]) -> Any:
        """Return [P C, K], the change at every use and token."""
        x, epsilon = u.of, self.epsilon[u.weight]
        gram = self._square(kind, x, uses)
        length = float(rows_of(x))
        if self.optimizer == "sgd":
            return length * updates.by_gradient(d, gram)
        if self.optimizer == "muon":
            weights = self.particles.weighing(kind, self._pairs(kind, u.weight)[0][1], d)
            return updates.by_polar(d, gram, d.T @ (d * weights))
        if self._gaussian(kind, x):
            return length * updates.by_entries(d, gram, epsilon)
        sample = np.stack([self.particles.value(kind, x, j) for j in uses], axis=2)
        flat = sample.reshape(sample.shape[0] * sample.shape[1], -1)
        weights = self.particles.weighing(kind, x, flat)
        if np.ndim(weights) == 0 and not any(isinstance(node, Truncate) for node in walk(x)):
            flat = flat[:INPUTS]  # of points of low discrepancy the first are ones, too
        return length * updates.by_sampled_entries(d, flat, epsilon, weights)

    def _gaussian(self, kind: Kind, x: Any) -> bool:
        """Tell if inputs are Gaussian: what is read, where nothing acts on the stream's
        coordinates."""
        linear = self.particles.linear_leaf(x)
        return isinstance(linear, Read) and not self.particles.sampled

    def descent(self, kind: Kind, u: Linear | Bias | Gate) -> float:
        """Return sum_t c_t dz_t by one weight at rate 1: <D, dW X>/n, summed over its slots."""
        ((_, d),) = self._pairs(kind, u.weight)
        overlaps = (
            self.particles.mean(
                kind, d, (self.particles.value(kind, d, i) * self.of(kind, u, i)).sum(axis=-1)
            )
            for i in range(len(kind.steps))
        )
        return float(rows_of(u)) * float(sum(overlaps))

    def stem(self, part: str, cotangent: Any) -> Float[np.ndarray, "P T"]:
        """The change of the stem's output by one of its parts; cotangent [P, T]."""
        table = inputs(self.particles.arch.stem_parts[part].gram)
        return self._vector(part, cotangent @ table) @ table.T

    def stem_descent(self, part: str) -> float:
        """Return sum_t c_t dz_t by a part of the stem at rate 1, whose cotangent is Gaussian where
        nothing acts on the stream's coordinates."""
        particles = self.particles
        table = inputs(particles.arch.stem_parts[part].gram)
        if particles.sampled:
            cotangent = particles.at_stem @ table
            change = (cotangent * self._vector(part, cotangent)).sum(axis=-1)
            return float(particles.weights @ change)
        square = np.diagonal(table.T @ particles.linear.stem @ table)
        if self.optimizer == "sgd":
            return float(square.sum())
        size = np.sqrt(square)
        return float((size * updates.mean_slope(size, self.epsilon[part])).sum())

    def readout(self) -> Float[np.ndarray, " T"]:
        """The change of the output by the read-out."""
        particles = self.particles
        (kind,) = (kind for kind in particles.kinds if particles.linear.taps[kind.steps[0]])
        if particles.linear_leaf(kind.block.branch) is None:
            raise no_rule(kind.block.branch, "a read-out that is not linear", "a linear one")
        if self.optimizer != "sgd" and len(particles.arch.bands) > 1:
            every = [particles.value(kind, kind.block.branch, i) for i in range(len(kind.steps))]
            outputs = sum(every[1:], every[0])[:, 0]
            step = self._vector(READOUT, outputs @ particles.output)
            return (particles.weights * step) @ outputs
        gram = particles.moments(kind, kind.block.branch).sum(axis=(0, 2))
        mixed = gram @ particles.output
        if self.optimizer == "sgd":
            return mixed
        size = np.sqrt(float(particles.output @ mixed))
        slope = updates.mean_slope(np.asarray(size), self.epsilon[READOUT])
        return slope * mixed / size if size > 0 else 0 * mixed


def check_optimizer(name: str) -> str:
    """Return the optimizer's name; raise ``InputError`` where there is no such one."""
    if name not in updates.OPTIMIZERS:
        raise InputError(f"optimizer={name!r}; accepted: {', '.join(updates.OPTIMIZERS)}")
    return name


def _normed(u: Vector) -> bool:
    """Tell if a norm or a projection stands in an expression."""
    return any(isinstance(node, (Normalise, Project, Centre)) for node in walk(u))


def _sums_to_zero(d: Vector) -> bool:
    """Tell if cotangents of a use's tokens have the sum 0, as those of keys have: a number that is
    added to all scores of a query changes nothing."""
    while isinstance(d, (Scale, Truncate)):
        d = d.of
    if not isinstance(d, AttendTransposed) or d.leg != "key" or d.attend.cap is not None:
        return False
    return not (d.attend.scores.qk_norm or d.attend.scores.rotary)


def _rank(gram: updates.Gram) -> int:
    """Return the rank of a positive semi-definite matrix, but for rounding."""
    values = np.linalg.eigvalsh(gram)
    return int((values > updates.ZERO * max(float(values.max()), 0.0)).sum())

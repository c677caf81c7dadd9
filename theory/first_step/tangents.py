r"""How a wide network's vectors change with its parameters, setting by setting of the rates.

    (W + dW)(x + dx) - W x = dW x + W dx        effective and propagating part of a matrix's output

dW x is ``updates``' function of the output's cotangents d_k. W dx has a part that is new, Gaussian
of covariance variance <dx, dx'>, and one along the cotangents, because dx depends on W^T d_k (the
step moved earlier weights by what came back through W): sum_k c_k d_k with <dx, W^T d_k> = ratio
sum_l c_l <d_l, d_k>. (Of an orthogonal matrix what is new is the part of dx beside all W^T d_k.)
All changes are odd in the read-out v, so none overlaps with a state: norms and the means that
LayerNorm takes away do not change to first order. Source: derived
(docs/first-step.md; tests/theory/first_step/: explicit networks).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sigprop.description.structure import READOUT
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
    Vector,
)
from sigprop.language.expression import Linear as Matrix
from sigprop.language.nodes import Gate, Mix, Truncate
from sigprop.theory.first_step.coordinates import attention
from sigprop.theory.first_step.coordinates.kinds import Kind
from sigprop.theory.first_step.coordinates.normals import root
from sigprop.theory.first_step.coordinates.vanishing import vanishes
from sigprop.theory.first_step.directions import Directions

Change = Float[np.ndarray, "S P C T"]
ALL = "all"
CUT = 1e-9
"""Relative to the largest: directions of cotangents below it are rounding."""


class Changes(NamedTuple):
    """Of S settings, each group alone and then all together: output and readout [S, T], the change
    of z_t by the last state's change and by the read-out's; state [S, D + 1, T], mean squared
    change of a coordinate of lane 0; of every weight, by application [U, T]: effective and
    propagating, mean squares of a coordinate of its output."""

    output: Float[np.ndarray, "S T"]
    readout: Float[np.ndarray, "S T"]
    state: Float[np.ndarray, "S D+1 T"]
    effective: dict[str, Float[np.ndarray, "U T"]]
    propagating: dict[str, Float[np.ndarray, "U T"]]


class _Earlier(NamedTuple):
    """Of earlier uses of a slot: their inputs' changes [S, T, P C] and places among the normals,
    and rows of the factor of their covariance."""

    inputs: list[tuple[Any, int]]
    factor: Float[np.ndarray, "S K K"]


class Tangents:
    """One sample's changes along a step.

    directions: the step, of a sample; rates: {group: rate}; apart: whether groups are settings of
    their own (else all together alone).
    """

    def __init__(self, directions: Directions, rates: Mapping[str, float], apart: bool = True):
        self.particles, self.directions, self.rates = directions.particles, directions, rates
        self.settings = (*self.particles.arch.groups, ALL) if apart else (ALL,)
        self.effective: dict[str, list[Any]] = {}
        self.propagating: dict[str, list[Any]] = {}
        self._earlier: dict[tuple[int, str, int], _Earlier] = {}
        self._here: dict[Vector, Any] = {}
        self._read: Any = None

    def run(self) -> Changes:
        """Go through the steps in order."""
        particles, linear = self.particles, self.particles.linear
        lanes, states = self._stem(), []
        output = np.zeros((len(self.settings), particles.arch.tokens))
        for p in range(len(linear.kinds)):
            kind, i = particles.places[p]
            if linear.taps[p] or p == 0 or not linear.taps[p - 1]:
                states.append(self._square(lanes))
            self._read = [
                np.einsum("mpt,spmt->spt", particles.coordinates(rho), lanes)
                for rho in linear.reads[p]
            ]
            self._here = {}
            change = self.along(kind, kind.block.branch, i)
            if linear.taps[p]:
                if change is not None:
                    v = particles.v * particles.weights
                    output += np.einsum("p,spt->st", v, change[:, :, 0])
                continue
            transition = particles.coordinates(linear.transition[p])
            lanes = np.einsum("ijpt,spjt->spit", transition, lanes)
            if change is not None:
                into = particles.coordinates(linear.into[p])
                lanes = lanes + np.einsum("mpt,spt->spmt", into, change[:, :, 0])
        states.append(self._square(lanes))
        readout = np.zeros_like(output)
        readout[self._settings(READOUT)] = self.rates[READOUT] * self.directions.readout()
        return Changes(
            output,
            readout,
            np.stack(states[: particles.arch.depth + 1], axis=1),
            {name: np.stack(rows) for name, rows in self.effective.items()},
            {name: np.stack(rows) for name, rows in self.propagating.items()},
        )

    def _settings(self, group: str) -> list[int]:
        """Return the settings in which a group moves."""
        return [s for s, name in enumerate(self.settings) if name in (group, ALL)]

    def _stem(self) -> Float[np.ndarray, "S P m T"]:
        """Return the change of the first lanes."""
        particles = self.particles
        initial = particles.coordinates(particles.linear.initial)
        cotangent = particles.at_stem
        change = np.zeros((len(self.settings), *cotangent.shape))
        for part in particles.arch.stem_parts:
            moved = self.rates[part] * self.directions.stem(part, cotangent)
            change[self._settings(part)] += moved
        return np.einsum("mpt,spt->spmt", initial, change)

    def _square(self, lanes: Float[np.ndarray, "S P m T"]) -> Float[np.ndarray, "S T"]:
        """Return the mean square of a coordinate of lane 0."""
        return np.einsum("p,spt->st", self.particles.weights, lanes[:, :, 0] ** 2)

    def along(self, kind: Kind, u: Vector, i: int) -> Change | None:
        """The change [S, P, C, T] of a vector at the kind's i-th step; None where it is zero."""
        if u not in self._here:
            self._here[u] = self._along(kind, u, i)
        return self._here[u]

    def _along(self, kind: Kind, u: Vector, i: int) -> Any:
        particles = self.particles
        match u:
            case Read(j):
                return self._read[j][:, :, None]
            case Matrix():
                return self._matrix(kind, u, i)
            case Bias():
                return self._effective(kind, u, i)
            case Activate(activation, of, order=0):
                slope = particles.value(kind, Activate(activation, of, 1), i)
                return _times(slope, self.along(kind, of, i))
            case Scale(factor, of):
                return _times(particles.number(kind, factor, i), self.along(kind, of, i))
            case Gate(factor, of):
                moved = _times(particles.number(kind, factor, i), self.along(kind, of, i))
                return _sum([moved, self._effective(kind, u, i)])
            case Product(left, right):
                terms = ((left, right), (right, left))
                parts = (
                    _times(particles.value(kind, x, i), self.along(kind, y, i)) for x, y in terms
                )
                return _sum(list(parts))
            case Sum(terms):
                return _sum([self.along(kind, term, i) for term in terms])
            case Normalise(of=of):
                return _times(1 / particles.norm(kind, u, i), self.along(kind, of, i))
            case Truncate():
                return _times(particles.kept(kind, u, i), self.along(kind, u.of, i))
            case Mix() | Rescale():
                change = self.along(kind, u.of, i)
                return None if change is None else change @ particles.mixing(kind, u, i)
            case Attend():
                return self._attention(kind, u, i)
        raise no_rule(
            u,
            "no rule for a step's change of it",
            "matrices, biases, gates, activations, products, norms, attention",
        )

    def _attention(self, kind: Kind, u: Attend, i: int) -> Any:
        """Return the change of attention's output."""
        particles = self.particles
        if vanishes(u) and self.directions.optimizer == "muon" and particles.arch.tokens > 1:
            # at every width its polar factors count n^-1/2 of the scores whole
            raise no_rule(u, "no changes by Muon with scores that vanish", "score_scale=sqrt")
        changes = [self.along(kind, leg, i) for leg in u.legs]
        legs = particles.legs(kind, u, i)
        shape = (len(self.settings), *legs[0].shape)
        zero = np.zeros(shape)
        q, k, v = (
            zero if x is None else np.ascontiguousarray(np.broadcast_to(x, shape)) for x in changes
        )
        return attention.moved(u, particles.numbers(kind, u, i), legs, (q, k, v))

    def _effective(self, kind: Kind, u: Any, i: int) -> Any:
        """Return dW x in the settings in which W moves, 0 in the others."""
        moved = self.directions.of(kind, u, i)
        square, whole = self._mean_square(kind, u, moved), self.directions.whole(kind, u, i)
        if whole is not None:
            if not self.directions.normed_in_rule(kind):
                moved = moved + self._beside(kind, i, moved.shape, whole - square)
            square = whole
        square = square * self.rates[u.weight] ** 2
        tokens = self.particles.arch.tokens
        self.effective.setdefault(u.weight, []).append(np.broadcast_to(square, (tokens,)))
        change = np.zeros((len(self.settings), *moved.shape[:2], tokens))
        change[self._settings(u.weight)] = self.rates[u.weight] * moved
        return change

    def _beside(self, kind: Kind, i: int, shape: tuple[int, ...], square: Any) -> Any:
        """Return what a polar factor writes along the state beside its limit: of this mean square,
        seen by states until the read-out's norm takes it away."""
        seed = [self.particles.normals.seed, int(kind.steps[i])]
        normals = np.random.default_rng(seed).standard_normal(shape)
        return normals * np.sqrt(np.maximum(square, 0.0))

    def _mean_square(self, kind: Kind, u: Vector, change: Any) -> Any:
        """Return the mean square over coordinates [P, C, T] of a vector's space."""
        flat = change.reshape(-1, change.shape[-1])
        return (flat**2 * self.particles.weighing(kind, u, flat)).sum(axis=0)

    def _matrix(self, kind: Kind, u: Matrix, i: int) -> Any:
        """Return the change of what a matrix gives."""
        inside = self.along(kind, u.of, i)
        moved = None
        if inside is not None and self.particles.number(kind, u.variance, i):
            moved = self._propagated(kind, u, i, inside)
        tokens = self.particles.arch.tokens
        square = np.zeros(tokens) if moved is None else self._mean_square(kind, u, moved[-1])
        self.propagating.setdefault(u.weight, []).append(square)
        return _sum([moved, self._effective(kind, u, i)])

    def _propagated(self, kind: Kind, u: Matrix, i: int, inside: Change) -> Change:
        """Return W dx: its part along the cotangents, and what is new."""
        particles = self.particles
        variance = float(particles.number(kind, u.variance, i))
        ((_, d),) = kind.spaces.gradient.uses[u.weight]
        uses = kind.sharing(u.weight, i)
        back, view = self.directions.transposed(kind, u), self.directions.view(kind, u)
        count = inside.shape[1] * inside.shape[2]
        flat = np.moveaxis(inside, -1, 1).reshape(len(self.settings), -1, count)  # [S, T, P C]
        returned = _columns([view.value(kind, back, j) for j in uses])
        arriving = _columns([view.value(kind, d, j) for j in uses])
        weighed = returned * particles.weighing(kind, u.of, returned)
        gram = returned.T @ weighed
        overlap = flat @ weighed  # [S, T, K]
        along = variance * overlap @ np.linalg.pinv(gram, CUT, hermitian=True)
        coherent = np.einsum("stk,pk->spt", along, arriving)
        normals = self.particles.normals.of(kind, u, fresh=True)
        if particles.arch.ensemble == "orthogonal":  # a matrix that turns keeps lengths
            flat = flat - (along / variance) @ returned.T
        weights = np.broadcast_to(particles.weighing(kind, u.of, returned), (count, 1))
        new = self._new(kind, u, i, (flat, variance, weights[:, 0]), normals)
        shape = (len(self.settings), *normals.shape[:2], particles.arch.tokens)
        return coherent.reshape(shape) + new

    def _new(self, kind: Kind, u: Matrix, i: int, moved: Any, normals: Any) -> Change:
        """Return the Gaussian part, joint with that of earlier uses of the slot."""
        flat, variance, weights = moved
        key = kind.index, u.weight, min(kind.sharing(u.weight, i))
        tokens = flat.shape[1]
        own = variance * (flat * weights) @ np.swapaxes(flat, 1, 2)
        at = i if normals.shape[2] > 1 else 0
        earlier = self._earlier.get(key)
        if earlier is None:
            factor = root(own)
            new = np.einsum("stk,pck->spct", factor, normals[:, :, at])
            if len(kind.sharing(u.weight, i)) > 1:
                self._earlier[key] = _Earlier([(flat, at)], factor)
            return new
        others = np.concatenate([x for x, _ in earlier.inputs], axis=1)  # [S, K, P C]
        cross = variance * (flat * weights) @ np.swapaxes(others, 1, 2)  # [S, T, K]
        row = cross @ np.swapaxes(np.linalg.pinv(earlier.factor, rcond=1e-8), 1, 2)
        rest = root(own - row @ np.swapaxes(row, 1, 2))
        places = [place for _, place in earlier.inputs]
        before = normals[:, :, places].reshape(*normals.shape[:2], -1)
        new = np.einsum("stk,pck->spct", row, before) + np.einsum(
            "stk,pck->spct", rest, normals[:, :, at]
        )
        size = earlier.factor.shape[-1]
        factor = np.zeros((len(flat), size + tokens, size + tokens))
        factor[:, :size, :size], factor[:, size:, :size] = earlier.factor, row
        factor[:, size:, size:] = rest
        self._earlier[key] = _Earlier([*earlier.inputs, (flat, at)], factor)
        return new


def _columns(vectors: list[Any]) -> Float[np.ndarray, "PC K"]:
    """Put vectors [P, C, T] of several uses side by side."""
    stacked = np.stack(vectors, axis=2)
    return stacked.reshape(stacked.shape[0] * stacked.shape[1], -1)


def _times(factor: Any, change: Any) -> Any:
    return None if change is None else factor * change


def _sum(changes: list[Any]) -> Any:
    there = [change for change in changes if change is not None]
    return sum(there[1:], there[0]) if there else None

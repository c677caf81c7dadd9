"""The calculus on arrays: Grams of one step and of its partners as blocks [B, T, T], logs of
their scales, numbers by place."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from sigprop.description.checks import BAND
from sigprop.language.activation import Activation
from sigprop.language.expression import (
    Attend,
    Normalise,
    Read,
    TokenTable,
    Vector,
)
from sigprop.language.nodes import Experts, Sampled
from sigprop.language.scalar import Scalar, evaluate
from sigprop.theory.attention import expectation
from sigprop.theory.calculus.environment import NumericEnvironment, Resolution
from sigprop.theory.calculus.log_scale import log_scale
from sigprop.theory.calculus.rules import variance
from sigprop.theory.gaussian import dual, gap_rules, measured
from sigprop.theory.recursion.units.unit import Averaging


class ArrayEnvironment(NumericEnvironment):
    """Arrays: place 'a' is one application, place 'b' its U partners (same-slot applications).

    Blocks are [1, T, T] at (a, a), [U, T, T] at (a, b) and (b, b), of reads one for each pair of
    them; logs and variances [1, T] or [U,
    T]; numbers are [1] at a and [U] at b; ties [U]; gaps {place: 1 - rho^2 of the read [1, T, T]}
    where it is known beside the Gram.
    """

    def __init__(
        self,
        reads: Any,
        cotangents: Any,
        numbers: Mapping[str, Mapping[str, Any]],
        ties: Callable[[str], Any],
        logs: Mapping[Any, Any],
        resolution: Resolution | None = None,
        gaps: Mapping[str, Any] = {},
    ):
        super().__init__(reads, cotangents, numbers, ties)
        self.logs, self.resolution, self.gaps = logs, resolution or Resolution(), gaps
        self.unit: Averaging | None = None
        self.whole: ArrayEnvironment | None = None
        self.end: Any = None
        self.shifted = False
        """Whether activations act on what may have a mean over coordinates."""

    def in_band(self, reads: Any, cotangents: Any, end: Any, memo: Any) -> ArrayEnvironment:
        """Return the environment of one band's coordinates. reads, cotangents: their Grams; end:
        the share of all coordinates up to its last; memo: to begin with."""
        own = copy.copy(self)
        own.reads, own.cotangents, own.end, own.memo = reads, cotangents, end, memo
        own.whole, own.values = self, dict(self.values)
        return own

    def share(self, fraction: Scalar, i: str) -> Any:
        value = self.number(fraction, i)
        return value if self.end is None else jnp.asarray(self.end <= value + BAND, jnp.float64)

    def tied(self, weight: str, i: str, j: str) -> Any:
        return 1 if i == j else self.ties(weight)[:, None, None]

    def number(self, scalar: Scalar, i: str) -> Any:
        value = evaluate(scalar, self.numbers[i])
        return value if isinstance(value, float) else value[:, None, None]

    def per_token(self, scalar: Scalar, i: str) -> Any:
        value = evaluate(scalar, self.numbers[i])
        return value if isinstance(value, float) else value[:, None]

    def table(self, table: TokenTable, i: str) -> Any:
        return self.numbers[i][table.name]

    def matrix(self, table: TokenTable, i: str, turned: bool) -> Any:
        matrix = self.table(table, i)
        return jnp.swapaxes(matrix, -1, -2) if turned else matrix

    def weights(self, node: Attend, i: str, turned: bool) -> Any:
        key = ("weights", node, i)
        if key not in self.memo:
            self.memo[key] = expectation.mean(self, node, i)
        return jnp.swapaxes(self.memo[key], -1, -2) if turned else self.memo[key]

    def kept(self, node: Attend, i: str) -> Any:
        """1 for tokens whose keys are seen at a place, else 0: [B, T]."""
        like = self.logs[Read(), i]
        return jnp.broadcast_to(self.values.get(("kept", node, i), jnp.ones_like(like)), like.shape)

    def routed(self, node: Experts, i: str, j: str) -> Any:
        return self.shares(node, i) @ jnp.swapaxes(self.shares(node, j), -1, -2)

    def shares(self, node: Experts, i: str) -> Any:
        """p [B, T, E] of what a router chose at a place, from its scores there."""
        return self.values["routed", node, i]

    def sampled(self, node: Sampled, i: str, j: str) -> Any:
        return measured.gram(self, node, i, j)

    def mix(self, matrix: Any, value: Callable[[Any], Any], side: str) -> Any:
        return (
            matrix @ value(self) if side == "left" else value(self) @ jnp.swapaxes(matrix, -1, -2)
        )

    def log(self, leaf: Vector, i: str) -> Any:
        return self.logs[leaf, i]

    def features(self, activation: Activation, of: Vector, i: str) -> Any:
        def found() -> Any:
            variance, mean = self.variance(of, i), self.mean(of, i) if self.shifted else None
            if mean is not None:
                variance = variance + mean**2
            scale, keep = log_scale(of, i, self), self.resolution.degree
            return dual.features(activation, variance, scale, keep=keep, mean=mean)

        return self.once((activation, of, i), found)

    def mean(self, of: Vector, i: str) -> Any:
        """Return the mean over the coordinates of all units but one that is traced [B, T]; a
        partner's is kept with its features."""
        variance = self.variance(of, i)
        return jnp.zeros_like(variance) if self.unit is None else self.unit.mean(of, self)

    def variance(self, of: Vector, i: str) -> Any:
        return self.once((None, of, i), lambda: variance(of, i, self))

    @property
    def traced(self) -> bool:
        return self.unit is not None

    def scores(self, node: Attend, i: str) -> Any:
        unit = self.unit
        if unit is None or node.scores.scale != "linear":
            return None
        return self.once(("scores", node, i), lambda: unit.scores(node, self))

    def averaged(self, weight: str, of: Vector, i: str, j: str, value: Any) -> Any:
        if self.unit is None:
            return value
        return self.unit.seen(weight, of, i, j, value, self)

    def mean_square(self, norm: Normalise, i: str) -> Any:
        if self.whole is not None:
            return self.whole.mean_square(norm, i)
        value = self.variance(norm.of, i)
        if self.unit is None or i == "b":  # a partner's own was kept as it was seen
            return value
        return self.unit.mean_square(norm, value, self)

    def dual(
        self, activation: Activation, order: int, left: Any, cross: Any, right: Any, gap: Any = None
    ) -> Any:
        # one token with itself
        nudge = None if cross.shape[-1] == 1 and left is right else self.resolution.nudge
        tail = self.resolution.tail
        return dual.dual(activation, order, left, cross, right, gap=gap, tail=tail, nudge=nudge)

    def tokens_alone(self, i: str) -> bool:
        """Tell if there is one token, whose cosine with itself is 1."""
        return self.reads[i, i][0][0].shape[-1] == 1

    def gap(self, u: Vector, i: str, v: Vector, j: str) -> Any:
        if self.traced or i != j or u != v or self.tokens_alone(i):
            return None  # of what a unit is a part of, averages alone say it
        return gap_rules.gap(u, i, self)

    def block(self, value: Any, i: str, j: str) -> Any:
        # of (b, b) nothing is given: its blocks are as those of (a, b)
        given = self.reads[(i, j) if (i, j) in self.reads else ("a", j)]
        return jnp.broadcast_to(value, given[0][0].shape)

    def ones(self, i: str, j: str) -> Any:
        return jnp.ones_like(self.reads[i, j][0][0])

    def same(self, i: str, j: str) -> Any:
        return (
            jnp.eye(self.logs[next(iter(self.logs))].shape[-1], dtype=jnp.float64)[None]
            if i == j
            else 0.0
        )

    @staticmethod
    def left(value: Any) -> Any:
        return value[..., :, None]

    @staticmethod
    def right(value: Any) -> Any:
        return value[..., None, :]

    @staticmethod
    def diagonal(value: Any) -> Any:
        return jnp.diagonal(value, axis1=-2, axis2=-1)

    @staticmethod
    def widest(log: Any) -> Any:
        return jnp.broadcast_to(jnp.max(log, axis=-1, keepdims=True), log.shape)

    def attention(
        self, node: Attend, i: str, j: str, values: Any, cotangents: Any, of: Vector | None = None
    ) -> dict[str, Any]:
        return expectation.attention(self, node, i, j, values=values, cotangents=cotangents, of=of)

    @staticmethod
    def maximum(values: list[Any]) -> Any:
        return functools.reduce(jnp.maximum, values)

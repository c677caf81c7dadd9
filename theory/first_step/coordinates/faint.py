"""Vectors that come back through scores which vanish with the width, at their own scale: what a
step goes along whose size does not depend on its gradient's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from sigprop.errors import no_rule
from sigprop.language.expression import Attend, Vector
from sigprop.theory.calculus.transpose import AttendTransposed
from sigprop.theory.first_step.coordinates import vanishing
from sigprop.theory.first_step.coordinates.kinds import Kind
from sigprop.theory.first_step.coordinates.normals import root
from sigprop.theory.first_step.coordinates.particles import Particles, Sample


class Faint(Particles):
    """A sample of coordinates beside which everything else is infinitely large: cotangents of
    queries and keys times n^1/2, and what follows from them. Others are the sample's own.

    particles: the sample, whose numbers and normals these are.
    """

    def __init__(self, particles: Particles):
        self.__dict__.update(particles.__dict__)
        self.whole = particles
        self._values, self._leaves = {}, {}
        self._scores: dict[tuple[int, Attend, int], np.ndarray] = {}

    def value(self, kind: Kind, u: Vector, i: int) -> Sample:
        """[P, C, T] of a vector at the kind's i-th step."""
        if not vanishing.faint(u):
            return self.whole.value(kind, u, i)
        return super().value(kind, u, i)

    def _value(self, kind: Kind, u: Vector, i: int) -> Any:
        if isinstance(u, AttendTransposed) and vanishing.vanishes(u.attend):
            if u.leg not in vanishing.SCORED:
                return np.zeros_like(self.whole.value(kind, u, i))
            at = self._at(kind, u.attend, u.of, i)
            legs = vanishing.scored(u.attend, self.legs(kind, u.attend, i), at)
            return legs[vanishing.SCORED.index(u.leg)]
        return super()._value(kind, u, i)

    def _at(self, kind: Kind, node: Attend, of: Vector, i: int) -> Float[np.ndarray, "H T T"]:
        """Return the cotangents of one step's scores: Gaussians, independent from head to head,
        those of steps that share slots together."""
        if node.scores.rotary:
            raise no_rule(node, "no changes by rotated scores that vanish", "positions=none")
        tied = any(kind.tied(name) for name in kind.block.weights)
        steps = list(range(len(kind.steps))) if tied else [i]
        key = kind.index, node, steps[0]
        if key not in self._scores:
            self._scores[key] = self._drawn(kind, node, of, steps)
        return self._scores[key][:, steps.index(i)]

    def _drawn(
        self, kind: Kind, node: Attend, of: Vector, steps: list[int]
    ) -> Float[np.ndarray, "H U T T"]:
        """Draw a_ts of every head, and return what the softmax's transposed Jacobian makes of
        it."""
        at = np.array(steps)
        cotangents, values = self.moments(kind, of, at), self.moments(kind, node.value, at)
        count, tokens = cotangents.shape[:2]
        covariance = np.einsum("utxw,usxy->utsxwy", cotangents, values)
        factor = root(covariance.reshape(count * tokens**2, -1))
        seed = [self.normals.seed, kind.index, steps[0], len(kind.steps)]
        normals = np.random.default_rng(seed).standard_normal((node.scores.heads or 1, len(factor)))
        drawn = (normals @ factor.T).reshape(-1, count, tokens, tokens)
        omegas = (vanishing.weights(node, self.numbers(kind, node, i).bias, tokens) for i in steps)
        return np.stack(
            [vanishing.through(omega, drawn[:, u]) for u, omega in enumerate(omegas)], axis=1
        )

"""The first step of a wide network over labels +-1: mean squares of what it changes in the output,
in the states that ``check`` looks at, and in every group's effective and propagating part.

The samples, their number and their errors are those of ``theory.first_step.averaged``. Source:
docs/first-step.md; tests/coordinate_check/test_check.py compares with networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.structure import READOUT
from sigprop.language.nodes import Gate
from sigprop.simulations.training.changes import OBSERVABLES, applications
from sigprop.simulations.training.parts import Part
from sigprop.theory.first_step.averaged import patterns, pooled
from sigprop.theory.first_step.directions import Directions
from sigprop.theory.first_step.response import (
    POINTS,
    REPLICATES,
    Samples,
    checked_rates,
    cotangent_of,
)
from sigprop.theory.first_step.tangents import Changes, Tangents

WIDE, MORE = 0.03, 4
"""Of half a 99 % interval of ln rms: beyond it so many times the samples are taken."""
FINER = 4


class Step(NamedTuple):
    """optimizer: of ``theory.first_step``; rates by group, as of ``first_step``; scale: of what
    the last state's change does to the output beside v . dh/n."""

    optimizer: str
    rates: Mapping[str, float]
    scale: float


def squares(
    arch: Architecture, step: Step, parts: tuple[Part, ...], fine: bool = False
) -> tuple[tuple[float, float], ...]:
    """Return mean squares, of the output, of the states, of the parts, each with half its 99 %
    interval: more samples are taken where the output's or a state's is wide. fine: of ``FINER``
    times the points, as many times the samples. Raises as ``theory.first_step.response`` does."""
    given = step._replace(rates=checked_rates(arch, step.rates))
    every = patterns(arch.tokens)
    finer = FINER if fine else 1
    each = max(2, finer * REPLICATES // len(every))
    samples = [
        Samples(
            arch, (step.optimizer, {}), cotangent_of(arch, labels), 0, (finer * POINTS // 2, each)
        )
        for labels in every
    ]
    found = [_replicates(one, given, parts, range(each)) for one in samples]
    total = pooled(found)
    looked_at = slice(0, len(OBSERVABLES))
    if (total.error > 2 * WIDE * np.abs(total.value))[looked_at].any():
        more = range(each, MORE * each)
        found = [
            old + _replicates(one, given, parts, more)
            for old, one in zip(found, samples, strict=True)
        ]
        total = pooled(found)
    return tuple(zip(total.value.tolist(), total.error.tolist(), strict=True))


def _replicates(
    samples: Samples, step: Step, parts: tuple[Part, ...], which: range
) -> list[list[float]]:
    """Return these replicates' mean squares for one pattern of labels."""
    arch = samples.arch
    places = {
        weight: {int(a): i for i, a in enumerate(kind.application)}
        for kind in samples.kinds
        for weight in kind.block.weights
    }
    found = []
    for directions in map(samples.replicate, which):
        changes = Tangents(directions, step.rates, apart=False).run()
        output = step.scale * changes.output[-1] + changes.readout[-1]
        states = changes.state[0][np.array(applications(arch.depth))].mean(axis=-1)
        one = _Sample(directions, changes, step.rates, places)
        found.append([(output**2).mean(), *states, *(one.square(part) for part in parts)])
    return found


class _Sample(NamedTuple):
    """One sample's step; places {weight: {application: of which of its kind's steps}}."""

    directions: Directions
    changes: Changes
    rates: Mapping[str, float]
    places: Mapping[str, Mapping[int, int]]

    def square(self, part: Part) -> float:
        """Return a part's mean square."""
        particles, group = self.directions.particles, part.group
        if group == READOUT:
            return float((self.changes.readout[-1] ** 2).mean())
        if not part.uses:
            moved = self.rates[group] * self.directions.stem(group, particles.at_stem)
            return float((particles.weights @ moved**2).mean())
        steps = [self.places[group][a] for a in part.uses]
        if isinstance(particles.arch.weights[group], Gate):
            return float(np.mean([self._gate(group, i) for i in steps]))
        table = self.changes.effective if part.effective else self.changes.propagating
        return float(table[group][steps].mean())

    def _gate(self, group: str, i: int) -> float:
        """Return the mean square of a gate's own change, from that of what it gives."""
        particles = self.directions.particles
        node: Any = particles.arch.weights[group]
        (kind,) = (kind for kind in particles.kinds if group in kind.block.weights)
        x = particles.value(kind, node.of, i)
        moved = np.broadcast_to(self.directions.of(kind, node, i), x.shape)
        x, moved = (array.reshape(len(array), -1) for array in (x, moved))
        largest = np.abs(x).argmax(axis=1)[:, None]
        over, given = (np.take_along_axis(array, largest, 1)[:, 0] for array in (x, moved))
        change = np.divide(given, over, out=np.zeros_like(given), where=over != 0)
        return self.rates[group] ** 2 * float((change**2).mean())

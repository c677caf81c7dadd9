"""The change of a wide network by one optimiser step, to first order in the rates: means over
seeded samples, with their errors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from sigprop.description.architecture import Architecture
from sigprop.description.structure import READOUT
from sigprop.errors import InputError, near_miss, no_rule
from sigprop.language.expression import Linear, PositionBias
from sigprop.language.traversal import rows_of
from sigprop.theory.first_step.coordinates.kinds import kinds_of
from sigprop.theory.first_step.coordinates.linear import linear
from sigprop.theory.first_step.coordinates.normals import Normals
from sigprop.theory.first_step.coordinates.particles import Particles
from sigprop.theory.first_step.directions import Directions, check_optimizer
from sigprop.theory.first_step.tangents import ALL, Changes, Tangents
from sigprop.theory.recursion.program import Room

REPLICATES, POINTS, FEWEST = 8, 2048, 64
CONFIDENCE = 0.99


class Estimate(NamedTuple):
    """A mean over replicates and half its 99 % interval (Student's), arrays of one shape."""

    value: np.ndarray
    error: np.ndarray


class Response(NamedTuple):
    """settings: each group alone, then all; output [S, T], state [S, D + 1, T]; effective and
    propagating {weight: [U, T]} at applications {weight: [U]}: as ``tangents.Changes``, estimates.
    """

    settings: tuple[str, ...]
    output: Estimate
    state: Estimate
    effective: dict[str, Estimate]
    propagating: dict[str, Estimate]
    applications: dict[str, np.ndarray]


def response(
    arch: Architecture,
    optimizer: str,
    rates: Mapping[str, float] | None = None,
    labels: Sequence[float] | None = None,
    *,
    epsilon: Mapping[str, float] | None = None,
    seed: int = 0,
    points: int = POINTS,
    replicates: int = REPLICATES,
) -> Response:
    """Return what a step on the loss -(1/T) sum_t y_t z_t changes, z = v . h/n of maximal update.

    Arguments as of ``table.first_step``; replicates: samples, whose scatter gives the errors.
    Raises ``InputError``, and ``NoRule`` for what has no first step.
    """
    given = checked_rates(arch, rates)
    rule = optimizer, _epsilon(arch, epsilon)
    samples = Samples(arch, rule, cotangent_of(arch, labels), seed, (points, replicates))
    found = [Tangents(directions, given).run() for directions in samples]
    applications = {name: kind.application for kind in samples.kinds for name in kind.block.weights}
    return _estimates(arch, found, applications)


def descents(
    arch: Architecture,
    optimizer: str,
    rates: Mapping[str, float] | None = None,
    labels: Sequence[float] | None = None,
    *,
    seed: int = 0,
    points: int = POINTS,
    replicates: int = REPLICATES,
    room: Room = Room(),  # noqa: B008 (a tuple)
) -> dict[str, Estimate]:
    """Return by how much each group's step lowers the loss, sum_t c_t dz_t: the sum over entries
    of |G| (adam), of G^2 (sgd), the nuclear norm of G (muon); of one token the change of the
    output. No changes of states are needed, which is a tenth of the work.

    Arguments as of ``first_step``; room: of the program, so that members of a family share one.
    """
    given = checked_rates(arch, rates)
    size = points, replicates
    samples = Samples(arch, (optimizer, {}), cotangent_of(arch, labels), seed, size, room)
    found: dict[str, list[Any]] = {group: [] for group in arch.groups}
    for directions in samples:
        for group, value in descents_of(directions).items():
            found[group].append(np.asarray(given[group] * value))
    return {group: estimated(values) for group, values in found.items()}


def descents_of(directions: Directions) -> dict[str, float]:
    """Return one sample's descents at rates of 1."""
    particles = directions.particles
    found = {
        name: directions.descent(kind, node)
        for kind in particles.kinds
        for name, node in kind.block.weights.items()
        if not isinstance(node, PositionBias)  # drawn biases of scores are refused
    }
    found[READOUT] = float(particles.output @ directions.readout())
    return found | {part: directions.stem_descent(part) for part in particles.arch.stem_parts}


class Samples:
    """Directions of the step in each replicate's sample, one at a time."""

    def __init__(
        self,
        arch: Architecture,
        rule: tuple[str, dict[str, float]],
        cotangent: Float[np.ndarray, " T"],
        seed: int,
        size: tuple[int, int],
        room: Room = Room(),  # noqa: B008 (a tuple)
    ):
        _check(arch)
        self.arch, self.cotangent, self.seed = arch, cotangent, seed
        self.optimizer, self.epsilon = check_optimizer(rule[0]), rule[1]
        self.points, self.replicates = size
        if self.points < FEWEST or self.points & (self.points - 1):
            raise InputError(f"points={self.points}; accepted: a power of two from {FEWEST} on")
        self.network = linear(arch, cotangent, seed, room)
        self.kinds = kinds_of(arch, self.network)

    def __iter__(self) -> Iterator[Directions]:
        return (self.replicate(k) for k in range(self.replicates))

    def replicate(self, k: int) -> Directions:
        """The k-th sample's directions."""
        seed = int(np.random.SeedSequence([self.seed, k]).generate_state(1)[0])
        banded = len(self.arch.bands) > 1
        normals = Normals(self.kinds, self.arch.tokens, self.points, seed, banded)
        particles = Particles(self.arch, self.network, self.cotangent, normals)
        return Directions(particles, self.optimizer, self.epsilon)


def _estimates(
    arch: Architecture, found: list[Changes], applications: dict[str, np.ndarray]
) -> Response:
    """Take means over replicates."""
    return Response(
        (*arch.groups, ALL),
        estimated([changes.output + changes.readout for changes in found]),
        estimated([changes.state for changes in found]),
        {n: estimated([c.effective[n] for c in found]) for n in found[0].effective},
        {n: estimated([c.propagating[n] for c in found]) for n in found[0].propagating},
        applications,
    )


def estimated(values: list[np.ndarray]) -> Estimate:
    stacked, count = np.stack(values), len(values)
    spread = stacked.std(axis=0, ddof=1) / math.sqrt(count)
    return Estimate(stacked.mean(axis=0), float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * spread)


def checked_rates(arch: Architecture, rates: Mapping[str, float] | None) -> dict[str, float]:
    """Return every group's rate; raise ``InputError`` for unknown groups and odd numbers."""
    given = dict(rates or {})
    for group, rate in given.items():
        if group not in arch.groups:
            raise InputError(f"rates: group {group!r}{near_miss(group, arch.groups)}")
        if not (isinstance(rate, (int, float)) and math.isfinite(rate)):
            raise InputError(f"rate of {group}={rate!r}; accepted: a number")
    return {group: float(given.get(group, 1.0)) for group in arch.groups}


def _epsilon(arch: Architecture, epsilon: Mapping[str, float] | None) -> dict[str, float]:
    """Return Adam's epsilon by group; raise ``InputError`` for unknown groups and odd numbers."""
    given = dict(epsilon or {})
    for group, value in given.items():
        if group not in arch.groups:
            raise InputError(f"epsilon: group {group!r}{near_miss(group, arch.groups)}")
        if not (isinstance(value, (int, float)) and math.isfinite(value) and value >= 0):
            raise InputError(f"epsilon of {group}={value!r}; accepted: a number >= 0")
    return {group: float(value) for group, value in given.items()}


def cotangent_of(arch: Architecture, labels: Sequence[float] | None) -> Float[np.ndarray, " T"]:
    """Return c_t = y_t/T; raise ``InputError`` for labels that are not T finite numbers."""
    found: Any = np.ones(arch.tokens) if labels is None else np.asarray(labels, dtype=np.float64)
    if found.shape != (arch.tokens,) or not np.isfinite(found).all():
        raise InputError(f"labels={labels!r}; accepted: {arch.tokens} numbers, one of each token")
    return found / arch.tokens


def _check(arch: Architecture) -> None:
    """Raise for what has no first step."""
    arch.without_experts("the first step")
    if arch.scored:
        raise InputError("modulators: the first step of learned ones has no rule; accepted: fixed")
    if len(arch.bands) > 1 and arch.tied:
        raise no_rule(
            arch.readout.read, "no first step of tied weights in several bands", "untied ones"
        )
    square = all(node.rows == rows_of(node.of) for node in _matrices(arch))
    if arch.ensemble != "gaussian" and (arch.tied or not square):
        raise InputError(
            f"weights={arch.ensemble}: no first step of tied or oblong matrices; accepted: gaussian"
        )


def _matrices(arch: Architecture) -> list[Linear]:
    return [node for node in arch.weights.values() if isinstance(node, Linear)]

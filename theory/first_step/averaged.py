"""One step over random labels: how much it changes the output and the states of a network, and by
how much each group's part, whatever the labels of its tokens are."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from sigprop.description.architecture import Architecture
from sigprop.theory.first_step.response import (
    CONFIDENCE,
    POINTS,
    REPLICATES,
    Estimate,
    Samples,
    checked_rates,
    cotangent_of,
    descents_of,
)
from sigprop.theory.first_step.tangents import Tangents
from sigprop.theory.recursion.program import Room

MOST = 4
"""Patterns of labels: all, up to the sign of all, of three tokens; of more tokens some, seeded."""


class Size(NamedTuple):
    """Mean squares over tokens and labels: output, of dz_t; states [D + 1], of a coordinate of lane
    0."""

    output: Estimate
    states: Estimate


def patterns(tokens: int, seed: int = 0) -> list[tuple[float, ...]]:
    """Labels +-1 of the tokens, the first +1 (a step with the others' signs is its negative)."""
    if 2 ** (tokens - 1) <= MOST:
        return [(1.0, *rest) for rest in itertools.product((1.0, -1.0), repeat=tokens - 1)]
    signs = np.random.default_rng([seed, tokens]).choice((-1.0, 1.0), size=(MOST, tokens))
    return [tuple(map(float, row * row[0])) for row in signs]


def size_of_step(
    arch: Architecture,
    optimizer: str,
    rates: Mapping[str, float],
    *,
    scale: float = 1.0,
    seed: int = 0,
    points: int = POINTS // 2,
) -> Size:
    """Return the mean squared changes by a step of all groups, over independent labels +-1.

    rates: as of ``table.first_step``; scale: of what the last state's change does to the output
    beside v . dh/n (another standard deviation of the read-out). Raises as ``response`` does.
    """
    given = checked_rates(arch, rates)
    every = patterns(arch.tokens, seed)
    each = max(2, REPLICATES // len(every))
    of = [
        Samples(arch, (optimizer, {}), cotangent_of(arch, labels), seed, (points, each))
        for labels in every
    ]
    outputs, states = [], []
    for one in of:
        found = [Tangents(one.replicate(k), given, apart=False).run() for k in range(each)]
        outputs.append([((scale * c.output + c.readout) ** 2).mean() for c in found])
        states.append([c.state[0].mean(axis=-1) for c in found])
    return Size(pooled(outputs), pooled(states))


def pooled(values: Any) -> Estimate:
    """Mean over patterns and replicates [patterns, replicates, ...], and half its 99 % interval,
    from the replicates' scatter about their pattern's mean."""
    every = np.asarray(values)
    count, each = every.shape[:2]
    square = every.var(axis=1, ddof=1).sum(axis=0) / each / count**2
    quantile = float(stdtrit(count * (each - 1), (1 + CONFIDENCE) / 2))
    return Estimate(every.mean(axis=(0, 1)), quantile * np.sqrt(square))


def shares(
    arch: Architecture,
    optimizer: str,
    *,
    seed: int = 0,
    points: int = POINTS // 2,
    room: Room = Room(),  # noqa: B008 (a tuple)
) -> dict[str, Estimate]:
    """Return by how much each group's step of rate 1 lowers the loss (``descents``), on average
    over labels +-1."""
    every = patterns(arch.tokens, seed)
    each = max(2, REPLICATES // len(every))
    found: dict[str, list[list[float]]] = {group: [] for group in arch.groups}
    for labels in every:
        of = Samples(arch, (optimizer, {}), cotangent_of(arch, labels), seed, (points, each), room)
        values = [descents_of(directions) for directions in of]
        for group in arch.groups:
            found[group].append([value[group] for value in values])
    return {group: pooled(values) for group, values in found.items()}

"""One step over random labels: patterns of them, means over their samples, and by how much each
group's part lowers the loss."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from scipy.special import stdtrit

from sigprop.description.architecture import Architecture
from sigprop.theory.first_step.response import (
    CONFIDENCE,
    POINTS,
    REPLICATES,
    Estimate,
    Samples,
    cotangent_of,
    descents_of,
)
from sigprop.theory.recursion.program import Room

MOST = 4
"""Patterns of labels: all, up to the sign of all, of three tokens; of more tokens some, seeded."""


def patterns(tokens: int, seed: int = 0) -> list[tuple[float, ...]]:
    """Labels +-1 of the tokens, the first +1 (a step with the others' signs is its negative)."""
    if 2 ** (tokens - 1) <= MOST:
        return [(1.0, *rest) for rest in itertools.product((1.0, -1.0), repeat=tokens - 1)]
    signs = np.random.default_rng([seed, tokens]).choice((-1.0, 1.0), size=(MOST, tokens))
    return [tuple(map(float, row * row[0])) for row in signs]


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

"""Derivatives of rows by the kernels that they are read off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Float

from sigprop.description.architecture import Architecture
from sigprop.description.quantities import QUANTITIES
from sigprop.description.shapes import Row
from sigprop.theory.predictions.evaluate import unscaled
from sigprop.theory.predictions.values import Values
from sigprop.theory.recursion.kernels import Kernels

STEP = 1e-5  # of an entry, relative to its scale

Slopes = dict[str, Any]
"""Derivatives of rows [R, ...] by kernels in the units of the network: states [D + 1, T, T],
writes [P, T, T], crossed [D + 1, C, T], a token's own, log_norm [D + 1, T], where steps share
weights write_pairs [P, U, T], and where any row needs them gradients [D + 1, T, T], groups {group:
[P, T, T]} and gradient_stem [T, T]."""
Entry = tuple[Any, Any, tuple[int, ...], tuple[int, ...]]
"""(table of kernels, its derivatives [R, ...], place in one, place in the other)."""


def slopes(
    arch: Architecture,
    kernels: Kernels,
    rows: Sequence[Row],
    backward: bool,
    means: Float[np.ndarray, "means rows"] | None = None,
) -> Slopes:
    """Return how rows move with every kernel that has one of their places.

    kernels: all logarithms 0; means: weights of the rows in each mean of them that is wanted in
    their place. Differences of what ``Values`` reads, so that a row is read in one place.
    """
    weights = np.eye(len(rows)) if means is None else means
    values, found = Values(arch, kernels), _blank(kernels, len(weights), backward)
    for k, row in enumerate(rows):
        wanted = [(int(mean), weights[mean, k]) for mean in np.flatnonzero(weights[:, k])]
        for table, derivatives, here, there in _entries(row, values, found):
            slope = _slope(values, row, table, here)
            for mean, weight in wanted:
                derivatives[mean][there] += weight * slope
    return found


def _blank(kernels: Kernels, count: int, backward: bool) -> Slopes:
    """Return zeros."""
    states, tokens, _ = kernels.states.shape
    found: Slopes = {
        "states": np.zeros((count, *kernels.states.shape)),
        "writes": np.zeros((count, *kernels.writes.shape)),
        "crossed": np.zeros((count, states, len(kernels.columns), tokens)),
        "log_norm": np.zeros((count, *kernels.log_norm.shape)),
    }
    if kernels.write_pairs is not None:
        found["write_pairs"] = np.zeros((count, *kernels.write_pairs.shape[:3]))
    if backward:
        found |= {
            "gradients": np.zeros((count, *kernels.states.shape)),
            "groups": {
                name: np.zeros((count, *gram.shape)) for name, (gram, _) in kernels.groups.items()
            },
            "gradient_stem": np.zeros((count, tokens, tokens)),
        }
    return found


def _entries(row: Row, values: Values, found: Slopes) -> Iterator[Entry]:
    """Go through the entries at a row's applications and tokens."""
    k = values.k
    applications = sorted({a for a in (row.application, row.application_2) if a is not None})
    tokens = sorted({t for t in (row.token, row.token_2) if t is not None} or {0})
    if QUANTITIES[row.quantity].backward:
        yield from _behind(row, values, found, tokens)
        return
    for a, t in product(applications, tokens):
        yield k.log_norm, found["log_norm"], (a, t), (a, t)
    yield from _between_writes(applications, tokens, values, found)
    for a, t, s in product(applications, tokens, tokens):
        yield k.states, found["states"], (a, t, s), (a, t, s)
        if a:
            step = int(values.steps[a - 1])
            yield k.writes, found["writes"], (step, t, s), (step, t, s)
    for a, b, t in product(applications, applications, tokens):
        if b < a:
            column = values.column[b]
            yield k.crossed, found["crossed"], (a, column, t, t), (a, column, t)


def _between_writes(
    applications: list[int], tokens: list[int], values: Values, found: Slopes
) -> Iterator[Entry]:
    """Go through the overlaps of writes that share a weight."""
    k = values.k
    if k.write_pairs is None or len(applications) < 2 or not applications[0]:
        return
    early, late = (int(values.steps[a - 1]) for a in applications)
    for u in np.flatnonzero(k.program.partners[late] == early):
        for t in tokens:
            yield k.write_pairs, found["write_pairs"], (late, int(u), t, t), (late, int(u), t)


def _behind(row: Row, values: Values, found: Slopes, tokens: list[int]) -> Iterator[Entry]:
    """Go through the entries that a gradient's row is read off: of a group all."""
    k, group = values.k, row.group or ""
    every = range(k.states.shape[-1])
    if group in k.groups:
        table = k.groups[group][0]
        for place in product(range(len(table)), every, every):
            yield table, found["groups"][group], place, place
    elif group in values.arch.stem_parts:
        for place in product(every, every):
            yield k.stem[0], found["gradient_stem"], place, place
    else:
        for t, s in product(tokens, tokens):
            place = row.application or 0, t, s
            yield k.gradients, found["gradients"], place, place


def _slope(values: Values, row: Row, table: Any, at: tuple[int, ...]) -> float:
    """Return a row's derivative by one entry of a table."""
    kept = table[at]
    step = STEP * _size(values, table, at)
    ends = []
    for way in (step, -step):
        table[at] = kept + way
        ends.append(unscaled(*values.value(row)) or 0.0)
    table[at] = kept
    return (ends[0] - ends[1]) / (2 * step) if step else 0.0


def _size(values: Values, table: Any, at: tuple[int, ...]) -> float:
    """Return the scale of an entry: that of its diagonal, of states' overlaps the states' own; of
    writes' overlaps 1 and more, of which rows are linear."""
    k = values.k
    if table is k.log_norm or table is k.write_pairs:
        return max(1.0, abs(table[at]))
    if table is k.crossed:  # 0 where nothing of a state is left in a later one
        late, column, t, _ = at
        early = k.columns[column]
        return float(np.sqrt(k.states[late, t, t] * k.states[early, t, t]))
    return max(abs(table[at]), *(abs(table[*at[:-2], t, t]) for t in at[-2:]))

"""Derivatives of rows by the kernels that they are read off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sigprop.description.architecture import Architecture
from sigprop.description.shapes import Row
from sigprop.theory.predictions.evaluate import unscaled
from sigprop.theory.predictions.values import Values
from sigprop.theory.recursion.kernels import Kernels

STEP = 1e-5  # of an entry, relative to its scale


class Slopes(NamedTuple):
    """Derivatives of rows [R, ...] by kernels in the units of the network: states [D + 1, T, T],
    writes [P, T, T], and crossed [D + 1, C, T], a token's own."""

    states: Float[np.ndarray, "R states T T"]
    writes: Float[np.ndarray, "R P T T"]
    crossed: Float[np.ndarray, "R states C T"]


def slopes(arch: Architecture, kernels: Kernels, rows: Sequence[Row]) -> Slopes:
    """Return how rows of the forward pass move with every kernel that has one of their places.

    kernels: all logarithms 0. Differences of what ``Values`` reads, so that a row is read in one
    place.
    """
    values = Values(arch, kernels)
    count, (states, tokens, _) = len(rows), kernels.states.shape
    found = Slopes(
        np.zeros((count, *kernels.states.shape)),
        np.zeros((count, *kernels.writes.shape)),
        np.zeros((count, states, len(kernels.columns), tokens)),
    )
    for k, row in enumerate(rows):
        for name, at in _entries(row, values):
            slope = _slope(values, row, getattr(kernels, name), at)
            place = at[:-1] if name == "crossed" else at
            getattr(found, name)[k][place] += slope
    return found


def _entries(row: Row, values: Values) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Go through the entries at a row's applications and tokens."""
    applications = {a for a in (row.application, row.application_2) if a is not None}
    tokens = {t for t in (row.token, row.token_2) if t is not None} or {0}
    for a, t, s in product(applications, tokens, tokens):
        yield "states", (a, t, s)
        if a:
            yield "writes", (int(values.steps[a - 1]), t, s)
    for a, b, t in product(applications, applications, tokens):
        if b < a:
            yield "crossed", (a, values.column[b], t, t)


def _slope(values: Values, row: Row, table: np.ndarray, at: tuple[int, ...]) -> float:
    """Return a row's derivative by one entry of a table."""
    kept = table[at]
    step = STEP * max(abs(kept), *(abs(table[*at[:-2], t, t]) for t in at[-2:]))
    ends = []
    for way in (step, -step):
        table[at] = kept + way
        ends.append(unscaled(*values.value(row)) or 0.0)
    table[at] = kept
    return (ends[0] - ends[1]) / (2 * step) if step else 0.0

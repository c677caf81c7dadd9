"""Terms of a stem that no parameter enters: their rows are the example's own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sigprop.modules.terms import (
    Embedding,
    Fixed,
    Gain,
    Matrix,
    Patches,
    Shift,
    Source,
    Term,
    Unknown,
    Weight,
)

DRAWN = (Embedding, Gain, Matrix, Patches, Shift, Weight)
SCATTER = 4.0
"""Standard errors within which the mean of a row is that of numbers drawn around zero."""


def known(term: Term) -> bool:
    """Tell whether a term is computed from inputs and fixed numbers alone."""
    if isinstance(term, (Source, Fixed)):
        return True
    drops = isinstance(term, Unknown) and term.operation == "dropout"
    return not (drops or isinstance(term, DRAWN)) and all(map(known, term.inside))


def rows_of(graph: Any, term: Term) -> NDArray[np.float64]:
    """Return the rows [T, n] of a term that is known."""
    value = graph.array(term.node)
    return value.astype(np.float64).reshape(-1, term.shape[-1])


def beside(graph: Any, by: Fixed, term: Term) -> NDArray[np.float64]:
    """Return the rows [T, n] of fixed numbers as they lie along a term."""
    value = np.broadcast_to(graph.array(by.node).astype(np.float64), term.shape)
    return value.reshape(-1, term.shape[-1])


def means_of(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of every row, 0 where all are within scatter."""
    means = rows.mean(axis=1)
    error = rows.std(axis=1) / rows.shape[1] ** 0.5
    return np.zeros(len(rows)) if (abs(means) <= SCATTER * error).all() else means

"""What is left of one network after its passes, which rows are read off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.shapes import Row
from sigprop.simulations.network.trace import Probes, Trace


class Outcome(NamedTuple):
    """trace: of the forward pass; gradients: 'v' for the read-out as described, 'ntk' [T, ...] for
    each token (none where no row asks for them); tables: those of the engine, the stem's parts
    [T, n] and the key of the head's words."""

    arch: Architecture
    trace: Trace
    gradients: dict[str, Probes]
    tables: dict[str, Any]


def applications(rows: Sequence[Row]) -> np.ndarray:
    """Return each row's application."""
    return np.array([row.application for row in rows])


def tokens(rows: Sequence[Row]) -> np.ndarray:
    """Return each row's token."""
    return np.array([row.token for row in rows])

"""What is measured of one network, and where in its graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sigprop.errors import Diverged
from sigprop.modules.terms import Pointwise, Term
from sigprop.reading.read import Reading

Floats = NDArray[np.float64]
READOUT_SEED = 7919  # added to a network's seed


@dataclass(frozen=True)
class Network:
    """One network's numbers. variance, gradient: [D + 1, T]; cosine: [D + 1, T, T]; write: [D, T],
    the mean square of what every application adds; second, weight_gradient: by parameter, the mean
    square of its entries, and width times that of dz/d(entry)."""

    variance: Floats
    cosine: Floats
    gradient: Floats
    write: Floats
    second: dict[str, float]
    weight_gradient: dict[str, float]


class Places(NamedTuple):
    """Nodes of the graph: every state, the factors and writes of every application, what is read
    out."""

    states: list[Any]
    writes: list[list[tuple[float, Any]]]
    top: Any


def places(reading: Reading) -> Places:
    """Return where a reading's states and writes are."""
    steps = reading.stream.steps
    last = steps[-1].after
    top = next(iter(reading.stream.readout), last)
    states = [*(step.state.node for step in steps), last.node]
    writes = [[_factored(write) for write in step.writes] for step in steps]
    return Places(states, writes, top.node)


def _factored(write: Term) -> tuple[float, Any]:
    """A write's node, and what the stream multiplies its value with."""
    if isinstance(write, Pointwise) and write.of.node is write.node:
        return write.function.factor or 0.0, write.node
    return 1.0, write.node


def about(reading: Reading, states: list[Floats]) -> list[Floats]:
    """Return states [T, n] about the means over features that the description's have not."""
    if reading.means is None:
        return states
    return [state - mean[:, None] for state, mean in zip(states, reading.means, strict=True)]


def geometry(states: list[Floats]) -> tuple[Floats, Floats]:
    """Return variances [D + 1, T] and cosines [D + 1, T, T] of states [T, n]; raises ``Diverged``
    where one is not finite."""
    grams = np.stack([state @ state.T / state.shape[1] for state in states])
    if not np.isfinite(grams).all():
        raise Diverged(int(np.argmin(np.isfinite(grams).all(axis=(1, 2)))))
    variance = np.einsum("ktt->kt", grams)
    size = np.sqrt(variance)
    return variance, grams / (size[:, :, None] * size[:, None, :])

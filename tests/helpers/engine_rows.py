"""Small engines that the tests of this folder run."""

from __future__ import annotations

import numpy as np

import sigprop as sp
from sigprop.description.rows import select
from sigprop.description.shapes import Row
from sigprop.simulations.engines import monte_carlo
from sigprop.simulations.engines.dense import DenseEngine

MEMORY = 2**30
SIZES = {"depth": 2, "loops": 2, "tokens": 2, "token_cosine": 0.3}


def engine(
    arch: sp.Architecture, width: int = 16, rows: tuple[Row, ...] | None = None
) -> DenseEngine:
    return DenseEngine(arch, rows or select(arch), width, MEMORY)


def rows_of(found: DenseEngine, samples: int, size: int, seed: int = 3) -> np.ndarray:
    """[samples, R] in chunks of ``size``."""
    found.batch_size = size
    return monte_carlo.sample(found, samples, seed)

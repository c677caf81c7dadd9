"""Grams at the edges, for the tests of stated errors."""

from __future__ import annotations

import numpy as np

LARGEST = 1e-8  # a stated error, relative to the diagonal


def gram(rng: np.random.Generator) -> np.ndarray:
    """A Gram of two tokens: of vectors in the plane, rounded; one in six of each kind, then at a
    scale."""
    kind = rng.integers(6)
    sizes = np.exp(rng.normal(size=2))
    small = 10.0 ** rng.uniform(-16, -1)
    turn = (
        rng.uniform(0, np.pi)
        if kind < 2
        else small
        if kind == 2
        else np.pi - small
        if kind == 3
        else 0.0
    )
    if kind == 4:  # one-dimensional inputs
        sizes = 10.0 ** rng.uniform(-3, 3, 2) * rng.choice([-1, 1], 2)
    if kind == 5:
        sizes = np.array([1.0, 1 + small]) * rng.uniform(0.5, 2)
    if kind == 1:  # tokens of very different size
        sizes = 10.0 ** rng.uniform(-8, 8, 2)
    scale = rng.choice(
        [1.0, 10.0 ** rng.uniform(-100, 100), 10.0 ** rng.uniform(-6, 6)], p=[0.5, 0.25, 0.25]
    )
    x, y = (
        sizes[0] * scale * np.array([1.0, 0.0]),
        sizes[1] * scale * np.array([np.cos(turn), np.sin(turn)]),
    )
    return np.array([[x @ x, x @ y], [x @ y, y @ y]])

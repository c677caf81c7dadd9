"""Both engines' networks, compared in law: for the tests and for ``benchmarks/gpu.py``."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import stats

import sigprop as sp
from sigprop.description.rows import select
from sigprop.simulations.engines.monte_carlo import engine_for, sample

SAMPLES = 2000
LEAST = 1e-5  # of a p-value: some 150 of them are looked at
MOST = 5.0  # standard errors, of up to 5,000 products, correlated: one in 1,000 runs
QUANTITIES = ["residual_variance", "token_covariance", "gradient_variance", "weight_gradient"]
JOBS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "untied": ("residual_mlp", {"depth": 3, "tokens": 2, "token_cosine": 0.3}, QUANTITIES),
    "tied": ("looped_mlp", {"depth": 1, "loops": 4}, QUANTITIES),
    "more queries than width": (
        "looped_mlp",
        {"depth": 1, "loops": 16, "tokens": 3, "matrices": 1, "activation": "tanh"},
        QUANTITIES,
    ),
    "looped": (
        "looped_mlp",
        {"depth": 2, "loops": 3, "tokens": 2, "activation": "tanh"},
        [*QUANTITIES, "ntk"],
    ),
    "orthogonal": ("looped_mlp", {"depth": 2, "loops": 3, "weights": "orthogonal"}, QUANTITIES),
    "transformer": (
        "looped_transformer",
        {"loops": 2, "tokens": 2, "mlp_ratio": 2, "head_dim": 4},
        QUANTITIES,
    ),
}
CASES = (*((job, 8) for job in JOBS), ("looped", 64))
# minutes of two cores
WIDER = tuple(
    (job, width)
    for width in (64, 512)
    for job in ("untied", "tied", "looped", "transformer")
    if (job, width) != ("looped", 64)
)


class Difference(NamedTuple):
    """Of two sets of networks: the smallest p-value that a row has one distribution, and the
    largest difference of means and covariances in standard errors."""

    p: float
    worst: float

    @property
    def alike(self) -> bool:
        """Whether that is what chance leaves."""
        return self.p > LEAST and self.worst < MOST


def compared(job: str, width: int) -> Difference:
    """Matrices that are never formed against formed ones."""
    return differences(drawn(job, width, "matrix-free", 1), drawn(job, width, "dense", 2))


def drawn(job: str, width: int, engine: str, seed: int) -> np.ndarray:
    name, parameters, quantities = JOBS[job]
    arch = getattr(sp.architectures, name)(**parameters)
    return sample(engine_for(engine, arch, select(arch, quantities), width, 1024), SAMPLES, seed)


def differences(one: np.ndarray, two: np.ndarray) -> Difference:
    """Of the rows that vary."""
    vary = two.std(axis=0) > 1e-4 * np.abs(two).mean(axis=0)
    one, two = one[:, vary], two[:, vary]
    p = min(stats.ks_2samp(a, b).pvalue for a, b in zip(one.T, two.T, strict=True))
    middle, scale = (
        np.median(two, axis=0),
        np.quantile(np.abs(two - np.median(two, axis=0)), 0.9, axis=0),
    )
    # bounded: narrow networks have heavy tails
    one, two = (np.tanh((rows - middle) / scale) for rows in (one, two))
    worst = 0.0
    for power in (lambda u: u, lambda u: (u[:, :, None] * u[:, None, :]).reshape(len(u), -1)):
        a, b = power(one), power(two)
        error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / SAMPLES)
        worst = max(
            worst, float((np.abs(a.mean(axis=0) - b.mean(axis=0)) / np.maximum(error, 1e-9)).max())
        )
    return Difference(float(p), worst)

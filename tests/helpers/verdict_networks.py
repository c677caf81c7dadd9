"""Synthetic finite networks for the verdict's tests: rows with known limit, slope, curvature and
log-normal noise."""

from __future__ import annotations

import numpy as np


def networks(rows, *, kappa=3.5, b=2.0, c=0.0, off=0.0, rho=0.7, seed=0, truth=1.0):
    """x = truth (1 + off + b/n + c/n^2) e^z with E e^z = 1, relative sd kappa/sqrt(n),
    correlation rho between rows."""
    off, b, c = (np.broadcast_to(np.asarray(v, dtype=float), (rows,)) for v in (off, b, c))

    def sampler(width: int, samples: int, stream: int) -> np.ndarray:
        rng = np.random.default_rng([seed, width, stream])
        z = np.sqrt(rho) * rng.standard_normal((samples, 1)) + np.sqrt(
            1 - rho
        ) * rng.standard_normal((samples, rows))
        log_variance = np.log1p(kappa**2 / width)
        return (
            truth
            * (1 + off + b / width + c / width**2)
            * np.exp(np.sqrt(log_variance) * z - log_variance / 2)
        )

    return sampler

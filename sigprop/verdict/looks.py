"""Two looks at one run: boundaries that keep the level when the data are judged, and once more
after an extension.

Confirmation (one-sided level 5 % a row; intersection-union over the rows, so 5 % for the whole
verdict): Pocock's boundary, the same c at both looks with P(Z1 > c or Z2 > c) = 5 %. The extension
repeats the main run's design, so the pooled estimate Z2 has correlation sqrt(1/2) with Z1 and c =
1.875 (Jennison and Turnbull 2000, table 2.1). The intervals are then repeated confidence intervals:
together, over both looks, they cover with at least 90 %. Rejection (1 %, simultaneous over rows):
half of it at each look (Bonferroni). Source: docs/verdict.md, step 7, 8, 10.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from scipy.special import ndtr, ndtri, owens_t, stdtrit

from sigprop.verdict.moments import Floats

CONFIRM_LEVEL = 0.05
REJECT_LEVEL = 0.01
CORRELATION = math.sqrt(0.5)  # of the two looks' estimates
SEED = 20240607  # of the Gaussian draws below: a verdict depends on the networks only


@cache
def boundary(looks: int) -> float:
    """c with P(any of Z1, (Z1 + Z1')/sqrt 2 > c) = 5 %: 1.645 for one look, 1.875 for two."""
    if looks == 1:
        return float(-ndtri(CONFIRM_LEVEL))
    from scipy.optimize import brentq  # a quarter of a second: only at a second look

    slope = math.sqrt((1 - CORRELATION) / (1 + CORRELATION))

    def excess(c: float) -> float:
        """P(Z1 > c or Z2 > c) - 5 %, by Owen's T function."""
        return float(1 - ndtr(c) + 2 * owens_t(c, slope) - CONFIRM_LEVEL)

    return float(brentq(excess, 1.5, 2.5, xtol=1e-12))


def student(quantile: Floats | float, freedom: Floats) -> Floats:
    """Student's quantile at the same tail probability as the normal ``quantile``; freedom: [R]."""
    tail = ndtr(-np.asarray(quantile))
    return np.where(
        np.isfinite(freedom),
        -stdtrit(np.where(np.isfinite(freedom), freedom, 1e9), tail),
        quantile,
    )


def gaussian(covariance: Floats, count: int, stream: int = 0) -> Floats:
    """[count, R] draws of N(0, correlation matrix of ``covariance``); rows without variance are
    zero."""
    sd = np.sqrt(np.diag(covariance))
    safe = np.where(sd > 0, sd, 1.0)
    values, vectors = np.linalg.eigh(covariance / np.outer(safe, safe))
    root = vectors * np.sqrt(np.clip(values, 0, None))
    keep = values > 1e-10 * max(values[-1], 1e-300)
    return (
        np.random.default_rng([SEED, stream]).standard_normal((count, int(keep.sum())))
        @ root[:, keep].T
    )


def draws_for(rows: int) -> int:
    """How many Gaussian draws: 20,000, fewer (at least 4,000) above 200 rows to bound memory."""
    return int(np.clip(4_000_000 // max(rows, 1), 4_000, 20_000))


def simultaneous(covariance: Floats, looks: int) -> float:
    """The 1 - 1 %/looks quantile of max_r |Z_r|, Z ~ N(0, correlation).

    This is the Gaussian-multiplier bootstrap over whole networks in closed form: given the data,
    multipliers on the networks make the estimate exactly N(0, covariance). covariance: [R, R] of
    the intercepts.
    """
    largest = np.abs(gaussian(covariance, draws_for(len(covariance)))).max(axis=1)
    return max(
        float(np.quantile(largest, 1 - REJECT_LEVEL / looks)),
        float(-ndtri(REJECT_LEVEL / looks / 2)),
    )

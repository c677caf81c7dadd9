"""Extrapolation to infinite width: fits of a row's mean deviation over the ladder in powers of x =
n1/n.

Every estimate is a linear combination sum_i W_i dbar_i of the rungs' means whose weights were fixed
before the run (they come from the pilot's variances). So it is exactly unbiased whatever the
skewness, its covariance across rows is sum_i W_ir W_is S_i,rs / m_i from the run's own covariances,
and pooling two runs of equal design halves that covariance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import chdtrc

from sigprop.verdict.moments import Booleans, Floats, Moments


def powers(x: Floats, degree: int) -> Floats:
    """[k, degree + 1]: 1, x, x^2, ... at the k rungs."""
    return np.vander(x, degree + 1, increasing=True)


def weights(x: Floats, variance: Floats, degree: int) -> Floats:
    """W = (X^T V^-1 X)^-1 X^T V^-1 per row: weighted least squares, [degree + 1, k, R].

    x: [k]. variance: [k, R], of the rungs' means; infinite for a rung without networks. The
    estimate of the coefficient of x^p is sum_i W[p, i, r] dbar[i, r]. Raises
    ``numpy.linalg.LinAlgError`` with fewer usable rungs than coefficients. Source: docs/verdict.md,
    step 5.
    """
    basis = powers(x, degree)
    information: Floats = 1.0 / variance
    largest: Floats = information.max(axis=0)
    information = information / largest
    normal: Floats = np.einsum("ip,ir,iq->rpq", basis, information, basis)
    return np.einsum("rpq,iq,ir->pir", np.linalg.inv(normal), basis, information)


@dataclass(frozen=True)
class Fit:
    """Coefficients [degree + 1, R] of x^p, their standard errors, the intercept's covariance [R,
    R] and degrees of freedom [R]."""

    coefficients: Floats
    errors: Floats
    covariance: Floats
    freedom: Floats

    @property
    def intercept(self) -> Floats:
        return self.coefficients[0]

    @property
    def se(self) -> Floats:
        return self.errors[0]


def fit(rungs: Sequence[Moments], weight: Floats) -> Fit:
    """sum_i W_i dbar_i with its errors. weight: [degree + 1, k, R] from ``weights``.

    Degrees of freedom by Satterthwaite: (sum_i e_i)^2 / sum_i e_i^2/(m_i - 1), e_i = W_i^2 v_i/m_i.
    """
    mean = np.stack([rung.mean for rung in rungs])
    count = np.array([rung.count for rung in rungs], dtype=float)
    variance = np.stack([rung.variance for rung in rungs]) / count[:, None]
    parts = weight**2 * variance
    errors = np.sqrt(parts.sum(axis=1))
    covariance = np.zeros_like(rungs[0].covariance)
    for w, rung in zip(weight[0], rungs, strict=True):
        covariance += np.outer(w, w) * rung.covariance / rung.count
    spread = (parts[0] ** 2 / (count[:, None] - 1)).sum(axis=0)
    freedom = np.where(
        spread > 0, parts[0].sum(axis=0) ** 2 / np.where(spread > 0, spread, 1.0), np.inf
    )
    return Fit(np.einsum("pir,ir->pr", weight, mean), errors, covariance, freedom)


class Known(NamedTuple):
    """Slopes b of a + b x + c x^2 that are known before the fit, [R] each: the value and how far it
    may be off, in d at x = 1, and in which rows (boolean) it is used."""

    slope: Floats
    error: Floats
    used: Booleans


def share(x: Floats, variance: Floats, degree: int) -> Floats:
    """Return per row how much of the slope's error the intercept carries, Cov(a, b)/Var(b) under
    ``weights`` of the same arguments: what is known of b is worth ``share`` times as much of a."""
    w = weights(x, variance, degree)
    # a rung without networks has weight 0
    finite = np.where(np.isfinite(variance), variance, 0.0)
    return (w[0] * w[1] * finite).sum(axis=0) / (w[1] ** 2 * finite).sum(axis=0)


def fit_known(rungs: Sequence[Moments], weight: Floats, lever: Floats, known: Known) -> Fit:
    """Fit as ``fit``, with the slope fixed in the rows where it is used: a - lever (b - known
    slope).

    lever: [R], from ``share`` before the run; then the estimate is exactly unbiased at the known
    slope, and is the least-squares fit of 1 and x^2 to the means less b x. Where it is used a's
    error is the smaller one, what the known slope may be off is not in it.
    """
    used = np.where(known.used, lever, 0.0)
    fixed = weight.copy()
    fixed[0] -= used * weight[1]
    found = fit(rungs, fixed)
    coefficients = found.coefficients.copy()
    coefficients[0] += used * np.where(known.used, known.slope, 0.0)
    return replace(found, coefficients=coefficients)


def lack_of_fit(
    rungs: Sequence[Moments], x: Floats, degree: int, negligible: Floats | float
) -> Floats:
    """p-values [R] of chi^2 = sum_i (dbar_i - fit_i)^2 / (v_i/m_i + negligible^2) with k - degree -
    1 degrees of freedom.

    negligible: [R] or one number, a misfit of the rungs' means (in d) that could not change a
    verdict. Ones without degrees of freedom. Source: docs/verdict.md, step 5.
    """
    mean = np.stack([rung.mean for rung in rungs])
    variance = np.stack([rung.variance / rung.count for rung in rungs]) + negligible**2
    if len(rungs) <= degree + 1:
        return np.ones_like(mean[0])
    best = np.einsum("pir,ir->pr", weights(x, variance, degree), mean)
    distance: Floats = ((mean - powers(x, degree) @ best) ** 2 / variance).sum(axis=0)
    return np.asarray(chdtrc(len(rungs) - degree - 1, distance))

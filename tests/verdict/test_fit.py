"""Fits: closed forms, errors, coverage, and why the estimate carries the 1/n^2 term."""

import numpy as np
import pytest
from scipy import stats

from sigprop.verdict.fit import fit, lack_of_fit, weights
from sigprop.verdict.moments import Moments

LADDER = np.array([0.5, 1, 2, 4, 8])
X = 1 / LADDER
COUNTS = np.array([1200, 1900, 200, 510, 200])  # the planner's proportions at cost n^2
SD = 0.5 * np.sqrt(X)


def moments(mean, variance, count):
    """Moments of ``count`` networks with these exact means and covariance (diagonal if variance
    is a vector)."""
    covariance = np.diag(variance) if np.ndim(variance) == 1 else variance
    mean = np.asarray(mean, dtype=float)
    return Moments(
        count,
        mean,
        covariance * (count - 1),
        mean,
        mean,
        np.ones_like(mean),
        np.full_like(mean, count),
    )


def means(rng, replicas, a=0.0, b=0.0, c=0.0, counts=COUNTS):
    """[k, replicas] rung means of a + b x + c x^2 with the ladder's noise."""
    line = a + b * X + c * X**2
    return line[:, None] + (SD / np.sqrt(counts))[:, None] * rng.standard_normal((len(X), replicas))


def intercept(degree, values, counts=COUNTS):
    """Intercepts [replicas] and their exact standard error."""
    variance = (SD**2 / counts)[:, None]
    w = weights(X, variance, degree)[0, :, 0]
    return w @ values, float(np.sqrt(w**2 @ variance[:, 0]))


def test_two_rungs_in_closed_form():
    x, mean, variance, count = (
        np.array([1.0, 0.25]),
        np.array([0.30, 0.12]),
        np.array([0.09, 0.02]),
        np.array([400, 300]),
    )
    w = weights(x, (variance / count)[:, None], 1)
    line = fit(
        [moments([m], np.array([v]), n) for m, v, n in zip(mean, variance, count, strict=True)], w
    )
    assert line.intercept[0] == pytest.approx((0.12 - 0.25 * 0.30) / 0.75)
    assert line.coefficients[1, 0] == pytest.approx((0.30 - 0.12) / 0.75)
    assert line.se[0] == pytest.approx(np.sqrt(0.02 / 300 + 0.25**2 * 0.09 / 400) / 0.75)
    assert line.errors[1, 0] == pytest.approx(np.sqrt(0.02 / 300 + 0.09 / 400) / 0.75)
    e = np.array([0.25**2 * 0.09 / 400, 0.02 / 300])
    assert line.freedom[0] == pytest.approx(e.sum() ** 2 / (e[0] ** 2 / 399 + e[1] ** 2 / 299))


@pytest.mark.parametrize("degree", [1, 2])
def test_polynomials_are_recovered_whatever_the_weights(degree):
    rng = np.random.default_rng(2)
    truth = rng.standard_normal((degree + 1, 6))
    values = np.vander(X, degree + 1, increasing=True) @ truth
    rungs = [moments(v, np.full(6, 0.1), 200) for v in values]
    found = fit(rungs, weights(X, rng.uniform(0.01, 10, (5, 6)), degree))
    np.testing.assert_allclose(found.coefficients, truth, atol=1e-10)


def test_weights_are_numpys_least_squares():
    variance = np.random.default_rng(3).uniform(0.1, 3, 5)
    values = np.random.default_rng(4).standard_normal(5)
    w = weights(X, variance[:, None], 2)[:, :, 0]
    np.testing.assert_allclose(
        w @ values, np.polyfit(X, values, 2, w=variance**-0.5)[::-1], rtol=1e-9
    )


def test_an_empty_rung_has_no_weight():
    variance = np.array([0.1, 0.2, np.inf, 0.1, np.inf])[:, None]
    w = weights(X, variance, 2)
    assert (w[:, [2, 4]] == 0).all()
    np.testing.assert_allclose(
        w[:, [0, 1, 3]], weights(X[[0, 1, 3]], variance[[0, 1, 3]], 2), atol=1e-9
    )


def test_covariance_across_rows_is_that_of_the_estimates():
    rng = np.random.default_rng(5)
    covariance = np.array([[1.0, 0.6], [0.6, 2.0]])
    counts = [30, 40, 50]
    x = np.array([2.0, 1.0, 0.25])
    w = weights(x, np.outer(1 / np.array(counts), [1.0, 2.0]), 2)
    claimed = fit([moments([0.0, 0.0], covariance, m) for m in counts], w).covariance
    root = np.linalg.cholesky(covariance)
    drawn = sum(
        w[0, i] * (rng.standard_normal((40000, 2)) @ root.T / np.sqrt(m))
        for i, m in enumerate(counts)
    )
    np.testing.assert_allclose(np.cov(drawn.T), claimed, rtol=0.04)


def test_the_90_percent_interval_covers_90_percent():
    """4000 replicas: a correct interval fails at |coverage - 0.9| > 4 binomial sd (0.019) once
    in 15,000 seeds."""
    rng = np.random.default_rng(6)
    bound = 4 * np.sqrt(0.09 / 4000)
    a, se = intercept(2, means(rng, 4000, a=0.3, b=-0.2, c=0.1))
    inside = np.abs(a - 0.3) <= stats.norm.isf(0.05) * se
    assert abs(inside.mean() - 0.9) < bound
    # the companion: half the width covers 59 %
    too_narrow = np.abs(a - 0.3) <= stats.norm.isf(0.05) * se / 2
    assert abs(too_narrow.mean() - 0.9) > 10 * bound


def test_why_the_estimate_carries_the_curvature():
    """A row exactly at the tolerance whose curvature pulls the straight line inwards, 5 standard
    errors of a1.

    Confirmed must be at most 5 % of 4000 replicas (+ 4 binomial sd, 0.014; once in 30,000 seeds).
    The quadratic fit keeps that; the straight line widened by max(0, |a1 - a2| - 2 se(a1 - a2)),
    the rule as first written, does not.
    """
    rng = np.random.default_rng(7)
    variance = (SD**2 / COUNTS)[:, None]
    w1, w2 = (weights(X, variance, degree)[0, :, 0] for degree in (1, 2))
    se1, se2, between = (float(np.sqrt(w**2 @ variance[:, 0])) for w in (w1, w2, w1 - w2))
    bias = w1 @ X**2  # of the straight line, a unit of c
    z, tolerance = stats.norm.isf(0.05), 4.5 * se2
    values = means(rng, 4000, a=tolerance, c=-2.5 * se1 * np.sign(bias) / abs(bias))
    a1, a2 = w1 @ values, w2 @ values
    widened = z * se1 + np.maximum(0, abs(a1 - a2) - 2 * between)
    assert (abs(a2) + z * se2 <= tolerance).mean() <= 0.05 + 0.014
    assert (abs(a1) + widened <= tolerance).mean() > 0.10


def test_lack_of_fit_keeps_its_level_and_sees_a_cubic():
    """4000 replicas at level 5 %: within 4 binomial sd (0.014), wrong once in 15,000 seeds."""
    rng = np.random.default_rng(8)

    def rejections(extra):
        values = means(rng, 4000, a=0.1, b=0.3, c=-0.2) + extra * X[:, None] ** 3
        variance = np.repeat((SD**2 / COUNTS)[:, None], 4000, axis=1)
        mean = values - 0  # p-values straight from the formula, one row a replica
        rungs = [_Thin(m, v * n, n) for m, v, n in zip(mean, variance, COUNTS, strict=True)]
        return (lack_of_fit(rungs, X, 2, 0.0) < 0.05).mean()

    assert abs(rejections(0.0) - 0.05) < 0.014
    assert rejections(0.5) > 0.5


class _Thin:
    """Moments without the [R, R] scatter: what lack of fit reads."""

    def __init__(self, mean, variance, count):
        self.mean, self.variance, self.count = mean, variance, count


def test_lack_of_fit_needs_degrees_of_freedom():
    rungs = [moments([float(i)], np.ones(1), 10) for i in range(3)]
    assert (lack_of_fit(rungs, X[:3], 2, 0.0) == 1.0).all()

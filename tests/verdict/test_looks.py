"""Boundaries: the level over two looks and over all rows."""

import numpy as np
import pytest
from scipy import stats

from sigprop.verdict.looks import boundary, gaussian, simultaneous, student


def test_pococks_constant():
    # Jennison and Turnbull, table 2.1, K = 2, alpha = 0.1
    assert boundary(2) == pytest.approx(1.875, abs=5e-4)
    assert boundary(1) == pytest.approx(1.644854, abs=1e-5)


def test_two_looks_keep_five_percent_and_1_645_would_not():
    """400,000 pairs: 4 binomial sd is 0.0014; wrong once in 15,000 seeds."""
    z = np.random.default_rng(0).standard_normal((400_000, 2))
    first, pooled = z[:, 0], z.sum(axis=1) / np.sqrt(2)
    crossed = np.maximum(first, pooled)
    assert abs((crossed > boundary(2)).mean() - 0.05) < 0.0014
    assert (crossed > boundary(1)).mean() > 0.075


def test_simultaneous_quantile_of_independent_and_of_equal_rows():
    """Quantiles of 20,000 draws at 0.995: 4 sd is about 0.1."""
    sidak = stats.norm.isf((1 - 0.995 ** (1 / 10)) / 2)
    assert simultaneous(np.eye(10), 2) == pytest.approx(sidak, abs=0.1)
    assert simultaneous(np.ones((10, 10)), 2) == pytest.approx(stats.norm.isf(0.0025), abs=0.1)
    assert (
        simultaneous(np.eye(10), 2)
        > simultaneous(np.eye(10), 1)
        > simultaneous(np.ones((10, 10)), 1)
    )


def test_draws_have_the_correlations_and_silent_rows_are_zero():
    covariance = np.array([[4.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    z = gaussian(covariance, 40_000)
    np.testing.assert_allclose(np.corrcoef(z[:, :2].T), [[1, 0.5], [0.5, 1]], atol=0.02)
    assert (z[:, 2] == 0).all()


def test_students_quantile():
    got = student(stats.norm.isf(0.05), np.array([5.0, 200.0, np.inf]))
    np.testing.assert_allclose(
        got, [stats.t.isf(0.05, 5), stats.t.isf(0.05, 200), stats.norm.isf(0.05)]
    )

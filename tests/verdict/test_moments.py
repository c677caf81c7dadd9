"""Sufficient statistics: whatever the chunking and the order, they are numpy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigprop.errors import Diverged
from sigprop.verdict import sampling
from sigprop.verdict.moments import Moments, weigh
from sigprop.verdict.sampling import Source


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(2, 60),
    rows=st.integers(1, 5),
    cuts=st.lists(st.integers(1, 59), max_size=6),
    offset=st.sampled_from([0.0, 1.0, 1e6]),
)
def test_any_chunking_gives_numpys_numbers(seed, count, rows, cuts, offset):
    rng = np.random.default_rng(seed)
    d = offset + rng.standard_normal((count, rows)) * rng.uniform(0.1, 3, rows)
    u = abs(d)
    edges = [0, *sorted({c for c in cuts if c < count}), count]
    parts = [Moments.of(d[i:j], u[i:j]) for i, j in zip(edges[:-1], edges[1:], strict=True)]
    rng.shuffle(parts)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    rounding = 1e-12 * max(offset, 1.0)
    assert total.count == count
    np.testing.assert_allclose(total.mean, d.mean(axis=0), rtol=1e-12, atol=rounding)
    np.testing.assert_allclose(total.covariance, np.atleast_2d(np.cov(d.T)), rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(total.high, d.max(axis=0))
    np.testing.assert_array_equal(total.low, d.min(axis=0))
    np.testing.assert_allclose(total.share, u.max(axis=0) / u.sum(axis=0), rtol=1e-12)
    centred = (d - d.mean(axis=0)) ** 2
    np.testing.assert_allclose(
        total.variance_share, centred.max(axis=0) / centred.sum(axis=0), rtol=1e-6
    )


def test_naive_sum_of_squares_would_not():
    """The companion: E d^2 - (E d)^2 in one pass loses everything at offset 1e9, where Chan's
    merge does not."""
    d = 1e9 + np.random.default_rng(0).standard_normal((1000, 1))
    merged = Moments.of(d[:300], d[:300]) + Moments.of(d[300:], d[300:])
    naive = (d**2).mean() - d.mean() ** 2
    assert abs(merged.variance[0] / d.var(ddof=1) - 1) < 1e-6
    assert abs(naive - 1) > 0.5


def test_rows_of_moments_are_moments_of_rows():
    d = np.random.default_rng(1).standard_normal((50, 4))
    keep = np.array([True, False, True, True])
    np.testing.assert_allclose(Moments.of(d, abs(d)).rows(keep).covariance, np.cov(d[:, keep].T))


def test_weights_of_variances_and_of_cosines():
    x = np.array([[2.0, 0.1, -0.2], [6.0, -0.1, 0.2]])
    theory, scale = np.array([4.0, 0.0, 0.5]), np.array([4.0, 1.0, 1.0])
    np.testing.assert_allclose(weigh(x, theory, scale), [[0.5, 1.1, 0.7], [1.5, 1.1, 0.7]])


def test_a_number_that_is_not_finite_is_a_divergence():
    with pytest.raises(Diverged):
        Moments.of(np.array([[1.0], [np.inf]]), np.ones((2, 1)))
    with pytest.raises(Diverged):
        Moments.of(np.array([[1.0], [np.nan]]), np.ones((2, 1)))


def test_chunks_are_bounded_and_each_has_its_own_stream(monkeypatch):
    monkeypatch.setattr(sampling, "CHUNK_BYTES", 8 * 2 * 100)
    calls = []

    def sampler(width, samples, stream):
        calls.append((width, samples, stream))
        return np.random.default_rng(stream).standard_normal((samples, 2))

    source = Source(sampler, np.zeros(2), np.ones(2), float)
    moments = source.draw("main", 16, 250)
    source.draw("extension", 16, 100)
    assert [c[1] for c in calls] == [100, 100, 50, 100]
    assert len({c[2] for c in calls}) == 4
    assert moments.count == 250
    assert source.spent == 16 * 350
    every = np.concatenate(
        [np.random.default_rng(s).standard_normal((m, 2)) for _, m, s in calls[:3]]
    )
    np.testing.assert_allclose(moments.mean, every.mean(axis=0), atol=1e-14)


def test_a_sampler_of_the_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"sampler: shape \(10, 3\); accepted: \(10, 2\)"):
        Source(lambda n, m, s: np.zeros((m, 3)), np.zeros(2), np.ones(2), float).draw("main", 8, 10)

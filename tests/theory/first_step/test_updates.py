"""Steps of one matrix as functions of Grams: against explicit matrices."""

from __future__ import annotations

import numpy as np
import pytest

from sigprop.theory.first_step import updates

N_OUT, N_IN, K = 1500, 2000, 3


@pytest.fixture(scope="module")
def matrices() -> tuple[np.ndarray, np.ndarray]:
    """Cotangents D [n_out, K] and inputs X [n_in, K] of correlated Gaussian coordinates."""
    rng = np.random.default_rng(3)
    mix = np.array([[1.0, 0, 0], [0.6, 0.8, 0], [0.3, 0.1, 0.7]])
    return rng.standard_normal((N_OUT, K)) @ mix.T, rng.standard_normal((N_IN, K)) @ mix[::-1].T


def test_polar_factor_is_a_function_of_grams(matrices: tuple[np.ndarray, np.ndarray]) -> None:
    """U V^T of G = D X^T by its singular values, and D P of Grams: equal to rounding."""
    d, x = matrices
    u, s, v = np.linalg.svd(d @ x.T, full_matrices=False)
    alive = s > 1e-9 * s[0]
    direct = (u[:, alive] @ v[alive]) @ x * np.sqrt(N_OUT / N_IN)
    found = updates.by_polar(d, x.T @ x / N_IN, d.T @ d / N_OUT)
    np.testing.assert_allclose(found, direct, rtol=1e-9, atol=1e-9)


def test_polar_factor_of_copies_is_that_of_one(matrices: tuple[np.ndarray, np.ndarray]) -> None:
    """A use twice over doubles G, which has the same polar factor; singular Grams are no error."""
    d, x = (np.concatenate([some, some[:, :1]], axis=1) for some in matrices)
    d[:, 3] = 0  # a use that nothing comes back from
    found = updates.by_polar(d, x.T @ x / N_IN, d.T @ d / N_OUT)
    once = updates.by_polar(d[:, :3], x[:, :3].T @ x[:, :3] / N_IN, d[:, :3].T @ d[:, :3] / N_OUT)
    np.testing.assert_allclose(found[:, :3], once, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found[:, 3], once[:, 0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 30.0])
def test_entries_of_gaussian_inputs(
    matrices: tuple[np.ndarray, np.ndarray], epsilon: float
) -> None:
    """f(G) x by a matrix written out, against the closed form and against sampled inputs: 5
    standard errors of 2000 inputs."""
    d, x = matrices
    g = d @ x.T
    direct = (np.sign(g) if epsilon == 0 else g / (np.abs(g) + epsilon)) @ x / N_IN
    closed = updates.by_entries(d, x.T @ x / N_IN, epsilon)
    bound = 5 * x.std() / np.sqrt(N_IN)
    assert np.abs(direct - closed).max() < bound
    assert np.abs(direct - 1.2 * closed).max() > bound or epsilon == 30.0
    sampled = updates.by_sampled_entries(d, x, epsilon)
    np.testing.assert_allclose(sampled, direct, rtol=1e-4, atol=1e-5)


def test_epsilon_has_its_two_limits() -> None:
    """epsilon -> 0: the sign; large: the gradient over epsilon."""
    size = np.array([0.5, 2.0])
    np.testing.assert_allclose(updates.mean_slope(size, 1e-7), updates.mean_slope(size, 0.0), 1e-5)
    np.testing.assert_allclose(updates.mean_slope(size, 1e5) * 1e5, size, 1e-4)

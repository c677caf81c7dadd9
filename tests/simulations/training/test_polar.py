"""Polar factors of gradients against numpy's singular values, and Newton-Schulz against optax."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigprop.simulations.network.precision import scope
from sigprop.simulations.training.polar import CUT, iterated, orthogonalised, polar

TOLERANCE = {"float32": 2e-4, "float64": 1e-9}


def expected(gradient: np.ndarray, cut: float) -> np.ndarray:
    """U V^T over the singular values above ``cut`` of the largest."""
    u, s, v = np.linalg.svd(gradient.astype(np.float64), full_matrices=False)
    return (u * (s > cut * s.max())) @ v


def factors(d: np.ndarray, x: np.ndarray, dtype: str, newton_schulz: bool = False) -> np.ndarray:
    """The step that sum_k d_k x_k^T becomes, formed."""
    with scope(dtype):
        make = jax.jit(functools.partial(orthogonalised, newton_schulz=newton_schulz))
        pairs = make([(d[None].astype(dtype), x[None].astype(dtype))])
        left, right = (np.asarray(y[0], dtype=np.float64) for y in pairs[0])
    return left.T @ right


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("terms", "rows", "columns"), [(1, 6, 9), (3, 40, 20), (8, 30, 50), (9, 5, 7)]
)
def test_it_is_numpys(terms: int, rows: int, columns: int, dtype: str):
    """Of any number of outer products, more than there are dimensions among them."""
    rng = np.random.default_rng(terms)
    d, x = rng.normal(size=(terms, rows)), rng.normal(size=(terms, columns))
    gradient = d.astype(dtype).T @ x.astype(dtype)
    np.testing.assert_allclose(
        factors(d, x, dtype), expected(gradient, CUT[dtype]), atol=TOLERANCE[dtype]
    )


def test_matrices_of_several_shapes_go_together():
    """Two of one K and different lengths, with two slots, and one of another."""
    rng = np.random.default_rng(7)
    shapes = [(2, 3, 6, 9), (1, 3, 12, 5), (1, 2, 4, 4)]
    pairs = [
        (rng.normal(size=(slots, terms, rows)), rng.normal(size=(slots, terms, columns)))
        for slots, terms, rows, columns in shapes
    ]
    with scope("float64"):
        steps = jax.jit(functools.partial(orthogonalised, newton_schulz=False))(pairs)
    for (d, x), (left, right) in zip(pairs, steps, strict=True):
        assert left.shape == d.shape and right.shape == x.shape
        for slot in range(len(d)):
            given = np.asarray(left[slot]).T @ np.asarray(right[slot])
            np.testing.assert_allclose(given, expected(d[slot].T @ x[slot], 1e-6), atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_directions_that_are_not_there_are_not_made_up(dtype: str):
    """Two equal tokens, one whose cotangent is zero, one that is a sum of others, nothing at
    all."""
    rng = np.random.default_rng(3)
    d, x = rng.normal(size=(6, 30)), rng.normal(size=(6, 25))
    d[1], x[1] = d[0], x[0]
    d[2], x[4] = 0, x[3] - 2 * x[5]
    given = factors(d, x, dtype)
    singular = np.linalg.svd(given, compute_uv=False)
    gradient = d.astype(dtype).T @ x.astype(dtype)
    assert np.allclose(singular[:3], 1, atol=1e-4) and np.allclose(singular[3:], 0, atol=1e-5)
    np.testing.assert_allclose(given, expected(gradient, CUT[dtype]), atol=TOLERANCE[dtype])
    assert not factors(0 * d, x, dtype).any()
    # the companion: without a cut, rounding becomes directions of length one
    assert np.linalg.norm(expected(gradient.astype(np.float32), 0.0)) > 4


def test_small_singular_values_count_as_much_as_large_ones():
    """Values from 1 to 1e-4 of the largest in float64, and one below the cut, which does not."""
    rng = np.random.default_rng(5)
    u, v = (np.linalg.qr(rng.normal(size=(20, 5)))[0] for _ in range(2))
    d, x = (u * np.array([1, 0.3, 1e-2, 1e-4, 1e-7])).T, v.T
    mixing = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    given = factors(mixing @ d, mixing @ x, "float64")
    np.testing.assert_allclose(given, u[:, :4] @ v[:, :4].T, atol=1e-8)


def test_a_matrix_of_many_uses_converges():
    """K = 48, the largest defect of an orthogonal matrix."""
    core = np.random.default_rng(1).normal(size=(48, 48)).astype(np.float32)
    found = np.asarray(jax.jit(polar)(core), dtype=np.float64)
    assert np.abs(found @ found.T - np.eye(48)).max() < 1e-4
    np.testing.assert_allclose(found, expected(core, 0), atol=2e-3)


@pytest.mark.parametrize(("rows", "columns"), [(24, 40), (40, 24)])
def test_the_iteration_is_optaxs(rows: int, columns: int):
    from optax import contrib

    rng = np.random.default_rng(2)
    d, x = (rng.normal(size=(3, n)).astype(np.float32) for n in (rows, columns))
    rule, gradient = contrib.scale_by_muon(), jnp.asarray(d.T @ x)
    with jax.numpy_dtype_promotion("standard"):
        theirs = rule.update(gradient, rule.init(gradient), gradient)[0]
    ours = factors(d, x, "float32", newton_schulz=True)
    np.testing.assert_allclose(ours, np.asarray(theirs), atol=1e-5)
    # the companion: it is not the polar factor
    assert np.abs(ours - factors(d, x, "float32")).max() > 0.01
    assert not np.asarray(iterated(jnp.zeros((2, 2), dtype=jnp.float32))).any()

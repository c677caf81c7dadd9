"""Our normals: jax's words, independent standard Gaussians of any shape, the same for mapped
keys."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from sigprop.simulations.network import random

MANY = 2**20
LEAST = 1e-5  # of a p-value


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_words_are_those_of_jax(count: int):
    key = jax.random.key(5)
    one, other = random.threefry(key, jnp.arange(count, dtype=jnp.uint32))
    assert jnp.array_equal(one ^ other, jax.random.bits(key, (count,), dtype=jnp.uint32))


@pytest.mark.parametrize(
    "shape", [(), (1,), (7,), (3, 129), (2, 1, 4096), (random.PIECE + 1,), (3, random.PIECE)]
)
def test_every_shape_is_filled_with_different_numbers(shape: tuple[int, ...]):
    x = np.asarray(random.normal(jax.random.key(5), shape))
    assert x.shape == shape and x.dtype == np.float32 and np.isfinite(x).all()
    assert len(np.unique(x)) > 0.99 * x.size


@pytest.mark.parametrize("together", [1, 2, 16])
def test_they_are_standard_normals(together: int):
    """The distribution (Kolmogorov-Smirnov), of sums of neighbours over sqrt(count) too, and of
    the first half times the second."""
    x = np.asarray(random.normal(jax.random.key(3), (MANY,)), dtype=np.float64)
    assert stats.kstest(x.reshape(-1, together).sum(1) / together**0.5, "norm").pvalue > LEAST
    # partners of a pair among them
    strides = [
        x[:-lag] * x[lag:]
        for lag in (1, MANY // 4, MANY // 2, random.PIECE // 2, random.PIECE // 4)
    ]
    assert all(abs(s.mean()) < 4.5 / len(s) ** 0.5 for s in strides)
    assert all(abs((s**2).mean() - 1) < 4.5 * (8 / len(s)) ** 0.5 for s in strides)


def test_one_word_for_both_would_be_seen():
    """The companion: with the angle of the radius's own word, the squares of partners depend on
    each other."""
    word = jax.random.bits(jax.random.key(3), (MANY // 2,), dtype=jnp.uint32)
    z = np.asarray(random._box_muller(word, word))
    assert (
        abs((z.real**2 * z.imag**2).mean() - 1) > 4.5 * (16 / MANY) ** 0.5
        or stats.kstest(z.real, "norm").pvalue < LEAST
    )


def test_tails():
    """How many are beyond 3, 4 and 4.5, and the fourth and sixth moment, within 4.5 standard
    errors."""
    x = np.asarray(random.normal(jax.random.key(4), (16 * MANY,)), dtype=np.float64)
    for beyond in (3, 4, 4.5):
        expected = 2 * stats.norm.sf(beyond) * x.size
        assert abs((np.abs(x) > beyond).sum() - expected) < 4.5 * expected**0.5
    for power, moment, square in ((2, 1, 3), (4, 3, 105), (6, 15, 10395)):
        assert abs((x**power).mean() - moment) < 4.5 * ((square - moment**2) / x.size) ** 0.5


def test_the_sine_is_one():
    turn = np.linspace(-0.25, 0.25, 10001, dtype=np.float32)
    np.testing.assert_allclose(
        random._sine(jnp.asarray(turn)), np.sin(2 * np.pi * turn.astype(np.float64)), atol=3e-7
    )


def test_mapped_keys_are_those_one_by_one():
    keys = jax.random.split(jax.random.key(1), 3)
    both = (
        jax.vmap(lambda k: random.normal(k, (5,)))(keys),
        jnp.stack([random.normal(k, (5,)) for k in keys]),
    )
    assert jnp.array_equal(*both)

"""Our fused generator gives the numbers of ``jax.random``, bit for bit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigprop.simulations import random


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 129), (2, 1, 4096)])
def test_bits_and_normals(shape: tuple[int, ...]):
    key = jax.random.key(5)
    assert jnp.array_equal(random.bits(key, shape), jax.random.bits(key, shape, dtype=jnp.uint32))
    ours, theirs = (np.asarray(jax.jit(draw)(key)) for draw in (lambda k: random.normal(k, shape), lambda k: jax.random.normal(k, shape, dtype=jnp.float32)))
    assert ours.dtype == np.float32 and np.allclose(ours, theirs, rtol=1e-6, atol=1e-7)  # rounding of fused products


def test_mapped_keys_are_those_one_by_one():
    keys = jax.random.split(jax.random.key(1), 3)
    both = jax.vmap(lambda k: random.bits(k, (5,)))(keys), jnp.stack([random.bits(k, (5,)) for k in keys])
    assert jnp.array_equal(*both)

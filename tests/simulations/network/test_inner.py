"""Inner products: the same whichever way they are added up."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from sigprop.runtime.memory import LONG
from sigprop.simulations.network.inner import dot, products

SHAPES = [(1, 1), (2, 2), (1, 3), (4, 1), (3, 2)]


@pytest.mark.parametrize("length", [5, LONG])
@pytest.mark.parametrize(("tokens", "others"), SHAPES)
def test_every_pair_of_rows(tokens: int, others: int, length: int):
    rng = np.random.default_rng(0)
    x, y = (
        jnp.asarray(rng.standard_normal((7, rows, length), dtype=np.float32))
        for rows in (tokens, others)
    )
    exact = np.einsum("atn,asn->ats", *(np.asarray(v, dtype=np.float64) for v in (x, y)))
    np.testing.assert_allclose(products(x, y), exact, atol=2e-6 * length)
    np.testing.assert_allclose(dot(x, y), exact / length, atol=2e-6)


@pytest.mark.parametrize("length", [5, LONG])
def test_rows_with_themselves(length: int):
    x = np.random.default_rng(1).standard_normal((2, length), dtype=np.float32)
    given = jnp.asarray(x)
    gram = np.asarray(dot(given, given))
    np.testing.assert_array_equal(gram, gram.T)
    np.testing.assert_allclose(
        gram, x.astype(np.float64) @ x.T.astype(np.float64) / length, atol=2e-6
    )

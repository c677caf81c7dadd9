"""Inner products: the same whichever way they are added up."""

from __future__ import annotations

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
        rng.standard_normal((7, tokens, length), dtype=np.float32),
        rng.standard_normal((7, others, length), dtype=np.float32),
    )
    exact = np.einsum("atn,asn->ats", x.astype(np.float64), y.astype(np.float64))
    np.testing.assert_allclose(products(x, y), exact, atol=2e-6 * length)
    np.testing.assert_allclose(dot(x, y), exact / length, atol=2e-6)


@pytest.mark.parametrize("length", [5, LONG])
def test_rows_with_themselves(length: int):
    x = np.random.default_rng(1).standard_normal((2, length), dtype=np.float32)
    gram = np.asarray(dot(x, x))
    np.testing.assert_array_equal(gram, gram.T)
    np.testing.assert_allclose(
        gram, x.astype(np.float64) @ x.T.astype(np.float64) / length, atol=2e-6
    )

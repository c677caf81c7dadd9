"""Roots of tokens' Grams: what they multiply to, and that no batch of them is taken at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigprop.theory.attention.heads import Leg, factor

TOKENS, BATCH = 3, 5


def leg(rank: int) -> Leg:
    """Grams of two places from vectors of ``rank`` coordinates."""
    x, y = np.random.default_rng(rank).normal(size=(2, BATCH, TOKENS, rank))
    aa, ab, bb = (jnp.asarray(u @ v.transpose(0, 2, 1)) for u, v in ((x, x), (x, y), (y, y)))
    return Leg(aa, ab, bb, jnp.zeros(BATCH), jnp.zeros(BATCH))


@pytest.mark.parametrize("rank", [1, 2, 7])
def test_a_root_times_its_transpose_is_the_gram(rank: int):
    """Of one place and of two, singular ones too; leading columns carry most."""
    with jax.enable_x64(True):
        given = leg(rank)
        one, two = factor(given, True), factor(given, False)
        np.testing.assert_allclose(one @ one.transpose(0, 2, 1), given.aa, atol=1e-12)
        gram = two @ two.transpose(0, 2, 1)
        np.testing.assert_allclose(gram[:, :TOKENS, TOKENS:], given.ab, atol=1e-12)
        np.testing.assert_allclose(gram[:, TOKENS:, TOKENS:], given.bb, atol=1e-12)
        sizes = np.square(two).sum(axis=1)
        assert (np.diff(sizes, axis=1) <= 1e-12).all()


def equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation, inner ones included."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def test_one_gram_at_a_time():
    """jaxlib's eigenvectors of a batch wait, on a thread of the pool, for other threads of it: two
    such batches on two cores wait for ever (24 tied applications did)."""
    with jax.enable_x64(True):
        found = [
            equation.invars[0].aval.ndim
            for equation in equations(jax.make_jaxpr(lambda x: factor(x, False))(leg(2)).jaxpr)
            if equation.primitive.name == "eigh"
        ]
        batched = [
            equation.invars[0].aval.ndim
            for equation in equations(jax.make_jaxpr(jnp.linalg.eigh)(leg(2).aa).jaxpr)
            if equation.primitive.name == "eigh"
        ]
    assert found == [2] and batched == [3]  # the companion: a batch would be seen

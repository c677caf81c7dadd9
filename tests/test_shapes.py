"""Functions of arrays check the shapes that their annotations name, in every test (conftest)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from sigprop.simulations.engines.conditional import Gaussian
from sigprop.simulations.network.directions import freed
from sigprop.simulations.network.random import normal
from sigprop.theory.attention.legs import turned
from sigprop.theory.attention.mixing import diagonal
from sigprop.theory.gaussian.begin import _powers
from sigprop.theory.gaussian.field import cholesky
from sigprop.theory.recursion.advance import moderate

WRONG: dict[str, Callable[[], object]] = {
    "a Gram that is not square": lambda: diagonal(jnp.zeros((1, 2, 3))),
    "variances with two axes": lambda: _powers(np.ones((2, 2))),
    "a field's Gram of three axes": lambda: cholesky(jnp.zeros((1, 2, 2))),
    "directions of another length": lambda: freed(jnp.zeros((2, 4)), jnp.zeros((3, 5))),
    "words for a key": lambda: normal(jnp.zeros(2, dtype=jnp.uint32), (2,)),
    "normals of fewer tokens": lambda: Gaussian.ask(
        None, None, jnp.zeros((3, 4)), jnp.zeros((2, 5))
    ),
    "a step's coefficients of other lanes": lambda: moderate(
        jnp.zeros((2, 2, 1, 3)), jnp.zeros((1, 1, 1, 3)), jnp.zeros((1, 3))
    ),
    "integers for numbers": lambda: turned(jnp.zeros((1, 1, 2, 2), dtype=jnp.int32)),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=list(WRONG))
def test_a_wrong_shape_is_refused(call: Callable[[], object]):
    with pytest.raises(TypeCheckError):
        call()


def test_a_wrong_shape_is_refused_where_it_is_traced():
    with pytest.raises(TypeCheckError):
        jax.jit(diagonal)(jnp.zeros((1, 2, 3)))
    assert jax.vmap(turned)(jnp.zeros((5, 2, 3))).shape == (5, 3, 2)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_right_shapes_pass_in_every_precision(dtype: jnp.dtype):
    assert diagonal(jnp.ones((1, 2, 2), dtype=dtype)).dtype == dtype
    assert turned(jnp.ones((1, 1, 2, 3), dtype=dtype)).shape == (1, 1, 3, 2)

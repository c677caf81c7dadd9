"""theory/calculus/algebra.py: one function on expressions and on arrays; finite at the edges;
NaN is passed on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

from sigprop.theory.calculus import algebra


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
    ):
        yield


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "atan", "acos", "asin", "clip"])
def test_same_value_on_expressions_and_arrays(name: str) -> None:
    x = 0.3
    symbolic = getattr(algebra, name)(sympy.Symbol("x")).subs("x", x)
    assert float(symbolic) == pytest.approx(
        float(getattr(algebra, name)(jnp.asarray(x))), rel=1e-14
    )


@pytest.mark.parametrize("name", ["cosine", "determinant", "angle"])
@pytest.mark.parametrize("point", [(1.0, 0.3, 2.0), (0.7, -0.6, 0.9), (1.0, 0.0, 1.0)])
def test_gram_functions_agree(name: str, point: tuple[float, float, float]) -> None:
    symbols = sympy.symbols("q_a c q_b")
    symbolic = getattr(algebra, name)(*symbols).subs(dict(zip(symbols, point, strict=True)))
    assert float(symbolic) == pytest.approx(
        float(getattr(algebra, name)(*map(jnp.asarray, point))), rel=1e-13, abs=1e-15
    )


@pytest.mark.parametrize("name", ["acos", "asin", "sqrt"])
@pytest.mark.parametrize("x", [1.0, -1.0, 1 + 2**-52, -1 - 2**-52, 0.0, -1e-18])
def test_finite_at_the_edges(name: str, x: float) -> None:
    value, slope = jax.jit(jax.value_and_grad(getattr(algebra, name)))(x)
    assert np.isfinite(value)
    assert np.isfinite(slope)


@pytest.mark.parametrize("name", ["acos", "asin", "sqrt", "clip"])
def test_nan_is_passed_on(name: str) -> None:
    assert np.isnan(getattr(algebra, name)(jnp.asarray(jnp.nan)))


def test_acos_is_clipped() -> None:
    np.testing.assert_array_equal(
        algebra.acos(jnp.asarray([1.5, 1.0, -1.0, -1.5])), [0, 0, np.pi, np.pi]
    )


def test_diagonal_is_exact() -> None:
    """rho = 1, determinant = 0 and theta = 0 to the last bit where qa = c = qb, also when q is
    computed in the same kernel."""

    @jax.jit
    def diagonal(q: jax.Array) -> tuple[jax.Array, ...]:
        q = q * 0.1 + q * 0.37
        return algebra.cosine(q, q, q), algebra.determinant(q, q, q), algebra.angle(q, q, q)

    q = jnp.asarray(np.exp(np.random.default_rng(0).uniform(-100, 100, 2000)))
    rho, determinant, theta = diagonal(q)
    assert bool(jnp.all(rho == 1))
    assert bool(jnp.all(determinant == 0))
    assert bool(jnp.all(theta == 0))


@pytest.mark.parametrize("name", ["cosine", "determinant", "angle"])
@pytest.mark.parametrize(
    "point", [(0.0, 0.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1 + 2**-52, 1.0), (2.0, -2.0, 2.0)]
)
def test_gram_functions_are_finite(name: str, point: tuple[float, float, float]) -> None:
    value, slopes = jax.value_and_grad(getattr(algebra, name), argnums=(0, 1, 2))(*point)
    assert np.isfinite([value, *slopes]).all()


def test_constants() -> None:
    x = sympy.Symbol("x")
    assert algebra.pi(1.0, x) is sympy.pi
    assert algebra.pi(1.0) == np.pi
    assert algebra.rational(1, 3, x) == sympy.Rational(1, 3)
    assert algebra.rational(1, 4, 1.0) == 0.25
    assert algebra.one(x) == 1
    assert algebra.one(jnp.zeros(3)).shape == (3,)


def test_asking_does_not_import_sympy() -> None:
    code = (
        "import sys; from sigprop.theory.calculus.algebra import is_symbolic; assert not "
        "is_symbolic(1.0, 'x'); assert 'sympy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""Dual activations at the edges: cosines of 1 and -1, zero variance, any log scale, any shape;
and the laws they obey."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dual_points import POINTS, SERIES, Point, at, gradients, renamed, soft_plus, strict
from hypothesis import given, settings
from hypothesis import strategies as st

from sigprop.language.activation import Activation
from sigprop.language.activations import find
from sigprop.theory.gaussian.closed import CLOSED, homogeneous
from sigprop.theory.gaussian.dual import dual, features


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with strict():
        yield


@pytest.mark.parametrize("name", ["tanh", "silu", "relu"])
@pytest.mark.parametrize("q", [0.3, 40.0])
@pytest.mark.parametrize("degree", [9, 32])
def test_exact_at_both_ends(name: str, q: float, degree: int) -> None:
    """rho = 1 and -1 with qa = qb: E[phi^2] and E[phi(x) phi(-x)], at any degree."""
    from sigprop.language.activation import gaussian_nodes

    activation = renamed(name)
    z, weight = gaussian_nodes()
    x = jnp.asarray(np.sqrt(q) * z)
    for order, phi in enumerate((activation.function, activation.derivative)):
        for sign in (1, -1):
            expected = float(np.sum(weight * np.asarray(phi(x)) * np.asarray(phi(sign * x))))
            assert at(activation, order, (q, sign * q, q), degree=degree) == pytest.approx(
                expected, rel=1e-13, abs=1e-14 * q
            )


@pytest.mark.parametrize("name", [*CLOSED, "leaky-relu", *SERIES])
def test_zero_variance(name: str) -> None:
    assert at(name, 0, (0.0, 0.0, 0.0)) == 0
    assert at(name, 0, (0.0, 0.0, 2.0)) == pytest.approx(0, abs=1e-16)
    assert np.isfinite([at(name, 1, (0.0, 0.0, 0.0)), at(name, 1, (0.0, 0.0, 2.0))]).all()


def test_zero_variance_with_a_constant() -> None:
    assert at(Activation("softplus", soft_plus), 0, (0.0, 0.0, 0.0)) == pytest.approx(
        np.log(2) ** 2, rel=1e-14
    )


@pytest.mark.parametrize("name", [*CLOSED, "leaky-relu", *SERIES])
def test_finite_on_the_diagonal_and_price(name: str) -> None:
    """dV_phi/dc = V_phi' (Price), inside and where rho is 1 or -1 up to rounding; every value
    and gradient is finite."""
    edges: list[Point] = [
        (1.0, c, 1.0) for c in (1.0, 1 + 2**-52, 1 - 2**-53, 1 + 1e-12, -1 - 2**-52)
    ]
    _, slopes = gradients(name, 0, POINTS + edges)
    values, more = gradients(name, 1, POINTS + edges)
    assert np.isfinite(values).all()
    assert np.isfinite(slopes).all()
    assert np.isfinite(more).all()
    np.testing.assert_allclose(slopes[1], values, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", [*CLOSED, "leaky-relu", *SERIES])
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("logs", [(0.0, 0.0), (0.7, -1.3), (-2.0, -2.0), (1.0, 1.0)])
def test_log_scale_law(name: str, order: int, logs: tuple[float, float]) -> None:
    """(variance q, log s) is (variance q e^2s, log 0), up to the mantissa's e^(-s_a - s_b)."""
    qa, c, qb = 0.3, -0.2, 0.6
    sa, sb = logs
    value = at(name, order, (qa, c, qb), sa, sb)
    plain = at(name, order, (qa * np.exp(2 * sa), c * np.exp(sa + sb), qb * np.exp(2 * sb)))
    assert value == pytest.approx(
        plain * (np.exp(-sa - sb) if order == 0 else 1), rel=1e-12, abs=1e-14
    )


@pytest.mark.parametrize("name", [*CLOSED, "leaky-relu", *SERIES])
@pytest.mark.parametrize("s", [30.0, 150.0, 5000.0, -50.0, -500.0, -5000.0])
def test_extreme_log_scales(name: str, s: float) -> None:
    """Large: the homogeneous part (gelu, silu -> relu; erf, tanh -> 0); small: phi'(0) x."""
    c = 0.4
    point = (1.3, c, 0.7)
    found = [at(name, order, point, s, s) for order in (0, 1)]
    if homogeneous(find(name)):
        expected = [at(name, order, point) for order in (0, 1)]
    elif s < 0:
        slope = float(find(name).derivative(jnp.zeros(())))
        expected = [slope**2 * c, slope**2]
    elif name in ("erf", "tanh"):
        expected = [0.0, 0.0]
    else:
        expected = [at("relu", order, point) for order in (0, 1)]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_extreme_diagonal_is_exact() -> None:
    """gelu and erf at s = 5000 on the diagonal: rho stays exactly 1, V' is 1/2 and about 0 (at
    the largest scale that is held)."""
    q, s = jnp.asarray([0.37, 1.9]), jnp.asarray([5000.0, 90.0])

    @functools.partial(jax.jit, static_argnums=0)
    def diagonal(name: str, order: int = 1) -> Any:
        f = features(name, q, s)
        return jnp.diagonal(dual(name, order, f, jnp.diag(q), f))

    np.testing.assert_allclose(diagonal("gelu"), 0.5, rtol=1e-14)
    np.testing.assert_allclose(
        diagonal("erf"), 2 / np.pi / np.sqrt(np.asarray(q) * np.exp([600.0, 180.0])), rtol=1e-12
    )


@pytest.mark.parametrize("name", ["gelu", "tanh"])
@pytest.mark.parametrize("scaled", [False, True])
def test_broadcasting(name: str, scaled: bool) -> None:
    """Left [T], right [U, T'], cross [U, T, T'] is the loop over U; also through jit and vmap;
    result [U, T, T']."""
    rng = np.random.default_rng(1)
    qa, qb = jnp.asarray(rng.uniform(0.5, 2, 3)), jnp.asarray(rng.uniform(0.5, 2, (4, 2)))
    rho = jnp.asarray(rng.uniform(-1, 1, (4, 3, 2)))
    cross = rho * jnp.sqrt(qa[None, :, None] * qb[:, None, :])
    sa, sb = (jnp.asarray(rng.normal(size=q.shape)) if scaled else 0.0 for q in (qa, qb))
    fa, fb = features(name, qa, sa, degree=16), features(name, qb, sb, degree=16)
    for order in (0, 1):
        value = jax.jit(dual, static_argnums=(0, 1))(name, order, fa, cross, fb)
        assert value.shape == (4, 3, 2)
        mapped = jax.vmap(lambda c, f, order=order: dual(name, order, fa, c, f))(cross, fb)
        np.testing.assert_allclose(mapped, value, rtol=1e-13, atol=1e-15)
        one = dual(name, order, fa, cross[2], jax.tree.map(lambda leaf: leaf[2], fb))
        np.testing.assert_allclose(one, value[2], rtol=1e-13, atol=1e-15)
    assert dual(name, 1, fa, cross[2], jax.tree.map(lambda leaf: leaf[:1], fb)).shape == (1, 3, 2)


@functools.cache
def _law(name: str) -> Callable[..., np.ndarray]:
    """[V(a, c, b), V(b, c, a), V(a, a, a), V(b, b, b), V(a, c + d, b)], compiled once."""

    @jax.jit
    def values(qa: Any, c: Any, qb: Any, step: Any) -> Any:
        fa, fb = features(name, qa[None]), features(name, qb[None])
        pairs = [(fa, c, fb), (fb, c, fa), (fa, qa, fa), (fb, qb, fb), (fa, c + step, fb)]
        return jnp.stack(
            [dual(name, 0, left, cross[None, None], right)[0, 0] for left, cross, right in pairs]
        )

    return lambda *v: np.asarray(values(*(jnp.asarray(float(x)) for x in v)))


variances = st.floats(1e-3, 1e3)


@pytest.mark.parametrize("name", ["relu", "leaky-relu", "erf", "gelu", "tanh", "silu"])
@settings(max_examples=40, deadline=None)
@given(qa=variances, qb=variances, rho=st.floats(-1, 1), step=st.floats(0, 1))
def test_laws(name: str, qa: float, qb: float, rho: float, step: float) -> None:
    """Symmetric; Cauchy-Schwarz; V grows with c >= 0 (all), everywhere (monotone phi)."""
    norm = np.sqrt(qa * qb)
    with strict():
        v, mirrored, aa, bb, later = _law(name)(qa, rho * norm, qb, step * (1 - rho) * norm)
    rounding = 1e-13 * np.sqrt(aa * bb) + 1e-300
    assert abs(v - mirrored) <= rounding
    assert abs(v) <= np.sqrt(aa * bb) + rounding
    if name not in ("gelu", "silu"):
        assert later >= v - rounding

"""Dual activations against quadrature: closed forms, the series, its bound, kinks."""

from __future__ import annotations

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
import pytest
from dual_points import FUNCTIONS, POINTS, Point, at, hard_tanh, normal, renamed, strict
from mpmath import fp

from sigprop.language.activation import Activation
from sigprop.theory.gaussian import series
from sigprop.theory.gaussian.closed import CLOSED
from sigprop.theory.gaussian.dual import features


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with strict():
        yield


def integral(name: str, order: int, point: Point) -> float:
    """E[phi(x) phi(y)] by mpmath's double-exponential rule, nested: x, then y given x; both
    split at the kink."""
    qa, c, qb = point
    phi, width, spread = FUNCTIONS[name, order], np.sqrt(qa), np.sqrt(qb - c * c / qa)

    def inner(x: float) -> float:
        mean = c / qa * x
        ends = [mean - 9 * spread, mean + 9 * spread]
        ends = [ends[0], 0.0, ends[1]] if ends[0] < 0 < ends[1] else ends
        return (
            phi(x)
            * normal(x / width)
            / width
            * fp.quad(lambda y: phi(y) * normal((y - mean) / spread) / spread, ends, maxdegree=5)
        )

    return fp.quad(inner, [-9 * width, 0, 9 * width], maxdegree=5)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("name", [*CLOSED, "leaky-relu", "leaky-relu(0.35)"])
def test_closed_form_is_the_integral(name: str, order: int, point: Point) -> None:
    assert at(name, order, point) == pytest.approx(integral(name, order, point), abs=1e-10)


@pytest.mark.parametrize("point", POINTS[:3])
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("name", ["tanh", "silu"])
def test_series_is_the_integral(name: str, order: int, point: Point) -> None:
    assert at(name, order, point) == pytest.approx(integral(name, order, point), abs=1e-11)


@pytest.mark.parametrize(
    ("name", "order", "error"),
    [
        ("linear", 0, 1e-13),
        ("linear", 1, 1e-13),
        ("relu", 0, 1e-9),
        ("relu", 1, 1e-7),
        ("leaky-relu", 0, 1e-9),
        ("erf", 0, 1e-13),
        ("erf", 1, 1e-13),
        ("gelu", 0, 1e-13),
        ("gelu", 1, 1e-13),
    ],
)
def test_series_agrees_with_closed_form(name: str, order: int, error: float) -> None:
    """|rho| <= 0.9 and variances <= 4; a kink at 0 (relu) leaves 6e-11, its derivative's jump
    3e-8."""
    for qa, qb in [(0.1, 0.1), (1.0, 1.0), (1.0, 4.0)]:
        for rho in (-0.9, -0.5, 0.0, 0.3, 0.9):
            point = (qa, rho * np.sqrt(qa * qb), qb)
            assert at(renamed(name), order, point) == pytest.approx(
                at(name, order, point), abs=error * max(1, qb)
            )


@pytest.mark.parametrize("rho", [0.99, 0.999, -0.999])
@pytest.mark.parametrize("name", ["relu", "erf"])
@pytest.mark.parametrize("order", [0, 1])
def test_truncation_is_bounded(name: str, order: int, rho: float) -> None:
    """Where the series has not converged (variance 50, rho near 1) the error is within
    ``series.bound``."""
    q, activation = jnp.asarray([50.0]), renamed(name)
    f = features(activation, q)
    a = jnp.moveaxis(f.value if order == 0 else f.slope, -1, 0)[..., None]
    stated = float(series.bound(a, jnp.asarray([[rho]]), a)[0, 0])
    error = abs(
        at(activation, order, (50.0, 50 * rho, 50.0)) - at(name, order, (50.0, 50 * rho, 50.0))
    )
    assert 0 < error <= stated + 1e-12


def test_a_kink_anywhere() -> None:
    """Hard tanh (kinks at +-1): its truth is E[E[phi(y)|x] phi(x)] with the inner mean in closed
    form."""
    activation = Activation("hard-tanh", hard_tanh)
    qa, c, qb = 1.3, 0.8, 0.7
    width, spread = np.sqrt(qa), np.sqrt(qb - c * c / qa)

    def mean_of_clip(m: float) -> float:
        up, down = (1 - m) / spread, (-1 - m) / spread
        middle = m * (fp.ncdf(up) - fp.ncdf(down)) - spread * (normal(up) - normal(down))
        return middle + (1 - fp.ncdf(up)) - fp.ncdf(down)

    ends = [-9 * width, -1, 1, 9 * width]
    truth = fp.quad(
        lambda x: np.clip(x, -1, 1) * normal(x / width) / width * mean_of_clip(c / qa * x), ends
    )
    f = [features(activation, jnp.asarray([q])) for q in (qa, qb)]
    a, b = (jnp.moveaxis(g.value, -1, 0)[..., None] for g in f)
    stated = float(series.bound(a, jnp.asarray([[c / np.sqrt(qa * qb)]]), b)[0, 0])
    coarse = at(activation, 0, (qa, c, qb), order=12)
    value = at(activation, 0, (qa, c, qb))
    assert abs(value - truth) <= stated + 3 * abs(value - coarse)
    assert value == pytest.approx(truth, abs=1e-4)

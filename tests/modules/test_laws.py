"""Laws of entries: mean, variance and ends against quadrature, exact values and closure."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, special, stats

from sigprop.modules import laws
from sigprop.modules.laws import Law

TRUNCATIONS = [
    (0.0, 1.0, -2.0, 2.0),
    (0.3, 0.5, -0.1, 0.4),
    (1.0, 2.0, -math.inf, 0.0),
    (-1.0, 0.02, -1.01, math.inf),
    (0.0, 0.02, -2.0, 2.0),
    (0.0, 1.0, 4.0, 5.0),
    (0.0, 1.0, -9.0, -8.0),
    (0.0, 1.0, 8.0, 9.0),
]


@pytest.mark.parametrize(("mean", "sd", "low", "high"), TRUNCATIONS)
def test_truncated_normal_has_the_moments_of_its_density(
    mean: float, sd: float, low: float, high: float
):
    """Mean and variance equal those of scipy's distribution, far tails included."""
    law = laws.truncated_normal(mean, sd, low, high)
    reference = stats.truncnorm((low - mean) / sd, (high - mean) / sd, mean, sd)
    assert law.mean == pytest.approx(float(reference.mean()), rel=1e-7, abs=1e-12)
    assert law.variance == pytest.approx(float(reference.var()), rel=1e-5)
    assert (law.low, law.high, law.known) == (low, high, True)


def test_truncated_normal_by_quadrature():
    """Integrals of w and w^2 against the density agree with the closed form to 1e-10."""
    mean, sd, low, high = 0.3, 0.5, -0.1, 0.4
    density = stats.norm(mean, sd).pdf
    mass, first, second = (
        integrate.quad(lambda w, k=k: w**k * density(w), low, high)[0] for k in range(3)
    )
    law = laws.truncated_normal(mean, sd, low, high)
    assert law.mean == pytest.approx(first / mass, rel=1e-10)
    assert law.second == pytest.approx(second / mass, rel=1e-10)


def test_truncation_that_leaves_nothing_is_unknown():
    """Ends that hold no mass in double precision have no law, and say how far away they are."""
    law = laws.truncated_normal(0.0, 1.0, 60.0, 61.0)
    assert not law.known and "60 deviations away" in law.source


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-0.9, 0.9), (-0.2, 0.7), (0.1, 1.0)])
def test_erfinv_of_a_uniform_has_the_moments_of_the_integral(low: float, high: float):
    """E erfinv(u)^k over u uniform on (low, high), by quadrature in the variable itself."""
    law = laws.erfinv_of(laws.uniform(low, high))
    ends = special.erfinv([low, high])
    first, second = (
        integrate.quad(
            lambda w, k=k: w**k * 2 / math.sqrt(math.pi) * math.exp(-w * w) / (high - low), *ends
        )[0]
        for k in (1, 2)
    )
    assert law.mean == pytest.approx(first, rel=1e-9, abs=1e-12)
    assert law.second == pytest.approx(second, rel=1e-9)


@pytest.mark.parametrize(
    "law", [laws.normal(0.0, 1.0), laws.uniform(-1.5, 0.5), laws.constant(0.3)]
)
def test_erfinv_of_anything_else_is_unknown(law: Law):
    """Only a uniform law inside (-1, 1) has one."""
    assert not laws.erfinv_of(law).known


AFFINE = [
    laws.normal(0.3, 2.0),
    laws.uniform(-1.0, 3.0),
    laws.constant(1.5),
    laws.truncated_normal(0.0, 1.0, -1.0, 2.0),
]


@pytest.mark.parametrize("law", AFFINE, ids=[law.kind for law in AFFINE])
@pytest.mark.parametrize(("scale", "shift"), [(2.0, 0.0), (-0.5, 1.0), (0.0, 3.0)])
def test_affine_changes_moments_and_ends(law: Law, scale: float, shift: float):
    """c w + b has mean c m + b, variance c^2 v, and the ends in order; twice is one such change."""
    changed = law.affine(scale, shift)
    assert changed.mean == pytest.approx(scale * law.mean + shift)
    assert changed.variance == pytest.approx(scale**2 * law.variance)
    assert changed.low <= changed.mean <= changed.high
    again = changed.affine(3.0, -1.0)
    once = law.affine(3 * scale, 3 * shift - 1)
    assert (again.mean, again.variance) == pytest.approx((once.mean, once.variance))


def test_affine_of_a_uniform_is_the_uniform_between_the_moved_ends():
    """uniform(a, b) moved is uniform of the moved ends, in every field."""
    moved = laws.uniform(-1.0, 3.0).affine(-0.5, 1.0)
    assert moved == laws.uniform(-0.5, 1.5)


def test_uniform_against_draws():
    """Mean and variance of 10^5 draws within 4.5 standard errors (false alarm 1e-5)."""
    draws = np.random.default_rng(0).uniform(-0.3, 1.1, 100_000)
    law = laws.uniform(-0.3, 1.1)
    assert abs(draws.mean() - law.mean) < 4.5 * math.sqrt(law.variance / draws.size)
    spread = ((draws - law.mean) ** 2).std() / math.sqrt(draws.size)
    assert abs(draws.var() - law.variance) < 4.5 * spread


def test_laws_say_what_they_are():
    """A law's text holds its kind and its standard deviation, a constant's its value."""
    assert str(laws.normal(0.0, 0.02)) == "normal, sd 0.02"
    assert str(laws.normal(0.5, 0.02)) == "normal, mean 0.5, sd 0.02"
    assert str(laws.constant(1.0)) == "1"
    assert str(laws.unknown("bernoulli_")) == "unknown (bernoulli_)"
    assert math.isnan(laws.unknown("bernoulli_").affine(2.0).second)

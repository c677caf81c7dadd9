"""Figures of finite width: what the shift is without c, checked where it is known; the verdict on
coefficients of 1/n, its false alarms, and that it can fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sigprop.language.activations import find
from sigprop.paper_figures import finite_width, network_scatter
from sigprop.paper_figures._judge import Judged
from sigprop.paper_figures._second_order import Stack, closure, coefficients, one_input

WIDTHS = (16, 32, 64)


@pytest.mark.parametrize(("tied", "variance"), [(False, 11.745), (True, 66.143)])
def test_first_differences_of_the_closure_are_the_scatter(tied: bool, variance: float):
    """gelu, r = 2, eps = 0.7, D = 3: the numbers of an own derivation, within 2 % of sampling."""
    stack = Stack(find("gelu"), 3, 0.7, 2.0, tied, 2.0)
    found = closure(stack, 2**17)
    assert found.variance[-1] == pytest.approx(variance, rel=0.02)
    assert found.variance[0] == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize(("tied", "shift"), [(False, 0.0), (True, -1.927)])
def test_units_that_respond_have_the_shift_that_the_closure_has_not(tied: bool, shift: float):
    """The companion: the same recursion with the units' values at the Grams that they are part of,
    instead of fixed, has the shift of networks (within 0.1 of sampling); fixed, none to speak
    of."""
    stack = Stack(find("gelu"), 3, 0.7, 2.0, tied, 2.0)
    assert responding(stack, 2**17) == pytest.approx(shift, abs=0.1)
    assert abs(closure(stack, 2**14).shift[-1]) < (0.2 if tied else 1e-6)


def responding(stack: Stack, units: int) -> float:
    """Half the mean second difference of <h_D, h_D> in the weight t of one unit among all."""
    rng, size = np.random.default_rng(0), stack.depth + 1
    z = rng.standard_normal((units // 2, size + stack.depth))
    z = np.linalg.solve(np.linalg.cholesky(z.T @ z / len(z)), z.T).T
    z = np.concatenate([z, -z])
    up, middle, down = (with_unit(stack, z[:, :size], z[:, size:], t) for t in (1e-3, 0.0, -1e-3))
    return float(np.mean(up - 2 * middle + down)) / 2e-6


def with_unit(stack: Stack, of_states: Any, of_units: Any, t: float) -> Any:
    """<h_D, h_D> with units of these normals at weight t, each alone."""
    weights, size = coefficients(stack.activation), stack.depth + 1
    count, s = len(of_states), t / stack.ratio**0.5
    gram, seen, hidden, writes = (np.zeros((count, size, size)) for _ in range(4))
    h, v = np.zeros((count, size)), np.zeros((count, size))
    for a in range(size):
        for b in range(a + 1):
            gram[:, a, b] = gram[:, b, a] = 1 + writes[:, :a, :b].sum(axis=(1, 2))
        h[:, a] = last_row(gram[:, : a + 1, : a + 1], of_states)
        for b in range(a + 1):
            seen[:, a, b] = seen[:, b, a] = (1 - t) * gram[:, a, b] + t * h[:, a] * h[:, b]
        for b in range(a + 1):
            cosine = seen[:, a, b] / np.sqrt(seen[:, a, a] * seen[:, b, b])
            hidden[:, a, b] = hidden[:, b, a] = cosine if stack.tied else float(a == b)
        if a < stack.depth:
            v[:, a] = stack.activation.function(last_row(hidden[:, : a + 1, : a + 1], of_units))
            for b in range(a + 1) if stack.tied else (a,):
                mean = np.polynomial.polynomial.polyval(hidden[:, a, b], weights)
                write = (1 - s) * mean + s * v[:, a] * v[:, b]
                writes[:, a, b] = writes[:, b, a] = stack.scale**2 * stack.variance * write
    return seen[:, -1, -1]


def last_row(covariance: Any, normals: Any) -> Any:
    """The newest of Gaussians of these covariances."""
    row = np.linalg.cholesky(covariance)[:, -1]
    return np.einsum("nj,nj->n", row, normals[:, : row.shape[1]])


def test_hermite_coefficients_are_moments():
    """Their squares sum to E gelu^2; the first is the squared mean, 1/(4 pi)."""
    found = coefficients(find("gelu"))
    assert found.sum() == pytest.approx(0.425221, abs=1e-5)
    assert found[0] == pytest.approx(1 / (4 * np.pi))


@pytest.mark.parametrize(("depth", "shift"), [(1, 0.0), (2, -0.0622), (3, -0.1151)])
def test_one_input(depth: int, shift: float):
    assert one_input(find("tanh"), 1.5, depth) == pytest.approx(shift, abs=1.1e-4)


def made_up(rng: np.random.Generator, *, shift: float = 3.0, se: float = 0.002) -> list[Any]:
    """Means 4 + 3/n + 6/n^2 with normal errors, where ``shift`` is predicted."""
    rows = []
    for n in WIDTHS:
        value = 4 + 3 / n + 6 / n**2 + se * rng.standard_t(1000)
        rows.append(
            {
                "panel": "p",
                "application": 4,
                "theory": 4.0,
                "theory_error": 0.0,
                "scale": 4.0,
                "measured": value,
                "se": se,
                "width": n,
                "samples": 1001,
                "n_shift": shift,
                "n_shift_error": 0.0,
                "told": 3.0,
            }
        )
    return rows


def judged(rows: list[Any]) -> Judged:
    return finite_width.judge({"means": rows})


def test_false_alarms_are_as_rare_as_stated():
    """1 % of each of two verdicts at most: of 400 no more than 19, which binomial(400, 0.02)
    exceeds with probability 1e-4 (and fewer are rejected, for the allowance)."""
    rng = np.random.default_rng(0)
    alarms = sum(judged(made_up(rng)).verdict == "rejected" for _ in range(400))
    assert alarms <= 19


def test_another_coefficient_is_rejected():
    """That without c, that of another sign, a wide limit that is off by 3 %."""
    rng = np.random.default_rng(1)
    assert judged(made_up(rng)).verdict == "confirmed"
    for shift in (0.0, -3.0, 6.0):
        assert judged(made_up(rng, shift=shift)).verdict == "rejected"
    moved = [row | {"theory": 1.03 * row["theory"]} for row in made_up(rng)]
    assert judged(moved).verdict == "rejected"


def test_too_few_networks_confirm_nothing():
    rng = np.random.default_rng(2)
    assert judged(made_up(rng, se=0.02)).verdict == "inconclusive"
    assert judged(made_up(rng)[:1]).verdict == "inconclusive"
    lost = [*made_up(rng)[:-1], made_up(rng)[-1] | {"measured": None, "se": None}]
    assert judged(lost).verdict == "inconclusive"


def scattered(factor: float) -> list[Any]:
    """Networks N(4, 30/n), where ``factor`` times 30 is predicted."""
    rng, rows = np.random.default_rng(3), []
    for n in (64, 256, 1024):
        values = 4 + (30 / n) ** 0.5 * rng.standard_normal(4096)
        rows.append(
            {"theory": 4.0, "theory_error": 0.0, "scale": 4.0, "width": n, "samples": 4096}
            | network_scatter.measured(values)
            | {"n_variance": 30 * factor, "n_variance_error": 0.3, "told": 6.0}
        )
    return rows


def test_a_wrong_scatter_is_rejected():
    assert network_scatter.judge({"moments": scattered(1.0)}).verdict == "confirmed"
    for factor in (0.8, 1.25):
        assert network_scatter.judge({"moments": scattered(factor)}).verdict == "rejected"


def test_the_error_of_a_variance():
    """sqrt(2/M) of normals, within 4 standard errors of 2000 repetitions."""
    values = np.random.default_rng(4).standard_normal((2000, 400))
    found = [network_scatter.measured(row) for row in values]
    spread = np.std([one["variance"] for one in found])
    stated = np.mean([one["variance_se"] for one in found])
    assert stated == pytest.approx(spread, rel=0.07)


def test_closed_forms_of_the_figure_are_those_of_networks_in_it():
    """Both panels of closed forms: kappa = 0.98 at four blocks, and sums over pairings."""
    found = {name: case for name, case in finite_width.cases().items() if case.closed}
    assert set(found) == {"untied", "tied linear"}
    kappa = 0.49  # over 2
    untied = finite_width.closed_form(found["untied"].arch)
    c_w = found["untied"].arch.numbers["c_w"]
    assert 0.49 * c_w == pytest.approx(2 * kappa)
    x = 1 + kappa
    own = sum(
        (4 - lag) * (np.arcsin(r) + r * np.sqrt(1 - r**2)) / (2 * np.pi)
        for lag in (1, 2, 3)
        for r in [x ** (-lag / 2)]
    )
    assert untied == pytest.approx((2 * kappa) ** 2 * x**2 * own)
    assert finite_width.closed_form(found["tied linear"].arch) == pytest.approx(5.8212)

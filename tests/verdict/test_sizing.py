"""Sizing: the cheapest design in closed form, how much of it, floors and budgets; the pilot's
escalation."""

import numpy as np
import pytest
from scipy import stats
from verdict_networks import networks

from sigprop.verdict.pilot import climb, pilot_samples
from sigprop.verdict.sampling import Source
from sigprop.verdict.sizing import FLOOR, cheapest, needed, plan

LADDER = np.array([0.5, 1, 2, 4, 8])


def test_cheapest_design_in_closed_form_and_against_other_designs():
    """v = 1/n, cost n^2: rungs 1/2, 1, 8 with weights 1/15, -2/7, 128/105 at zero: (sum |w|
    sqrt(v c))^2 = 14.295."""
    x, v, c = 1 / LADDER, 1 / LADDER, LADDER**2
    m = cheapest(x, v, c)
    assert (m > 1e-9).sum() == 3

    def price(counts):
        """Cost times variance of the intercept: free of scale."""
        basis = np.vander(x, 3, increasing=True)
        return float(counts @ c * np.linalg.inv(basis.T @ np.diag(counts / v) @ basis)[0, 0])

    assert price(m) == pytest.approx(14.2948, abs=1e-3)
    rng = np.random.default_rng(0)
    assert all(price(rng.dirichlet(np.full(5, 0.5)) + 1e-6) > price(m) for _ in range(300))
    assert price(np.ones(5)) > 1.4 * price(m)


def test_needed_for_one_row_and_one_look():
    """max of (z(5 %) + z(2.5 % a side))^2 for confirming and (z(1/2 %) + z(10 %))^2 for
    rejecting, in units (se/room)^2."""
    confirm = stats.norm.isf(0.05) + stats.norm.isf(0.025)
    reject = stats.norm.isf(0.005) + stats.norm.isf(0.10)
    assert needed(np.array([[0.04]]), np.array([0.1]), 1) == pytest.approx(
        4 * max(confirm, reject) ** 2, rel=0.04
    )
    assert needed(np.array([[0.04]]), np.array([0.2]), 1) == pytest.approx(
        max(confirm, reject) ** 2, rel=0.04
    )


def test_more_rows_need_more_and_correlated_rows_less():
    one, many, tied = (
        needed(c, np.full(len(c), 3.0), 2) for c in (np.eye(1), np.eye(30), np.ones((30, 30)))
    )
    assert one < tied * 1.1 < many
    assert needed(np.eye(30), np.full(30, 3.0), 2) < needed(np.eye(30), np.full(30, 3.0), 1)


def pilot_rungs(rows=3, n1=64, kappa=3.5, m=2000):
    source = Source(networks(rows, kappa=kappa), np.ones(rows), np.ones(rows), lambda n: n**2)
    return [source.draw("pilot", round(f * n1), m) for f in LADDER]


def test_plan_has_floors_and_precision():
    rungs = pilot_rungs()
    design = plan(rungs, LADDER, (64 * LADDER) ** 2, np.full(3, 0.02))
    assert min(design.counts) == FLOOR and max(design.counts) > 2000
    variance = np.stack([r.variance / m for r, m in zip(rungs, design.counts, strict=True)])
    se = np.sqrt((design.weight[0] ** 2 * variance).sum(axis=0)).max()
    # 3.2 to 3.6 standard errors a look reach the power over two looks
    assert 0.02 / 4.5 < se < 0.02 / 2.5
    tight = plan(rungs, LADDER, (64 * LADDER) ** 2, np.full(3, 0.01))
    assert sum(tight.counts) == pytest.approx(4 * sum(design.counts), rel=0.1)


def test_plan_obeys_samples_and_budget():
    rungs, cost = pilot_rungs(), (64 * LADDER) ** 2
    assert plan(rungs, LADDER, cost, np.full(3, 0.02), samples=[9, 8, 7, 6, 5]).counts == (
        9,
        8,
        7,
        6,
        5,
    )
    full = plan(rungs, LADDER, cost, np.full(3, 0.01))
    budget = 2 * (full.counts @ cost) / 3
    less = plan(rungs, LADDER, cost, np.full(3, 0.01), budget=budget)
    assert 0.95 * budget < 2 * (less.counts @ cost) <= budget and min(less.counts) >= FLOOR
    with pytest.raises(ValueError, match="max_cost"):
        plan(rungs, LADDER, cost, np.full(3, 0.01), budget=2 * FLOOR * cost.sum() - 1)


def ascent(sampler, rows=4, ceiling=4096, tolerance=0.01, theory=1.0):
    source = Source(sampler, np.full(rows, theory), np.full(rows, theory), lambda n: n**2)
    return climb(
        source,
        list(LADDER),
        32,
        ceiling=ceiling,
        tolerance=tolerance,
        keep=np.ones(rows, dtype=bool),
    ), source


@pytest.mark.parametrize(
    ("kappa", "b", "n1"), [(1.0, 0.0, 32), (3.5, 2.0, 64), (6.0, 0.0, 256), (1.0, 12.0, 256)]
)
def test_pilot_stops_at_the_smallest_width_that_will_do(kappa, b, n1):
    """kappa/sqrt(n1) <= 0.5 and |b|/n1 <= 0.05: 32; 49 -> 64; 144 -> 256; 240 -> 256. (b = 2
    needs 40.)"""
    assert ascent(networks(4, kappa=kappa, b=b))[0].n1 == n1


def test_pilot_noise_does_not_raise_the_width():
    """40 rows, slopes 0 with noise a third of the limit, sd 0.41: no seed of 200 climbed when
    this was written, none of 40 may."""
    assert [
        ascent(networks(40, kappa=2.3, b=0.0, rho=0.0, seed=s), rows=40)[0].n1 for s in range(40)
    ] == [32] * 40


def test_pilot_names_the_row_at_the_ceiling():
    b = np.array([0.0, 0.0, 30.0, 0.0])
    pilot, source = ascent(networks(4, kappa=1.0, b=b), ceiling=1024)
    assert (
        pilot.row == 2
        and pilot.n1 == 128
        and "1/n term" in pilot.reason
        and "ceiling 1024" in pilot.reason
    )
    assert max(d.width for d in source.log) == 1024
    assert len({d.stream for d in source.log}) == len(source.log)


def test_pilot_sees_a_row_that_single_networks_carry():
    def sampler(width, samples, stream):
        rng = np.random.default_rng([width, stream])
        return np.stack(
            [
                1 + 0.1 * rng.standard_normal(samples),
                np.exp(3 * rng.standard_normal(samples) - 4.5),
            ],
            axis=1,
        )

    pilot, _ = ascent(sampler, rows=2, ceiling=1024)
    assert pilot.row == 1 and ("deviation" in pilot.reason or "carries" in pilot.reason)


def test_pilot_judges_a_wrong_theory_by_its_own_size():
    """A theory 1000 times too small or too large is no reason to climb: the networks are as
    quiet as ever."""
    for theory in (1e-3, 1e3):
        assert ascent(networks(2, kappa=2.0, b=1.0), rows=2, theory=theory)[0].n1 == 32


def test_pilot_sizes():
    assert [pilot_samples(f, 0.01) for f in LADDER] == [1000, 1000, 500, 250, 125]
    assert [pilot_samples(f, 0.1) for f in LADDER] == [200, 200, 100, 100, 100]

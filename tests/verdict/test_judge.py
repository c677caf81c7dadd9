"""The verdict as a whole: calibration at synthetic scale, and everything it must not be fooled by.

Calibration: 200 seeded repetitions each, 6 correlated log-normal rows, kappa = 3.5, b = 2,
tolerance 6 % (sampling cost grows as 1/tolerance^2; at 1 %, 8 rows, run once by hand: true
confirmed 193, rejected 0; all rows off rejected 199, one row off 182, never confirmed; one row at
the tolerance confirmed 5, rejected 0, of 200 each). False alarms: a true theory is rejected in at
most 1 % of runs, so more than 8 of 200 has probability below 1e-3; it is confirmed in about 95 %,
so fewer than 175 has below 1e-4.
"""

from collections import Counter

import numpy as np
import pytest
from verdict_networks import networks

from sigprop.errors import Diverged
from sigprop.verdict import CONFIRMED, IDENTITY, INCONCLUSIVE, REJECTED, judge

ROWS, TOLERANCE, RUNS = 6, 0.06, 200
ONE = np.eye(ROWS)[2]


def verdicts(off, runs=RUNS, **network):
    found = [
        judge(
            networks(ROWS, off=off, seed=s, **network),
            np.ones(ROWS),
            np.ones(ROWS),
            tolerance=TOLERANCE,
        )
        for s in range(runs)
    ]
    return Counter(j.verdict for j in found), found


def test_a_true_theory_is_confirmed():
    count, found = verdicts(0.0)
    assert count[CONFIRMED] >= 175 and count[REJECTED] <= 8
    # the reported (repeated) 90 % intervals cover; 4 binomial sd with whole runs as the unit is
    # 0.085
    covered = np.mean([(j.lower <= 0) & (j.upper >= 0) for j in found])
    halved = np.mean([abs(j.deviation) <= (j.upper - j.lower) / 4 for j in found])
    assert covered >= 0.9 - 0.085
    assert halved < 0.9 - 0.085  # the companion: half as wide covers about 65 %
    assert abs(np.mean([j.slope for j in found]) - 2) < 4 * np.std(
        [j.slope.mean() for j in found]
    ) / np.sqrt(RUNS)
    claimed = np.mean([j.se**2 for j in found])
    assert 0.75 < np.mean([j.deviation**2 for j in found]) / claimed < 1.35


def test_a_theory_off_by_twice_the_tolerance_in_every_row_is_rejected():
    count, _ = verdicts(2 * TOLERANCE)
    assert count[CONFIRMED] == 0 and count[REJECTED] >= 180


def test_a_theory_off_by_twice_the_tolerance_in_one_row_is_rejected_naming_it():
    count, found = verdicts(2 * TOLERANCE * ONE)
    assert count[CONFIRMED] == 0 and count[REJECTED] >= 150
    assert all(j.row == 2 for j in found if j.verdict == REJECTED)


def test_a_row_exactly_at_the_tolerance_is_confirmed_in_at_most_five_percent():
    """At most 5 % + 4 binomial sd of 200 = 22; a rule with twice too narrow intervals would
    confirm about a third."""
    count, found = verdicts(TOLERANCE * ONE)
    assert count[CONFIRMED] <= 22 and count[REJECTED] <= 8
    narrow = sum(j.deviation[2] + (j.upper - j.lower)[2] / 4 <= TOLERANCE for j in found)
    assert narrow > 22


def test_curvature_does_not_confirm_a_wrong_theory():
    """c = 250 and no 1/n term in the row at the tolerance: 6 % at n1 = 64, passed by the pilot,
    pulling a straight line inwards.

    Bound: 5 % + 4 binomial sd of 100 = 13. The companion: the straight line, even granted the wider
    interval of the quadratic fit, would confirm more.
    """
    for sign in (1, -1):
        count, found = verdicts(sign * TOLERANCE * ONE, runs=100, c=sign * 250 * ONE, b=0.0)
        assert count[CONFIRMED] <= 13
        straight = [abs(j.linear[2]) + (j.upper - j.lower)[2] / 2 <= TOLERANCE for j in found]
        assert sum(straight) > 13


def test_both_verdicts_cannot_hold():
    for seed in range(10):
        j = judge(
            networks(3, off=[0.0, 0.06, 0.12], seed=seed), np.ones(3), np.ones(3), tolerance=0.06
        )
        assert (j.simultaneous_lower <= j.lower).all() and (j.upper <= j.simultaneous_upper).all()
        assert (j.lower < j.deviation).all() and (j.deviation < j.upper).all()
        np.testing.assert_allclose(j.measured, 1 + j.deviation)
        np.testing.assert_allclose(j.detectable, 0.06 + j.simultaneous_upper - j.deviation)


def test_same_streams_same_verdict_and_no_stream_twice():
    one, two = (judge(networks(2), np.ones(2), np.ones(2), tolerance=0.06) for _ in range(2))
    assert one.draws == two.draws and one.reason == two.reason
    np.testing.assert_array_equal(one.deviation, two.deviation)
    assert [d.stream for d in one.draws] == list(range(len(one.draws)))
    assert {d.phase for d in one.draws} >= {"pilot", "main"}
    assert one.cost == sum(d.samples * d.width**2 for d in one.draws)


@pytest.mark.parametrize("truth", [1e3, 1e-3, 1e12])
def test_a_theory_off_by_orders_of_magnitude_is_rejected_cheaply(truth):
    j = judge(networks(3, truth=truth, kappa=2.0), np.ones(3), np.ones(3), tolerance=0.01)
    assert j.verdict == REJECTED and j.widths[1] == 32
    np.testing.assert_allclose(j.measured, truth, rtol=0.1)


def test_heavy_tails_are_inconclusive_not_rejected():
    """Mean 1 exactly, but e^(6 z - 18): almost every network is near 0, so the sample mean is
    far below 1."""

    def sampler(width, samples, stream):
        return np.exp(6 * np.random.default_rng([width, stream]).standard_normal((samples, 1)) - 18)

    j = judge(sampler, np.ones(1), np.ones(1))
    assert j.verdict == INCONCLUSIVE and j.row == 0 and "ceiling 1024" in j.reason and j.looks == 0


def test_a_tail_the_pilot_missed_is_seen_in_the_main_run():
    """One network in 10,000 is 200 times the others, which the pilot's 1000 do not meet."""

    def sampler(width, samples, stream):
        rng = np.random.default_rng([3, width, stream])
        return (1 + 0.1 * rng.standard_normal((samples, 1))) * np.where(
            rng.random((samples, 1)) < 1e-4, 200.0, 1.0
        )

    j = judge(sampler, np.ones(1), np.ones(1), samples=3000)
    assert j.verdict == INCONCLUSIVE and ("variance" in j.reason or "carries" in j.reason)


def test_at_the_ceiling_the_row_is_named():
    j = judge(networks(4, b=[0, 0, 90, 0], kappa=1.0), np.ones(4), np.ones(4), ceiling=1024)
    assert j.verdict == INCONCLUSIVE and j.row == 2 and "1/n term" in j.reason
    assert set(j.rows) == {INCONCLUSIVE} and np.isfinite(j.deviation).all()


def test_lack_of_fit_doubles_the_width_once():
    """A term in n^-5 is seen at n1/2 = 16 and gone at 32. One that alternates from rung to rung
    stays: never confirmed while it shows."""

    def sampler(width, samples, stream):
        rng = np.random.default_rng([5, width, stream])
        return 1 + 0.002 * (32 / width) ** 5 + 0.05 * rng.standard_normal((samples, 2))

    j = judge(sampler, np.ones(2), np.ones(2), tolerance=0.05, samples=20000, start_width=32)
    assert [d.width for d in j.draws if d.phase == "main"] == [
        16,
        32,
        64,
        128,
        256,
        32,
        64,
        128,
        256,
        512,
    ]
    assert j.verdict == CONFIRMED and j.widths[1] == 64

    def uneven(width, samples, stream):
        noise = 0.05 * np.random.default_rng([5, width, stream]).standard_normal((samples, 2))
        return 1 + 0.005 * np.cos(np.pi * np.log2(width)) + noise

    j = judge(uneven, np.ones(2), np.ones(2), tolerance=0.05, samples=20000)
    assert (
        j.verdict == INCONCLUSIVE
        and "lack of fit" in j.reason
        and (j.misfit < 0.0005).all()
        and j.widths[1] == 64
    )


def test_identities_are_compared_to_rounding_and_to_nothing_else():
    def sampler(width, samples, stream, wrong=0.0):
        rest = networks(1)(width, samples, stream)
        return np.concatenate(
            [rest, 2 + wrong + 1e-6 * np.random.default_rng(stream).standard_normal((samples, 1))],
            axis=1,
        )

    given = {"tolerance": 0.06, "identities": np.array([False, True])}
    theory = np.array([1.0, 2.0])
    j = judge(sampler, theory, theory, **given)
    assert j.verdict == CONFIRMED and j.rows == (CONFIRMED, IDENTITY) and j.row == 0
    j = judge(lambda *a: sampler(*a, wrong=1e-3), theory, theory, **given)
    assert (
        j.verdict == REJECTED and j.row == 1 and "identity" in j.reason and j.rows[0] == CONFIRMED
    )
    j = judge(
        lambda n, m, s: sampler(n, m, s)[:, 1:], theory[1:], theory[1:], identities=np.array([True])
    )
    assert (
        j.verdict == INCONCLUSIVE
        and j.rows == (IDENTITY,)
        and j.cost == 200 * 32**2
        and "nothing could have failed" in j.reason
    )


def test_an_identity_on_average_forgives_single_networks_and_not_their_mean():
    """A row whose networks scatter by 1e-3: alike on average within 1e-4, or off by 3e-3."""

    def sampler(width, samples, stream, wrong=0.0):
        noise = 1e-3 * np.random.default_rng(stream).standard_normal((samples, 1))
        return np.concatenate([networks(1)(width, samples, stream), 2 + wrong + noise], axis=1)

    theory, last = np.array([1.0, 2.0]), np.array([False, True])
    given = {"tolerance": 0.06, "identities": last, "on_average": last}
    j = judge(sampler, theory, theory, **given)
    assert j.verdict == CONFIRMED and j.rows == (CONFIRMED, IDENTITY) and 0 < j.se[1] < 1e-4
    j = judge(lambda *a: sampler(*a, wrong=6e-3), theory, theory, **given)
    assert j.verdict == REJECTED and j.row == 1 and j.rows[0] == CONFIRMED
    assert judge(sampler, theory, theory, **given | {"on_average": None}).verdict == REJECTED


def test_a_row_without_noise_is_decided():
    j = judge(
        lambda n, m, s: np.full((m, 2), [1.0, 3.0]),
        np.array([1.0, 3.1]),
        np.array([1.0, 3.1]),
        tolerance=0.02,
    )
    assert j.verdict == REJECTED and j.row == 1 and j.rows[0] == CONFIRMED


def test_the_theorys_own_error_widens():
    clean, doubtful = (
        judge(networks(2), np.ones(2), np.ones(2), e, tolerance=0.06, samples=2000)
        for e in (0.0, 0.02)
    )
    np.testing.assert_allclose(
        doubtful.upper - doubtful.lower, clean.upper - clean.lower + 0.04, atol=1e-12
    )
    hopeless = judge(networks(2), np.ones(2), np.ones(2), 0.07, tolerance=0.06)
    assert (
        hopeless.verdict == INCONCLUSIVE
        and "own error" in hopeless.reason
        and hopeless.needed is None
    )


def test_the_samples_said_to_be_needed_decide():
    j = judge(networks(1), np.ones(1), np.ones(1), tolerance=0.04, samples=60)
    assert (
        j.verdict == INCONCLUSIVE
        and j.needed is not None
        and j.samples == (120,) * 5
        and j.looks == 2
    )
    again = judge(
        networks(1, seed=1),
        np.ones(1),
        np.ones(1),
        tolerance=0.04,
        samples=[4 * m for m in j.needed],
    )
    assert again.verdict == CONFIRMED


def test_budget():
    small = judge(networks(2), np.ones(2), np.ones(2), max_cost=1e6)
    assert small.verdict == INCONCLUSIVE and "max_cost" in small.reason
    limited = judge(networks(2), np.ones(2), np.ones(2), max_cost=4e8)
    assert limited.cost <= 4e8 and limited.looks == 2 and limited.needed is not None


def test_divergence_is_a_reason():
    def sampler(width, samples, stream):
        if width > 100:
            raise Diverged(7)
        return networks(1)(width, samples, stream)

    j = judge(sampler, np.ones(1), np.ones(1))
    assert j.verdict == INCONCLUSIVE and j.reason == "diverged at application 7"
    j = judge(lambda n, m, s: np.full((m, 1), np.nan), np.ones(1), np.ones(1))
    assert j.verdict == INCONCLUSIVE and j.reason == "diverged" and np.isnan(j.deviation).all()


def test_cosines_near_zero_are_judged_on_their_scale_of_one():
    def sampler(width, samples, stream):
        return np.random.default_rng([width, stream]).standard_normal((samples, 3)) / np.sqrt(width)

    assert judge(sampler, np.zeros(3), np.ones(3), tolerance=0.03).verdict == CONFIRMED
    assert judge(sampler, np.full(3, 0.08), np.ones(3), tolerance=0.03).verdict == REJECTED


@pytest.mark.parametrize("half", [True, False])
def test_the_matrix_free_ladder(half):
    j = judge(
        networks(2),
        np.ones(2),
        np.ones(2),
        tolerance=0.1,
        widths=(1, 4, 16),
        half_rung=half,
        cost=float,
        ceiling=10**5,
    )
    assert j.verdict == CONFIRMED and len(j.widths) == 3 + half


def test_progress_is_told():
    told = []
    judge(networks(1), np.ones(1), np.ones(1), tolerance=0.1, progress=lambda *a: told.append(a))
    assert told[0] == ("pilot width 32", 200, 200)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tolerance": 0.0}, "tolerance=0.0"),
        ({"start_width": 33}, "start_width=33"),
        ({"start_width": 256}, "ceiling=1024"),
        ({"widths": (1, 8), "half_rung": False}, "3 rungs"),
        ({"scale": np.zeros(2)}, "scale > 0"),
        ({"error": -1.0}, "error"),
        ({"samples": [100, 100]}, "samples="),
        ({"theory": np.ones(3)}, "shapes"),
    ],
)
def test_bad_arguments_are_named(change, message):
    given = {"theory": np.ones(2), "scale": np.ones(2), "error": 0.0} | change
    with pytest.raises(ValueError, match=message):
        judge(networks(2), given.pop("theory"), given.pop("scale"), given.pop("error"), **given)

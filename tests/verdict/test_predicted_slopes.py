"""A slope that theory has: judged beside the fitted one, and fixed in the fit of a."""

from __future__ import annotations

import numpy as np
import pytest
from verdict_networks import networks

from sigprop.verdict import CONFIRMED, INCONCLUSIVE, REJECTED, Predicted, judge
from sigprop.verdict.fit import Known, fit, fit_known, powers, share, weights
from sigprop.verdict.moments import Moments

ROWS, TOLERANCE, RUNS, SLOPE = 6, 0.06, 100, 2.0
LADDER = np.array([0.5, 1, 2, 4, 8])
X = 1 / LADDER
COUNTS = np.array([1200, 1900, 200, 510, 200])
ONES = np.ones(ROWS)


def said(slope=SLOPE, error=0.0, use=True):
    return Predicted(slope * ONES, error * ONES, use)


def judged(seed, predicted, **network):
    return judge(
        networks(ROWS, seed=seed, **network), ONES, ONES, tolerance=TOLERANCE, predicted=predicted
    )


def exact(mean, variance, count):
    """Moments of ``count`` networks with these exact means and variances."""
    return Moments(
        count, mean, np.diag(variance) * (count - 1), mean, mean, np.ones(2), np.full(2, count)
    )


def test_the_fit_with_a_known_slope_is_least_squares_of_the_rest():
    """a of 1 and x^2 fitted to mean - b x, weighted by the same variances, and its error."""
    rng = np.random.default_rng(0)
    variance = rng.uniform(0.1, 1, (5, 2)) * X[:, None]
    mean, b = rng.standard_normal((5, 2)), np.array([0.7, -1.2])
    error = variance / COUNTS[:, None]
    rungs = [exact(m, v, n) for m, v, n in zip(mean, variance, COUNTS, strict=True)]
    known = Known(b, np.zeros(2), np.array([True, False]))
    found = fit_known(rungs, weights(X, error, 2), share(X, error, 2), known)
    basis = powers(X, 2)[:, [0, 2]] / np.sqrt(error[:, :1])
    rest = (mean[:, 0] - b[0] * X) / np.sqrt(error[:, 0])
    assert found.intercept[0] == pytest.approx(np.linalg.lstsq(basis, rest)[0][0])
    assert found.se[0] == pytest.approx(np.sqrt(np.linalg.inv(basis.T @ basis)[0, 0]))
    free = fit(rungs, weights(X, error, 2))
    assert found.intercept[1] == free.intercept[1] and found.se[1] == free.se[1]
    assert found.se[0] < free.se[0]
    np.testing.assert_array_equal(found.coefficients[1:], free.coefficients[1:])


def deviations(predicted, runs=RUNS):
    """[runs] mean a over rows whose slope is used, those rows' mean square and claimed variance."""
    found = [judged(seed, predicted) for seed in range(runs)]
    used = [np.array([v == CONFIRMED for v in j.slopes]) for j in found]
    return np.array(
        [
            (j.deviation[u].mean(), (j.deviation[u] ** 2).mean(), (j.se[u] ** 2).mean())
            for j, u in zip(found, used, strict=True)
            if u.any()
        ]
    )


def off(a):
    """Of runs' means, the overall mean in standard errors."""
    return abs(a.mean()) / (a.std(ddof=1) / np.sqrt(len(a)))


def test_it_is_unbiased_and_has_the_smaller_error():
    """The mean of a is within four standard errors of 0 (false alarm 1e-4), its mean square is what
    is claimed (tolerance as in test_judge), and half of the free fit's at most. The companion: with
    a slope that is 4 off and yet within its margin it is not."""
    known, free = deviations(said()), deviations(said(use=False))
    assert len(known) > RUNS // 2
    assert off(known[:, 0]) < 4
    assert 0.75 < known[:, 1].mean() / known[:, 2].mean() < 1.35
    assert known[:, 1].mean() < 0.5 * free[:, 2].mean()
    assert off(deviations(said(SLOPE + 4))[:, 0]) > 4


def test_a_right_slope_is_not_rejected_and_a_wrong_one_is():
    """A right one in at most 1 % of runs: more than 5 of 100 have probability below 1e-3. One that
    is four margins off is rejected, and with it everything, and named."""
    right = [judged(seed, said(use=False)) for seed in range(RUNS)]
    assert sum(REJECTED in j.slopes for j in right) <= 5
    assert sum(j.slopes.count(CONFIRMED) for j in right) > RUNS * ROWS / 2
    wrong = [
        judged(seed, said(SLOPE + 4 * right[seed].slope_margin, use=False)) for seed in range(20)
    ]
    assert all(j.verdict == REJECTED and REJECTED in j.slopes for j in wrong)
    assert all("slope b = " in j.reason and j.slopes[j.row] == REJECTED for j in wrong)
    assert all(CONFIRMED not in j.slopes for j in wrong)


def test_a_wrong_theory_is_rejected_though_its_slope_is_right():
    """Twice the tolerance off in every row, as without the slope; and at the tolerance in one row
    it is confirmed in at most 5 % of runs (+ 4 binomial sd of 100: 13)."""
    twice = [judged(seed, said(), off=2 * TOLERANCE) for seed in range(RUNS)]
    assert sum(j.verdict == REJECTED for j in twice) >= 0.9 * RUNS
    assert not any(j.verdict == CONFIRMED for j in twice)
    assert sum(j.slopes.count(CONFIRMED) for j in twice) > RUNS  # used
    edge = [judged(seed, said(), off=TOLERANCE * np.eye(ROWS)[2]) for seed in range(RUNS)]
    assert sum(j.verdict == CONFIRMED for j in edge) <= 13


def test_what_a_slope_may_be_off_by_widens_the_interval_and_is_no_ground_to_reject():
    """By |lever| times it, in rows that use it; an error of three margins rejects nothing."""
    sure, unsure = judged(0, said()), judged(0, said(error=0.5))
    both = [a == b == CONFIRMED for a, b in zip(sure.slopes, unsure.slopes, strict=True)]
    assert any(both) and sure.draws == unsure.draws
    wider = ((unsure.upper - unsure.lower) - (sure.upper - sure.lower))[both] / 2
    lever = TOLERANCE / 2 / sure.slope_margin[both]  # the margin moves a by half the tolerance
    np.testing.assert_allclose(wider, lever * 0.5, rtol=1e-9)
    margin = float(sure.slope_margin.mean())
    lost = judged(0, said(SLOPE + 3 * margin, 3 * margin))
    assert set(lost.slopes) == {INCONCLUSIVE} and np.isinf(lost.slope_times).all()


def test_a_row_without_a_slope_is_what_it_was():
    alone = judged(0, None)
    some = judged(0, Predicted(np.where(np.arange(ROWS) < 3, SLOPE, np.nan), np.zeros(ROWS), True))
    assert alone.slopes == ("",) * ROWS and some.slopes[3:] == ("",) * 3
    assert set(some.slopes[:3]) <= {CONFIRMED, INCONCLUSIVE}
    np.testing.assert_array_equal(some.deviation[3:], alone.deviation[3:])
    np.testing.assert_array_equal(some.slope, alone.slope)
    assert np.isnan(some.slope_margin[3:]).all() and np.isfinite(some.slope_margin[:3]).all()


def test_slopes_of_other_rows_are_refused():
    with pytest.raises(ValueError, match="accepted: one row or more each"):
        judge(networks(2), np.ones(2), np.ones(2), predicted=Predicted(np.ones(3), np.ones(3)))


def drawn(scatter):
    """Networks of the pilot, and the verdict; scatter: n Var that is said of every row."""
    found = judge(
        networks(ROWS, seed=3),
        ONES,
        ONES,
        tolerance=0.01,
        samples=[400] * 5,
        predicted=Predicted(SLOPE * ONES, 0 * ONES, False, scatter),
    )
    return sum(d.samples for d in found.draws if d.phase == "pilot"), found


def test_a_predicted_scatter_takes_the_pilots_place():
    """kappa^2 = 12.25 is n Var of the networks: said, a few check it; two rows unsaid, or said to
    be what it is not, a whole pilot runs."""
    measured, plain = drawn(None)
    told, found = drawn(12.25 * ONES)
    assert measured == 1000 + 1000 + 500 + 250 + 125
    assert told == 200 + 200 + 100 + 100 + 100
    assert found.samples == plain.samples
    some = np.where(np.arange(ROWS) < 2, np.nan, 12.25)
    for wrong in (some, 4.5 * 12.25 * ONES, 12.25 / 4.5 * ONES):
        assert drawn(wrong)[0] == measured
    # of another prediction within the factor, weights are the prediction's: as unbiased, not best
    wide = np.where(np.arange(ROWS) < 3, 12.25, 1.3 * 12.25)
    assert drawn(wide)[0] == told


def test_predicted_variances_keep_correlations():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((50, 3)) @ rng.standard_normal((3, 3)) + 5
    own = Moments.of(rows, np.abs(rows))
    found = own.with_variance(np.array([1.0, 4.0, 0.25]))
    np.testing.assert_allclose(found.variance, [1.0, 4.0, 0.25])
    np.testing.assert_allclose(np.corrcoef(rows.T)[0, 1] * 2.0, found.covariance[0, 1])
    np.testing.assert_array_equal(found.mean, own.mean)

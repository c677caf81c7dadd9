"""The distribution of a learned modulator, and the thresholds that skip a given share of tokens."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from sigprop.description.modulators import Modulator, thresholds

DRAWS = 400_000


@pytest.mark.parametrize(
    ("directions", "beta"), [(1, 1.0), (1, 2.0), (3, 1.0), (32, 1.0), (32, 0.5)]
)
def test_shares_are_those_of_draws(directions: int, beta: float):
    """Five standard errors of a share: false-alarm rate 3e-6 with these points."""
    m = (
        np.mean(
            expit(np.random.default_rng(0).standard_normal((DRAWS, directions), dtype=np.float32)),
            axis=1,
        )
        ** beta
    )
    known = Modulator(directions, beta)
    for share in (0.01, 0.25, 0.5, 0.9):
        at = known.quantile(share)
        assert known.below(at) == pytest.approx(share, abs=1e-9)
        assert abs(np.mean(m < at) - share) < 5 * np.sqrt(share * (1 - share) / DRAWS)


def test_mean_and_spread_at_thirty_two_directions():
    """0.500 +- 0.0368, so 20 % are below 0.469 and 25 % below 0.475 (the papers' page)."""
    known = Modulator(32, 1.0)
    assert known.quantile(0.5) == pytest.approx(0.5, abs=1e-6)
    assert (known.quantile(0.8413) - known.quantile(0.1587)) / 2 == pytest.approx(0.0368, abs=1e-4)
    assert [known.quantile(rate) for rate in (0.2, 0.25)] == pytest.approx([0.469, 0.475], abs=5e-4)


@pytest.mark.parametrize("directions", [1, 32])
@pytest.mark.parametrize("rate", [0.05, 0.25, 0.9])
def test_one_threshold_for_all_gains_skips_the_share_on_average(rate: float, directions: int):
    alpha = np.arange(1, 33) ** -0.5
    known, least = (
        Modulator(directions, 1.0),
        thresholds(alpha, rate, "gain", "global", directions, 1.0),
    )
    assert np.mean(known.below(least)) == pytest.approx(rate, abs=1e-9)
    assert least * alpha == pytest.approx(np.full(32, least[0]), rel=1e-9)
    # small gains, deep down, are skipped first
    assert (np.diff(known.below(least)) >= -1e-12).all()


@pytest.mark.parametrize(
    ("by", "threshold"), [("gain", "layer"), ("modulator", "layer"), ("modulator", "global")]
)
def test_every_application_skips_the_share(by: str, threshold: str):
    alpha = np.arange(1, 9) ** -0.5
    assert Modulator(4, 1.0).below(thresholds(alpha, 0.3, by, threshold, 4, 1.0)) == pytest.approx(
        np.full(8, 0.3), abs=1e-9
    )

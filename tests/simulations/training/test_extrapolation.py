"""Limits at infinite width of numbers that are known at a few."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sigprop.errors import InputError
from sigprop.simulations.training.extrapolation import extrapolated
from sigprop.simulations.training.response import Estimate, Response


def response(width: int, value: np.ndarray, se: np.ndarray) -> Response:
    """One setting, one weight, as many tokens as numbers."""
    estimates = [
        Estimate(value.reshape(shape), se.reshape(shape)) for shape in ((1, -1), (1, 1, -1))
    ]
    output, other = estimates
    return Response(("all",), ("w",), output, other, other, other, width, 10, 3)


@pytest.mark.parametrize(("widths", "powers"), [((64, 128, 256), 2), ((32, 64, 128, 256), 3)])
def test_what_is_of_that_form_is_found_and_its_error_covers(widths: tuple[int, ...], powers: int):
    """Without noise: a to rounding. With noise of known size, 4000 tries: the scatter of a is its
    standard error (within 5 %, four errors of a standard deviation)."""
    rng, tries = np.random.default_rng(0), 4000
    constants = np.array([1.5, -20.0, 300.0])[:powers]
    errors = {n: 0.1 * (n / 64) ** 0.3 for n in widths}
    exact = {n: sum(c / n**k for k, c in enumerate(constants)) for n in widths}
    clean = extrapolated([response(n, np.array([exact[n]]), np.array([errors[n]])) for n in widths])
    assert clean.output.value[0, 0] == pytest.approx(1.5, abs=1e-10)
    noisy = extrapolated(
        [
            response(n, exact[n] + errors[n] * rng.normal(size=tries), np.full(tries, errors[n]))
            for n in widths
        ]
    )
    assert noisy.width == math.inf and noisy.samples == 10 * len(widths)
    np.testing.assert_allclose(noisy.state.se[0, 0], clean.output.se[0, 0])
    scatter = (noisy.state.value[0, 0] - 1.5).std()
    assert scatter == pytest.approx(clean.output.se[0, 0], rel=0.05)
    # the companion: without 1/n it would be far off
    assert abs(np.mean(list(exact.values())) - 1.5) > 0.05


def test_zeros_stay_zero_constants_constant_and_what_is_not_there_absent():
    given = np.array([0.0, 1.0, np.nan])
    limit = extrapolated([response(n, given, 0 * given) for n in (64, 128)])
    np.testing.assert_allclose(limit.output.value[0], given, atol=1e-12)
    assert limit.output.se[0, 0] == 0 and limit.output.se[0, 1] < 1e-6
    assert np.isnan(limit.output.se[0, 2])


def test_one_width_or_two_descriptions_are_refused():
    one = response(64, np.ones(2), np.ones(2))
    for given in ([one], [one, one], [one, response(128, np.ones(3), np.ones(3))]):
        with pytest.raises(InputError, match="two or more different widths of one description"):
            extrapolated(given)

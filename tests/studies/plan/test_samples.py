"""Random and Sobol samples: inside their boxes, the first of many, equal each time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigprop.errors import InputError
from sigprop.studies.plan.samples import points

BOX = {
    "depth": {"low": 4, "high": 64, "scale": "log", "integer": True},
    "c_w": {"low": 0.5, "high": 2.0},
    "activation": {"values": ["relu", "tanh"]},
}


@pytest.mark.parametrize("section", ["random", "sobol"])
def test_points_lie_in_their_box_and_are_those_of_more(section: str):
    many = points(section, {"points": 100, "seed": 3, **BOX})
    assert many[:37] == points(section, {"points": 37, "seed": 3, **BOX})
    assert many != points(section, {"points": 100, "seed": 4, **BOX})
    assert all(4 <= p["depth"] <= 64 and isinstance(p["depth"], int) for p in many)
    assert all(0.5 <= p["c_w"] < 2 for p in many)
    assert {p["activation"] for p in many} == {"relu", "tanh"}


def test_a_sobol_sample_is_even_where_a_random_one_is_not():
    """Of 2^k points each of 16 cells of one axis holds as many."""
    found = [p["x"] for p in points("sobol", {"points": 64, "x": {"low": 0, "high": 1}})]
    assert np.histogram(found, 16, (0, 1))[0].tolist() == [4] * 16
    found = [p["x"] for p in points("random", {"points": 64, "x": {"low": 0, "high": 1}})]
    assert np.histogram(found, 16, (0, 1))[0].tolist() != [4] * 16


def test_a_logarithmic_axis_is_even_in_its_logarithm():
    axis = {"low": 1.0, "high": 10.0**4, "scale": "log"}
    found = [math.log10(p["x"]) for p in points("sobol", {"points": 64, "x": axis})]
    assert np.histogram(found, 8, (0, 4))[0].tolist() == [8] * 8


@settings(max_examples=40, deadline=None)
@given(st.integers(-5, 5), st.integers(1, 9), st.integers(0, 100))
def test_whole_numbers_have_both_ends(low: int, span: int, seed: int):
    axis = {"low": low, "high": low + span, "integer": True}
    found = {p["x"] for p in points("sobol", {"points": 256, "seed": seed, "x": axis})}
    assert found == set(range(low, low + span + 1))


@pytest.mark.parametrize(
    ("match", "given"),
    [
        ("points=None", {"x": {"low": 0, "high": 1}}),
        ("points=0", {"points": 0, "x": {"low": 0, "high": 1}}),
        ("points=True", {"points": True, "x": {"low": 0, "high": 1}}),
        ("seed=-1", {"points": 2, "seed": -1, "x": {"low": 0, "high": 1}}),
        ("no parameter", {"points": 2}),
        ("x=3", {"points": 2, "x": 3}),
        ("'hi'", {"points": 2, "x": {"low": 0, "hi": 1}}),
        ("low=None", {"points": 2, "x": {"high": 1}}),
        ("low=2, high=1", {"points": 2, "x": {"low": 2, "high": 1}}),
        ("high=inf", {"points": 2, "x": {"low": 2, "high": math.inf}}),
        ("log scale", {"points": 2, "x": {"low": 0, "high": 1, "scale": "log"}}),
        ("scale='lin'", {"points": 2, "x": {"low": 0, "high": 1, "scale": "lin"}}),
        ("whole number", {"points": 2, "x": {"low": 0.5, "high": 2, "integer": True}}),
        ("values=", {"points": 2, "x": {"values": []}}),
        ("values=", {"points": 2, "x": {"values": [1], "low": 0}}),
    ],
)
def test_what_is_refused(match: str, given: dict[str, Any]):
    with pytest.raises(InputError, match=match):
        points("sobol", given)

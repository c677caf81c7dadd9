"""The width at which networks are within a tolerance: what it is made of, finite networks at it,
bad input."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

import sigprop as sp
from sigprop.errors import InputError

A = sp.architectures


def test_widths_are_those_of_the_coefficients():
    """Every row's widths bring its predicted shift, and 1.96 sd, to the tolerance and no further;
    those of the notes are the largest."""
    arch = A.looped_mlp(loops=3)
    asked = ["residual_variance", "state_cosine", "write_variance"]
    table = sp.wide_enough(arch, 0.05, asked)
    predicted = sp.fluctuations(arch, asked)
    for row, other in zip(table, predicted, strict=True):
        shift = abs(other["n_shift"]) + other["n_shift_error"]
        variance = other["n_variance"] + other["n_variance_error"]
        allowed = 0.05 * other["scale"]
        n, m = row["width_of_mean"], row["width_of_one"]
        assert shift / max(n, 1) <= allowed * (1 + 1e-12)
        assert n <= 1 or shift / (n - 1) > allowed
        assert 1.96 * math.sqrt(variance / m) <= allowed * (1 + 1e-12)
        assert 1.96 * math.sqrt(variance / (m - 1)) > allowed
    assert table.notes["width_of_one"] == max(row["width_of_one"] for row in table)


def test_widths_are_multiples_of_the_heads():
    table = sp.wide_enough(A.transformer(depth=1, head_dim=16), 0.1, ["residual_variance"], [2])
    assert table.notes["width_of_mean"] % 16 == table.notes["width_of_one"] % 16 == 0


def _numbers(line: str) -> list[float]:
    return [float(x) for x in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", line)]


def test_networks_of_that_width():
    """Mean and sd of 400 networks are within 4.5 standard errors and a tenth of what is predicted
    of the row that decides; half the predicted scatter is not."""

    def far(line: str) -> float:
        _, _, off, se, shift, sd, sd_error, predicted = _numbers(line)
        return max(
            abs(off - shift) / (4.5 * se + abs(shift) / 10),
            abs(sd - predicted) / (4.5 * sd_error + predicted / 10),
        )

    arch = A.looped_mlp(loops=4)
    table = sp.wide_enough(arch, 0.1, ["residual_variance"], [4], check=400)
    checked = table.notes["remarks"][3]
    assert far(checked) < 1
    # the companion
    *before, predicted = checked.split("predicted ")
    half = f"{float(predicted.rstrip(')')) / 2})"
    assert far("predicted ".join([*before, half])) > 1


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"tolerance": 0}, "tolerance=0"),
        ({"tolerance": 1.5}, "tolerance=1.5"),
        ({"check": 3}, "check=3"),
        ({"quantities": ["participation"]}, "no form here"),
    ],
)
def test_bad_input(given: dict[str, Any], text: str):
    with pytest.raises(InputError, match=text):
        sp.wide_enough(A.mlp(), **given)

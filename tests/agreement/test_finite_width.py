"""The verdict's ladder resolves the 1/n term: it is there where a norm makes it, the same on two
ladders, and absent where means are exact."""

from __future__ import annotations

from typing import Any

import pytest

import sigprop as sp

STACKS: dict[str, tuple[Any, dict[str, Any]]] = {
    "untied": (sp.architectures.residual_mlp, {"depth": 4, "matrices": 1}),
    "tied": (sp.architectures.looped_mlp, {"depth": 1, "loops": 4, "matrices": 1}),
}
OBSERVED = ["residual_variance", "weight_gradient", "state_cosine"]
SAMPLES = 100_000


def slopes(stack: str, norm: str, width: int, quantities: list[str]) -> list[tuple[float, float]]:
    """(b, its standard error) of every row that is no identity."""
    build, parameters = STACKS[stack]
    table = sp.verify(
        build(**parameters, norm=norm), width=width, samples=SAMPLES, quantities=quantities
    )
    assert table.verdict == "confirmed"
    return [(row["slope"], row["slope_se"]) for row in table if row["slope_se"] > 0]


@pytest.mark.long
@pytest.mark.parametrize("stack", STACKS)
def test_the_slope_is_resolved_and_the_same_on_two_ladders(stack: str):
    """Five standard errors on one row at least; between n1 = 32 and n1 = 64 no row differs by
    four (some 20 rows: one run in a thousand)."""
    one, other = (slopes(stack, "pre", width, OBSERVED) for width in (32, 64))
    assert max(abs(b) / se for b, se in one) > 5
    for (b, se), (b_other, se_other) in zip(one, other, strict=True):
        assert abs(b - b_other) < 4 * (se**2 + se_other**2) ** 0.5


@pytest.mark.long
def test_no_slope_where_means_are_exact():
    """The companion: without a norm E abs(h)^2 obeys its recursion at every width (relu of a
    Gaussian matrix), so no row's b reaches four."""
    assert max(abs(b) / se for b, se in slopes("untied", "none", 32, ["residual_variance"])) < 4

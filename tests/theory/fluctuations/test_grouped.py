"""Units of attention whose queries share keys: a head of keys and all that ask it.

Of one token a head of queries returns its value whatever it asks, so that the G that share it are
copies: with a read of second moment 1, what the output matrix is given scatters as 2 G q^2, and the
write as 2 (1 + G) q^2, q its second moment (derived).
"""

from __future__ import annotations

from typing import Any

import pytest
from long_cases import apart

import sigprop as sp
from sigprop.agreement.finite_width.scatter import against_networks

FAR = 4.0
BACK = ("gradient_variance", "weight_gradient")
NETWORKS = {64: 2000, 128: 4000, 256: 4000}


def attention(keys: int, **given: Any) -> sp.Architecture:
    """A block of attention of 8 heads of queries and fewer of keys."""
    return sp.architectures.transformer(
        block="attention", heads=8, head_dim=4, kv_heads=keys, c_v=1.3, **given
    )


@pytest.mark.parametrize("keys", [8, 2, 1])
def test_copies_of_one_value_scatter_together(keys: int):
    (row,) = sp.fluctuations(attention(keys, tokens=1, depth=1), ["write_variance"], units=1024)
    assert row["value"] == pytest.approx(1.3)
    assert row["n_variance_error"] < 0.15 * row["n_variance"]
    assert abs(row["n_variance"] - 2 * (1 + 8 / keys) * 1.3**2) <= row["n_variance_error"]


@pytest.mark.parametrize("names", apart([("write_variance",), BACK], [BACK]))
def test_scatter_alone_is_the_same(names: tuple[str, ...]):
    """By derivatives, forward and back."""
    arch = attention(2, tokens=1, depth=1)
    for one, other in zip(
        sp.fluctuations(arch, names, units=256),
        sp.fluctuations(arch, names, units=256, shift=False),
        strict=True,
    ):
        error = one["n_variance_error"] + other["n_variance_error"]
        assert abs(one["n_variance"] - other["n_variance"]) <= error


@pytest.mark.long
@pytest.mark.parametrize(
    "quantities",
    [
        ["write_variance", "residual_variance", "token_cosine"],
        ["gradient_variance", "gradient_covariance", "weight_gradient"],
    ],
)
def test_as_finite_networks_have_it(quantities: list[str]):
    """The largest of at most 40 deviations over its standard error: 99.7 %."""
    arch = attention(2, tokens=2, depth=2)
    rows = against_networks(arch, NETWORKS, quantities=quantities, units=1024)
    deviations = [row[name] for row in rows for name in ("variance_z", "shift_z")]
    assert max(abs(z) for z in deviations if z is not None) < FAR


@pytest.mark.long
def test_heads_of_their_own_are_told_from_them():
    """Companion: what heads with keys of their own have, said of those that share."""
    arch, said = (attention(keys, tokens=2, depth=2) for keys in (2, 8))
    rows = against_networks(arch, NETWORKS, quantities=["write_variance"], said=said, units=1024)
    assert max(abs(row["variance_z"]) for row in rows) > FAR


@pytest.mark.parametrize("scale", ["zero_query", "linear"])
def test_scores_that_are_alike_have_no_form(scale: str):
    """Copies of one value are no heads of their own there."""
    given = {"c_q": 0.0} if scale == "zero_query" else {}
    with pytest.raises(sp.InputError, match="grouped queries whose scores vanish or are alike"):
        sp.fluctuations(attention(2, tokens=2, depth=1, score_scale=scale, **given), units=64)

"""Attention's approximations by name: their closed forms, where they become exact, and where
they say nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest

import sigprop as sp
from sigprop.errors import InputError

NAMES = ("annealed", "near-uniform", "random-energy", "random-energy-limit")
T, RHO = 8, 0.3


def layer(**given: Any) -> sp.Architecture:
    """Attention alone: its output's Gram is the state's at application 1 (up to the skip,
    1e-18)."""
    base = {
        "block": "attention",
        "tokens": T,
        "token_cosine": RHO,
        "head_dim": "inf",
        "norm": "none",
        "skip_scale": 1e-9,
    }
    return sp.architectures.transformer(**base | given)


def found(
    name: str, arch: sp.Architecture | None = None, **given: Any
) -> dict[Any, dict[str, Any]]:
    """{'q', 'p', 'y'}: rows of a token's variance, of a pair, and of the participation."""
    table = sp.predict(
        arch or layer(**given),
        ["residual_variance", "token_covariance", "participation"],
        [0, 1],
        approximation=name,
    )

    def pick(quantity, a):
        return next(row for row in table if row["quantity"] == quantity and row["application"] == a)

    return {
        "q": pick("residual_variance", 1),
        "p": pick("token_covariance", 1),
        "y": pick("participation", 0),
    }


@pytest.mark.parametrize("score", [0.5, 3.0])
def test_annealed_is_cowsiks_ratio(score: float):
    """2403.02579 at q = 1, p = rho: (e^(s(1-rho)) + (T-1) rho)/(e^(s(1-rho)) + T - 1), and with
    s rho in the exponent for pairs."""
    rows = found("annealed", c_q=score)
    for key, exponent in (("q", score * (1 - RHO)), ("p", score * RHO * (1 - RHO))):
        e = math.exp(exponent)
        assert rows[key]["value"] == pytest.approx((e + (T - 1) * RHO) / (e + T - 1), rel=1e-12)


def test_near_uniform_is_kedias_leading_form():
    """2403.09635 for many inputs: rho + e^((1-rho)s)(1-rho)/T, and rho + (1-rho)/T between
    tokens."""
    rows = found("near-uniform", c_q=2.0)
    assert rows["q"]["value"] == pytest.approx(
        RHO + math.exp((1 - RHO) * 2) * (1 - RHO) / T, rel=1e-12
    )
    assert rows["p"]["value"] == pytest.approx(RHO + (1 - RHO) / T, rel=1e-12)


@pytest.mark.parametrize("score", [0.5, 9.0])
def test_random_energies_are_exact_for_one_row_of_exchangeable_tokens(score: float):
    rows = found("random-energy", c_q=score)
    for key in ("q", "y"):
        assert rows[key]["value"] == pytest.approx(
            rows[key]["reference"], abs=3 * rows[key]["error"]
        )
    assert abs(rows["p"]["deviation"]) > 1e-3  # rows are correlated, which it leaves out


def test_the_limit_of_many_tokens():
    """Y = 0 above the freezing temperature and 1 - beta_c/beta below; v = s (1 - rho), v_c = 2
    log T; pairs keep rho."""
    frozen = 2 * math.log(T)
    cold, warm = (
        found("random-energy-limit", c_q=factor * frozen / (1 - RHO)) for factor in (4.0, 0.9)
    )
    assert cold["y"]["value"] == pytest.approx(0.5, rel=1e-9) and warm["y"]["value"] == 0
    assert cold["q"]["value"] == pytest.approx(RHO + (1 - RHO) / 2, rel=1e-9) and cold["p"][
        "value"
    ] == pytest.approx(RHO, rel=1e-9)


@pytest.mark.parametrize("name", NAMES[:3])
def test_all_but_the_limit_are_exact_at_vanishing_scores(name: str):
    """Deviations vanish with the score variance s, at least linearly: 1e-4 leaves at most a few
    1e-4 (the limit stays off)."""
    rows = found(name, c_q=1e-4, mask="causal")
    assert all(abs(rows[key]["deviation"]) < 5e-4 for key in rows)
    assert any(
        abs(row["deviation"]) > 0.05 for row in found("random-energy-limit", c_q=1e-4).values()
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_row_has_its_deviation_from_the_reference(name: str):
    names = ["residual_variance", "token_covariance"]
    table, plain = (
        sp.predict(layer(c_q=4.0), names, approximation=name),
        sp.predict(layer(c_q=4.0), names),
    )
    for row, reference in zip(table, plain, strict=True):
        assert row["approximation"] == name and row["reference"] == reference["value"]
        assert row["deviation"] == pytest.approx(
            (row["value"] - row["reference"]) / reference["scale"], rel=1e-12
        )
    assert max(abs(row["deviation"]) for row in table) > 0.02


def test_annealed_between_the_applications_of_a_tied_block():
    """At vanishing scores exact there too; two applications of one weight at one Gram share
    their scores."""
    loop = sp.architectures.looped_transformer(
        block="attention", loops=2, head_dim="inf", c_q=1e-3, norm_kind="rms", tokens=3
    )
    assert all(
        abs(row["deviation"]) < 2e-3
        for row in sp.predict(loop, ["residual_variance", "write_cosine"], approximation="annealed")
    )
    with pytest.raises(InputError, match="one application at a time"):
        sp.predict(loop, ["residual_variance"], approximation="random-energy")


@pytest.mark.parametrize(
    ("given", "quantity", "name", "says"),
    [
        ({}, "residual_variance", "anealed", "did you mean 'annealed'"),
        ({}, "gradient_variance", "annealed", "accepted: residual_variance"),
        ({"softcap": 1.0}, "residual_variance", "annealed", "no cap"),
        ({"qk_norm": True}, "residual_variance", "annealed", "or qk_norm"),
        ({"score_scale": "zero_query"}, "residual_variance", "annealed", "score_scale=sqrt"),
    ],
)
def test_bad_input(given: dict[str, Any], quantity: str, name: str, says: str):
    with pytest.raises(InputError) as caught:
        sp.predict(layer(**given), [quantity], approximation=name)
    assert says in str(caught.value) and "\n" not in str(caught.value)

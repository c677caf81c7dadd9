"""Square orthogonal matrices, forward: the finite-width page's table, what a rotation keeps, and
networks."""

from __future__ import annotations

from typing import Any

import pytest
from long_cases import apart

import sigprop as sp
from sigprop.agreement.finite_width.scatter import against_networks
from sigprop.errors import InputError
from sigprop.theory.recursion.units import isometric

A = sp.architectures
PAIR: dict[str, Any] = {"matrices": 1, "activation": "tanh", "tokens": 2, "token_cosine": 0.3}
NETS = {
    "untied": lambda weights: A.residual_mlp(
        depth=3, norm="none", weights=weights, residual_scale=0.7, c_w=1.5, **PAIR
    ),
    "tied": lambda weights: A.looped_mlp(
        loops=3, norm="pre", weights=weights, residual_scale=0.7, c_w=1.5, **PAIR
    ),
}
TABLE = {
    ("untied", "orthogonal"): {"q": (9.724, -0.096), "G": (7.419, -0.056)},
    ("tied", "orthogonal"): {"q": (15.06, 0.989), "G": (21.12, 0.067)},
    ("tied", "gaussian"): {"q": (24.16, 0.38)},
}
ITS_OWN = 0.05
"""Of the table's shifts, whose error the page does not say."""


@pytest.mark.parametrize("case", TABLE)
def test_the_pages_table(case: tuple[str, str]):
    """Section 8.4: n Var and n shift of q_3 and G_3[0, 1], of one network's row either token."""
    net, weights = case
    names = ["residual_variance", "token_covariance"]
    rows = sp.fluctuations(NETS[net](weights), names, [3], units=2048)
    for row in rows:
        known = TABLE[case].get("q" if row["quantity"] == names[0] else "G")
        if known is not None:
            assert abs(row["n_variance"] - known[0]) <= row["n_variance_error"], row
            assert abs(row["n_shift"] - known[1]) <= row["n_shift_error"] + ITS_OWN, row


def turned(**given: Any) -> list[dict[str, Any]]:
    arch = A.mlp(depth=3, activation="linear", c_b=None, c_w=1.5, weights="orthogonal", **given)
    return list(sp.fluctuations(arch, ["residual_variance", "token_cosine"], units=256))


def test_rotations_keep_what_the_stem_has():
    """Linear and orthogonal: lengths and cosines of a network are those of its stem."""
    found = turned(tokens=2, token_cosine=0.3)
    for row in found:
        stem = next(
            at_0
            for at_0 in found
            if (at_0["application"], at_0["quantity"], at_0["token"])
            == (0, row["quantity"], row["token"])
        )
        size = row["value"] ** 2 / stem["value"] ** 2
        assert row["n_variance"] == pytest.approx(size * stem["n_variance"], rel=1e-5)
        assert abs(row["n_shift"] - stem["n_shift"] * size**0.5) < 1e-3 * row["n_variance"]


def test_normals_as_they_are_do_not_keep_it(monkeypatch: pytest.MonkeyPatch):
    """Companion: without Gram-Schmidt of the normals the unit's own outputs are longer."""
    monkeypatch.setattr(isometric, "of_others", lambda t, seen, *_: seen)
    found = turned(tokens=3)
    last, first = (
        next(row for row in found if row["application"] == at and row["token"] == 0)
        for at in (3, 0)
    )
    assert last["n_variance"] > 1.2 * 1.5**6 * first["n_variance"]


@pytest.mark.parametrize("net", apart(NETS, ["untied", "tied"]))
def test_as_finite_networks_have_it(net: str):
    """All rows of the forward pass: the largest of 50 deviations over its error, 99.7 %."""
    rows = against_networks(NETS[net]("orthogonal"), {64: 2000, 128: 4000, 256: 4000}, units=1024)
    deviations = [row[name] for row in rows for name in ("variance_z", "shift_z")]
    assert max(abs(z) for z in deviations if z is not None) < 4


@pytest.mark.parametrize(
    ("make", "given", "text"),
    [
        (lambda: A.mlp(depth=1, weights="uniform"), {}, "uniform matrices"),
        (lambda: A.mlp(depth=1, weights="orthogonal"), {"quantities": ["weight_gradient"]}, None),
        (A.e_spa, {}, "orthogonal matrices but square ones outside of attention"),
    ],
)
def test_what_has_no_form_is_refused(make: Any, given: dict[str, Any], text: str | None):
    with pytest.raises(InputError, match=text or "orthogonal matrices"):
        sp.fluctuations(make(), units=64, **given)

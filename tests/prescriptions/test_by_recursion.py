"""Rates where no law has depth: the recursion's shares, equal to the law where there is one."""

from __future__ import annotations

import math
from typing import Any

import pytest

import sigprop as sp
from sigprop.prescriptions.by_recursion import depths, shares_of
from sigprop.scaling.rates import rules
from sigprop.scaling.sizes import sizes_of

LAWS = {
    "1/sqrt(L)": (lambda s: sp.architectures.residual_mlp(depth=s), (64, 128)),
    "1/L": (lambda s: sp.architectures.residual_mlp(depth=s, residual_scale="1/L"), (64, 128)),
    "loops": (lambda s: sp.architectures.looped_mlp(depth=1, loops=s), (32, 64)),
}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("name", LAWS)
def test_the_recursion_has_the_laws_exponent(name: str, optimizer: str) -> None:
    """ln of the ratio of rates over ln of the ratio of sizes, doubled at depth: within 0.02 of the
    monomial's, for every group."""
    make, sizes = LAWS[name]
    old, new = (make(size) for size in sizes)
    law = rules(new, optimizer)
    for group, depth in depths(old, new, optimizer, new.groups).items():
        monomial = law[group].learning_rate
        ratio = monomial.subs(sizes_of(new, 64)) / monomial.subs(sizes_of(old, 64))
        found = math.log(depth.rate / float(ratio)) / math.log(sizes[1] / sizes[0])
        assert abs(found) < 0.02, (group, found)


def plan(name: str, depth: int, **more: Any) -> sp.Prescription:
    sides = {"base": {"width": 64, "depth": 2}, "target": {"width": 256, "depth": depth}}
    return sp.prescribe(name, learning_rate=1e-3, **sides, **more)


def test_rows_say_what_they_are_by() -> None:
    """NAG: the law in width, the recursion in depth, with its error; read-out and width as ever."""
    found = plan("nag", 8)
    row = found.row("w", "learning_rate")
    assert row["by"] == "recursion" and 0 < row["error"] < 0.05 * row["value"]
    assert row["ratio"] == pytest.approx(row["depth"] / 4)
    assert row["value"] == pytest.approx(1e-3 * row["ratio"])
    # rates fall with the sum of l^-1/2 over applications, about as the root of depth
    assert row["depth"] == pytest.approx((2 / 8) ** 0.75, rel=0.15)
    assert found.row("w", "init_std")["by"] == "law"
    assert found.row("stem", "learning_rate")["ratio"] == pytest.approx(1.0, abs=0.02)
    assert "depth and loops by the recursion" in str(found) and "0.3" in found.to_latex()
    rates = [found.row(g, "learning_rate")["depth"] for g in ("w", "x", "norm", "bias")]
    assert max(rates) < 1.02 * min(rates)
    product = plan("nag", 8, decay="product").row("w", "rate_x_decay")
    assert product["ratio"] == pytest.approx(1.0)


def test_ratios_follow_one_another() -> None:
    """Base to a second and on to a third is base to the third."""
    first, second, third = (sp.architectures.nag(depth=d, tokens=1) for d in (2, 4, 8))
    for group in ("w", "x"):
        one, two, both = (
            depths(a, b, "adamw", [group])[group].rate
            for a, b in ((first, second), (second, third), (first, third))
        )
        assert one * two == pytest.approx(both, rel=1e-9)


def test_groups_without_a_gradient_go_with_their_branch() -> None:
    """Value-SkipInit's gates are 0: queries and keys move as the branch's other weights."""
    shares = shares_of(sp.architectures.value_skipinit(depth=2, tokens=2), "adamw")
    assert shares["q"].silent and shares["k"].silent and not shares["v"].silent
    values = [shares[name].value for name in ("u", "v", "gate_identity", "gate")]
    assert min(values) < shares["q"].value < max(values)


def test_what_has_no_first_step_keeps_its_depth() -> None:
    with pytest.raises(sp.InputError, match="no first step by the recursion"):
        plan("nag", 8, block="transformer", kv_heads=1, heads=2)


def test_descriptions_variances_are_carried() -> None:
    """DeepNorm's variances fall with depth: so do the stds prescribed."""
    row = plan("deepnorm", 8, tokens=1).row("x", "init_std")
    assert row["by"] == "recursion" and row["depth"] == pytest.approx((2 / 8) ** 0.25, rel=1e-6)
    assert "as the description has it" in row["criterion"]

"""How the dense engine reports what goes wrong: overflow, dead layers, bad input."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from engine_rows import engine

import sigprop as sp
from sigprop import Activate, Linear, Number, Read, State, SubBlock, Write
from sigprop.description.rows import select
from sigprop.errors import Diverged, InputError
from sigprop.simulations.engines import monte_carlo


@pytest.mark.parametrize(
    ("scale", "application"),
    [(1e15, 2), (1e25, 1), (1e9, 3)],  # h_a ~ scale^a; <h, h> leaves float32 beyond h = 1.8e19
)
def test_an_overflowing_network_is_reported_and_never_nan(scale: float, application: int):
    arch = sp.architectures.residual_mlp(depth=6, norm="none", residual_scale=scale)
    table = sp.measure(arch, width=16, samples=4)
    assert f"diverged at application {application}" in (table.notes or {})["diverged"]
    for row in table:
        assert all(row[key] is None or np.isfinite(row[key]) for key in ("value", "se"))
        if row["quantity"] == "residual_variance":
            assert (row["value"] is None) == (row["application"] >= application)
    assert "NaN" not in table.to_json() and json.loads(table.to_json())["diverged"]
    with pytest.raises(Diverged, match=f"application {application}"):
        monte_carlo.sample(engine(arch), 4, 0)


def test_a_gradient_that_overflows_is_reported():
    """A stem of variance 1e-37 under a norm: states are fine, dz/dh_0 is beyond float32."""
    arch = sp.architectures.residual_mlp(
        depth=2, activation="linear", input_gram=1e-37, c_w=1e3, c_x=1e3
    )
    table = sp.measure(arch, width=16, samples=4)
    values = {
        (row["quantity"], row.get("application")): row["value"]
        for row in table
        if row.get("application_2") is None
    }
    assert (
        values["residual_variance", 2] > 1e5
        and values["gradient_variance", 2] > 0.1
        and values["gradient_variance", 0] is None
    )
    assert (table.notes or {})["diverged"].startswith(
        "gradients of networks diverged (float32); accepted: "
    )
    with pytest.raises(Diverged):
        monte_carlo.sample(engine(arch), 4, 0)


def test_a_network_that_stays_finite_is_not_reported():
    table = sp.measure(
        sp.architectures.residual_mlp(depth=3, norm="none", residual_scale=100.0),
        width=16,
        samples=4,
    )
    assert not table.notes and all(row["value"] is not None for row in table)


@pytest.mark.parametrize(
    ("engine", "close"), [("dense", {"rel": 1e-2}), ("matrix-free", {"abs": 1e-3})]
)
def test_cosines_of_large_states_do_not_overflow(engine: str, close: dict[str, float]):
    """cos(h_2, h_3) and cos(w_2, w_3) at |h| ~ 1e15 are those at |h| ~ 1e12: the branch is linear,
    only the scale differs.

    The skip, 1e-4 of a branch, turns the directions in which the matrix-free engine draws its
    images.
    """
    rows = {
        "quantities": ["state_cosine", "write_cosine"],
        "applications": [2, 3],
        "engine": engine,
    }
    small, large = (
        sp.measure(
            sp.architectures.looped_mlp(
                loops=3, norm="none", activation="linear", residual_scale=s
            ),
            width=16,
            samples=4,
            **rows,
        )
        for s in (1e4, 1e5)
    )
    for one, other in zip(small, large, strict=True):
        assert one["value"] == pytest.approx(other["value"], **close) and abs(one["value"]) > 1e-3


def test_a_dead_layer_has_cosine_zero():
    """At width 2 every relu of a layer is off in a quarter of the networks: the write is zero,
    its cosine 0 and not 0/0."""
    arch = sp.architectures.residual_mlp(depth=2)
    rows = select(arch, ["write_cosine"])
    found = monte_carlo.sample(engine(arch, 2, rows), 64, 0)
    assert np.isfinite(found).all() and (found == 0).mean() > 0.1


def test_identical_tokens():
    """A singular input Gram: both tokens are one network's, every row of a pair equals the
    diagonal's."""
    table = sp.measure(
        sp.architectures.looped_mlp(depth=1, loops=3, tokens=2, token_cosine=1.0),
        width=32,
        samples=8,
    )
    value = {
        (row["quantity"], row["application"], row["token"]): row["value"]
        for row in table
        if row["quantity"] in ("residual_variance", "token_covariance")
    }
    for a in range(4):
        same = [
            value["residual_variance", a, 0],
            value["residual_variance", a, 1],
            value["token_covariance", a, 0],
        ]
        assert np.isfinite(same).all() and np.ptp(same) < 1e-4 * same[0]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"engine": "matrix-fre"}, "engine='matrix-fre'"),
        ({"width": 0}, "width=0; accepted: an integer from 1"),
        ({"width": 2.5}, "width=2.5; accepted"),
        ({"width": 16.0}, "width=16.0; accepted"),
        ({"width": "wide"}, "width=wide; accepted"),
        ({"width": float("nan")}, "width=nan; accepted"),
        ({"samples": 1}, "samples=1; accepted: an integer from 2"),
        ({"samples": True}, "samples=True; accepted"),
        ({"seed": -1}, "seed=-1; accepted: an integer from 0"),
        ({"memory_mib": 0}, "memory_mib=0; accepted"),
        (
            {"quantities": ["residual_varianc"]},
            "quantity='residual_varianc'; did you mean 'residual_variance'",
        ),
        ({"applications": [9]}, "applications=9; accepted"),
    ],
)
def test_bad_input_names_the_parameter(given: dict[str, Any], says: str):
    with pytest.raises(InputError) as caught:
        sp.measure(sp.architectures.looped_mlp(), **given)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_whole_numbers_of_other_types_are_sizes():
    arch = sp.architectures.mlp(depth=1)
    found = sp.measure(arch, width=np.int64(16), samples=np.int64(4), seed=np.int32(1))
    assert [row["value"] for row in found] == [
        row["value"] for row in sp.measure(arch, width=16, samples=4, seed=1)
    ]
    found.to_json()


def test_a_width_that_gives_no_whole_number_of_rows_is_bad_input():
    from fractions import Fraction

    hidden = Linear("w", Read(), Number("c_w"), rows=Fraction(3, 2))
    block = SubBlock(
        State(0), Linear("x", Activate("relu", hidden), Number("c_x")), (State(0) + Write(),)
    )
    arch = sp.Architecture("wide", (block,), (0, 1), numbers={"c_w": 1.0, "c_x": 2.0})
    with pytest.raises(InputError, match="width=5"):
        sp.measure(arch, width=5, samples=2)
    assert sp.measure(arch, width=6, samples=2).rows


def test_a_dead_branch_has_norm_zero_not_nan():
    """Sandwich norm of a write that is exactly 0 (relu units all dead, likely at width 2): the
    convention is 0/0 = 0."""
    arch = sp.architectures.residual_mlp(depth=6, norm="sandwich", residual_scale=1)
    table = sp.measure(arch, width=2, samples=64, quantities=["residual_variance"])
    assert not table.notes and all(row["value"] is not None for row in table)

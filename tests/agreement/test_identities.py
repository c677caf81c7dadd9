"""Rows that nothing could make fail are called identities, and what could fail is judged as
before."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import sigprop as sp
from sigprop import Activate, Linear, Normalise, Number, Read, State, SubBlock, Write
from sigprop.agreement.identities import Origins, origin, unmoved
from sigprop.cli import run
from sigprop.description.rows import judged
from sigprop.description.shapes import Row
from sigprop.tables.table import Table

BRANCHES, GAMMA = 24, 1e-5  # a LayerScale network: its states' variance ends at 1 + 2.4e-9
STATES = ["residual_variance", "state_cosine", "gradient_variance"]


def layer_scale(scale: float = GAMMA) -> sp.Architecture:
    return sp.architectures.residual_mlp(depth=BRANCHES, residual_scale=scale)


@functools.cache
def verdict(
    dtype: str, *quantities: str, scale: float = GAMMA, theory: float | None = None
) -> Table:
    given = None if theory is None else layer_scale(theory)
    return sp.verify(
        layer_scale(scale),
        theory=given,
        tolerance=0.05,
        dtype=dtype,
        quantities=quantities,
        applications=[0, 24],
    )


def rows_of(table: Table) -> dict[tuple[str, int], str]:
    return {(row["quantity"], row["application"]): row["verdict"] for row in table}


def test_in_float32_the_states_of_layer_scale_are_identities_and_nothing_is_confirmed():
    table = verdict("float32", "residual_variance", "state_cosine")
    notes = table.notes or {}
    assert (
        rows_of(table)["residual_variance", 24] == rows_of(table)["state_cosine", 0] == "identity"
    )
    # that stems are drawn with the given variance could fail
    assert rows_of(table)["residual_variance", 0] == "confirmed"
    assert notes["identities"] == 2 and "2 of 3 rows are identities within rounding" in str(table)


def test_where_every_row_is_an_identity_the_verdict_is_inconclusive(
    capfd: pytest.CaptureFixture[str],
):
    words = (
        f"verify residual-mlp --set depth=24 --set residual_scale={GAMMA} --quick --quantity "
        f"state_cosine --dtype float32"
    )
    assert run(words.split()) == 3
    said = (
        "inconclusive (every row is an identity within rounding (float32): nothing could have "
        "failed; what could: other"
    )
    assert said in capfd.readouterr().out


def test_in_float64_they_can_fail_and_are_judged():
    table = verdict("float64", "residual_variance", "state_cosine")
    assert table.verdict == "confirmed" and (table.notes or {})["identities"] == 0
    assert (table.notes or {})["dtype"] == "float64"


def test_a_theory_that_claims_more_is_rejected_and_never_takes_the_networks_for_an_identity():
    """The companions: networks of scale 1e-5 under a theory of scale 0.1, and the other way
    round."""
    for network, theory in ((GAMMA, 0.1), (0.1, GAMMA)):
        table = verdict("float32", "residual_variance", scale=network, theory=theory)
        assert table.verdict == "rejected"
        assert rows_of(table)["residual_variance", 24] == "rejected"


def test_an_identity_that_does_not_hold_is_rejected():
    """A theory that says cos(h_0, h_24) = 1 - 5e-4 of networks that all say 1 to rounding: at 5
    % nothing else would see it."""
    table = verdict("float32", "state_cosine", theory=np.sqrt(1e-3 / BRANCHES))
    assert table.verdict == "rejected" and "identity" in (table.notes or {})["reason"]


def test_a_stack_at_unit_gain_has_no_identities_though_theory_claims_no_change():
    """mlp keeps the variance exactly, by the choice of c_w: networks with another one would show
    it."""
    table = sp.verify(
        sp.architectures.mlp(depth=2),
        tolerance=0.05,
        quantities=["residual_variance"],
        engine="dense",
    )
    assert table.verdict == "confirmed" and {row["verdict"] for row in table} == {"confirmed"}
    assert all(row["theory"] == pytest.approx(1, abs=1e-12) for row in table)


def test_a_norm_agnostic_network_keeps_its_states_normalised_which_is_an_identity():
    table = sp.verify(
        sp.architectures.nag(depth=4, tokens=1),
        tolerance=0.05,
        quantities=["residual_variance", "state_cosine"],
    )
    found = {row["quantity"]: row["verdict"] for row in table}
    assert (
        found == {"residual_variance": "identity", "state_cosine": "confirmed"}
        and table.verdict == "confirmed"
    )
    assert str(table).splitlines()[-1].startswith("verdict: confirmed (worst row: state_cosine")


def test_origins_are_the_stem_forward_and_the_last_state_backward():
    arch = sp.architectures.residual_mlp(depth=4, tokens=2, token_cosine=0.3)
    assert origin(arch, Row("token_covariance", 3, token=0, token_2=1)) == Row(
        "token_covariance", 0, token=0, token_2=1
    )
    assert origin(arch, Row("gradient_variance", 1, token=0)) == Row(
        "gradient_variance", 4, token=0
    )
    others = [
        Row("residual_variance", 0, token=0),
        Row("write_cosine", 1, 2, token=0),
        Row("weight_gradient", 1, group="w"),
    ]
    assert [origin(arch, row) for row in others] == [None, None, None]
    rows = judged(arch, STATES)
    found = Origins.find(arch, rows)
    assert found.rows[: len(rows)] == rows and all(
        found.rows[o] == origin(arch, rows[r]) for r, o in found.of.items()
    )


def test_changes_count_as_none_where_branches_are_too_small_to_be_seen():
    values = np.array([[1.0, 1.0 + 1e-4, 1.3], [1.1, 1.1 - 1e-4, 1.1]])
    assert unmoved(values, {1: 0, 2: 0}, np.ones(3), 1e-6) == {1: 0}
    assert unmoved(values, {1: 0}, np.ones(3), 1e-8) == {}


def test_a_network_of_ones_own_with_small_branches_has_identities_too():
    """Post-norm and a tied branch: the variance is 1 by the norm in every network, the cosine by
    the branch's size."""
    scale = Number("scale")
    branch = Linear("x", Activate("relu", Linear("w", Read(), Number("c"))), Number("c"))
    block = SubBlock(State(0), branch, (Normalise(State(0) + scale * Write()),))
    arch = sp.Architecture("post", (block,), [0] * 4, numbers={"scale": 1e-6, "c": 1.4})
    table = sp.verify(arch, tolerance=0.05, quantities=STATES[:2])
    found = {row["quantity"]: row["verdict"] for row in table}
    assert (
        found == {"residual_variance": "identity", "state_cosine": "identity"}
        and table.verdict == "inconclusive"
    )

"""``check`` of read-outs that start at zero, of tied embeddings and learned positions, and its rows
of parts."""

from __future__ import annotations

import math
from typing import Any

import pytest

import sigprop as sp
from sigprop.coordinate_check.rates import prescribed
from sigprop.simulations.training.changes import OBSERVABLES
from sigprop.tables.table import Table


class Said:
    """A bar that keeps what it says."""

    def __init__(self):
        self.texts: list[str] = []

    def start(self, total: int, text: str) -> None:
        self.texts.append(text)

    def advance(self, n: int = 1) -> None: ...


def test_a_read_out_at_zero_is_judged_by_what_it_alone_changes():
    """Muon, whose polar factor of no gradient is no step; after one step and after three the output
    has moved by the read-out's steps, as theory says, and states have no row."""
    said = Said()
    table = sp.check(
        sp.architectures.looped_mlp(),
        "muon",
        variables=["width"],
        steps=(1, 3),
        ladders={"width": (32, 128)},
        readout="zero",
        parts=True,
        progress=said,
    )
    # what is waited for, from the first second on
    assert said.texts[:4] == [
        "rates of every size",
        "width: a rate of the linear regime",
        "width: networks",
        "width: theory's first step",
    ]
    assert table.verdict == "confirmed"
    names = {(row["quantity"], row.get("group")) for row in table}
    assert names == {("output", None), ("effective part", "readout")}
    assert all(row["reference"] == row["predicted"] for row in table)
    notes: Any = table.notes
    for at in notes["points"]:
        assert abs(math.log(at["value"] / at["theory"])) < 5 * at["relative_se"] + 0.05
    assert notes["readout"] == "zero" and "the first step moves the read-out" in str(table)


@pytest.fixture(scope="module")
def embedded() -> Table:
    """Words, learned positions, a head of the embeddings; every part a row."""
    arch = sp.architectures.transformer(
        block="mlp", words="0,1,0", c_pe=0.5, head="tied", residual_scale="1/sqrt(L)"
    )
    return sp.check(
        arch, "adamw", variables=["width"], steps=(1,), ladders={"width": (64, 256)}, parts=True
    )


def test_learned_positions_and_tied_embeddings_are_judged(embedded: Table):
    """Both parts of the stem are groups; every row has a number of theory's, absolutely."""
    assert embedded.verdict == "confirmed"
    groups = {row["group"] for row in embedded if row.get("group")}
    assert groups == {"embedding", "position", "readout", "w", "x"}
    assert {row["quantity"] for row in embedded} >= {*OBSERVABLES, "effective part"}
    notes: Any = embedded.notes
    assert any("head=tied: the output is the logit of a word" in line for line in notes["remarks"])
    for at in notes["points"]:
        off = abs(math.log(at["value"] / at["theory"]))
        assert off < 5 * at["relative_se"] + 5 / at["width"], at


def test_a_tied_read_out_has_the_rates_of_its_embedding():
    """What ``check`` takes for the read-out of a word that is not an input is what one step of the
    embedding does: Adam's rate over 1/n, SGD's over 1/n^2."""
    arch = sp.architectures.transformer(block="mlp", words="0,1,0", head="tied")
    for optimizer, power in (("adamw", 1), ("sgd", 2)):
        groups = prescribed(arch, 64, optimizer).groups
        stem = next(part for part in arch.stem_parts)
        assert groups["readout"].rate * 64**power == pytest.approx(groups[stem].rate)


def test_rows_of_parts_say_group_and_relative_application(embedded: Table):
    """Effective and propagating part of each matrix at four applications, the stem's and the
    read-out's whole."""
    matrices = [row for row in embedded if row.get("group") == "w"]
    assert [row["quantity"] for row in matrices] == [
        f"{part} part at {share}"
        for part in ("effective", "propagating")
        for share in ("1/4", "1/2", "3/4", "1")
    ]
    assert all(row["predicted"] is not None for row in embedded)

"""``check`` of Muon: prescribed rates confirmed, naive ones rejected, hidden matrices alone."""

from __future__ import annotations

import functools
import json
import math
from typing import Any

import pytest

import sigprop as sp
from sigprop.cli.check import check as command
from sigprop.cli.options import Chosen
from sigprop.coordinate_check.check import check
from sigprop.coordinate_check.ladder import MUON_WIDTHS, Members, default_ladders, default_width
from sigprop.coordinate_check.rates import Rule, over_original, prescribed
from sigprop.description.architecture import Architecture
from sigprop.tables.table import Table

SMALL = {"width": (32, 128), "depth": (2, 8), "loops": (2, 8)}


@functools.cache
def judged(parametrisation: Any, variables: tuple[str, ...], factor: str | None = None) -> Table:
    return check(
        sp.architectures.looped_mlp(),
        "muon",
        parametrisation,
        variables=variables,
        steps=(1, 3),
        ladders=SMALL,
        width=32,
        networks=64,
        shape_factor=factor,
    )


@pytest.mark.parametrize("factor", [None, "match_rms_adamw"])
def test_the_prescribed_rule_is_confirmed(factor: str | None):
    """Intervals are some 3 standard errors inside +-0.1, after as many networks as they ask for."""
    table = judged("prescribed", ("width", "loops") if factor is None else ("width",), factor)
    assert table.verdict == "confirmed", [(r["slope"], r["se"]) for r in table]
    notes: Any = table.notes
    assert notes["shape_factor"] == (factor or "original") and notes["optimizer"] == "muon"
    # the reference is the prescribed rule's first step, with this shape factor
    for row in table:
        assert row["reference"] == row["predicted"] and abs(row["reference"]) < 0.05


def test_the_naive_rule_is_rejected_by_depth_and_by_the_read_outs_rate_in_width():
    """States, which hidden matrices and the stem move, are flat in width."""
    table = judged("naive", ("width", "depth"))
    for row in table.filter(quantity="output"):
        assert row["verdict"] == "rejected" and row["slope"] > 0.4, row
    for row in table.filter(quantity="last state"):
        assert (row["slope"] > 0.5) == (row["variable"] == "depth")


def hidden(arch: Architecture, width: int, optimizer: str) -> Rule:
    """One rate for the matrices of every width, none for the rest."""
    rule = prescribed(arch, width, optimizer)
    return rule._replace(
        groups={
            name: group._replace(rate=1.0 if name in arch.weights else 0.0)
            for name, group in rule.groups.items()
        }
    )


@pytest.mark.parametrize(
    ("factor", "slope"), [("original", 0), ("spectral", 0), ("match_rms_adamw", 0.5)]
)
def test_hidden_matrices_alone_need_no_width(factor: str, slope: float):
    """Muon's virtue, and what 0.2 sqrt(n) makes of it."""
    table = judged(hidden, ("width",), factor)
    for row in table.filter(quantity="output"):
        assert abs(row["slope"] - slope) < 4 * row["se"] + 0.05 and row["se"] < 0.04
        assert row["verdict"] == ("rejected" if slope else "confirmed")


def off_in_loops(arch: Architecture, width: int, optimizer: str) -> Rule:
    """Hidden rates sqrt(N) times too large."""
    rule = prescribed(arch, width, optimizer)
    factor = math.sqrt(arch.sizes["N"])
    return rule._replace(
        groups={
            name: group._replace(rate=group.rate * (factor if name in arch.weights else 1))
            for name, group in rule.groups.items()
        }
    )


def test_the_companion_is_rejected():
    row = judged(off_in_loops, ("loops",)).filter(quantity="output", steps=1)[0]
    assert row["verdict"] == "rejected" and 0.15 < row["slope"] < 0.5


def test_shape_factors_are_those_of_the_matrix():
    """Of w [4n, n] and x [n, 4n], over sqrt(max(1, n_out/n_in))."""
    arch = sp.architectures.transformer(mlp_ratio=4)
    found = {
        name: [over_original(arch, group, 64, name) for group in ("q", "w", "x", "stem")]
        for name in ("original", "match_rms_adamw", "spectral")
    }
    assert found["original"] == [1, 1, 1, 1] and found["spectral"] == [1, 1, 0.5, 1]
    # 0.2 sqrt(max(n_in, n_out)): 8, 16, 16 of q, w, x
    assert found["match_rms_adamw"] == pytest.approx([0.2 * 8, 0.2 * 16 / 2, 0.2 * 16, 1])


def test_muons_ladders_are_smaller_and_its_options_are_checked():
    assert default_ladders("muon")["width"] == MUON_WIDTHS and default_width("muon") == 64
    assert default_ladders("adamw")["width"][-1] == 1024 and default_width("sgd") == 128
    arch = sp.architectures.looped_mlp()
    assert Members(arch).ladder("width", MUON_WIDTHS, 64)[-1].width == 256
    for options, says in (
        ({"optimizer": "adamw", "shape_factor": "spectral"}, "at optimizer='adamw'"),
        ({"optimizer": "muon", "shape_factor": "spectrl"}, "did you mean 'spectral'"),
    ):
        with pytest.raises(sp.InputError, match=says):
            check(arch, **options)


def test_the_command_passes_the_shape_factor_on(capsys: pytest.CaptureFixture[str]):
    options: Any = {"optimizer": "muon", "variable": ("width",), "steps": "1", "samples": 4}
    chosen = Chosen(set=("loops=2", "matrices=1"), json=True)
    assert command("looped-mlp", chosen=chosen, shape_factor="spectral", **options) in (0, 1, 3)
    document = json.loads(capsys.readouterr().out)
    assert document["shape_factor"] == "spectral" and document["rows"][0]["sizes"] == [64, 128, 256]
    with pytest.raises(sp.InputError, match="shape_factor='spectral' at optimizer='sgd'"):
        command("looped-mlp", optimizer="sgd", shape_factor="spectral")


def test_an_optax_without_dimension_numbers_is_refused(monkeypatch: pytest.MonkeyPatch):
    import optax

    monkeypatch.setattr(optax.contrib, "muon", lambda learning_rate: None)
    with pytest.raises(sp.InputError, match="accepted: optax 0.2.7 or newer"):
        check(sp.architectures.looped_mlp(), "muon")

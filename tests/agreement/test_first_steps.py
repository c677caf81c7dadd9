"""First steps judged by finite networks: a right theory is confirmed, a wrong one is rejected by
the part that is off."""

from __future__ import annotations

import pytest

import sigprop as sp
from sigprop.cli import run


def network(**other: object) -> sp.Architecture:
    return sp.architectures.residual_mlp(depth=1, tokens=2, token_cosine=0.3, **other)


def test_every_part_is_confirmed() -> None:
    """Muon, within 20 % of mean squares (a true theory is confirmed with probability 0.95; the seed
    is one of those)."""
    table = sp.verify_first_step(network(), "muon", tolerance=0.2)
    assert table.verdict == "confirmed", table.notes
    assert {row["quantity"] for row in table} == {
        "output_change", "square_change", "effective_square", "propagating_square",
    }  # fmt: skip
    assert all(row["verdict"] in ("confirmed", "identity") for row in table)


def test_the_part_that_is_off_is_named() -> None:
    """The companion: a theory whose branch writes more has w's cotangents, and effective part, too
    large, and inputs of both matrices right."""
    table = sp.verify_first_step(
        network(), "sgd", {"stem": 0.0}, tolerance=0.15, theory=network(c_x=4.0)
    )
    assert table.verdict == "rejected" and table.notes is not None
    wrong = {(row["quantity"], row["group"]) for row in table if row["verdict"] == "rejected"}
    assert ("effective_square", "w") in wrong and ("effective_square", "x") not in wrong


def test_bad_input() -> None:
    with pytest.raises(sp.InputError, match="tolerance=2"):
        sp.verify_first_step(network(), tolerance=2)
    with pytest.raises(sp.InputError, match="optimizer='adamw'"):
        sp.verify_first_step(network(), "adamw")
    with pytest.raises(sp.InputError, match="width=63; accepted: a multiple of"):
        sp.verify_first_step(network(), width=63)
    deeper = sp.architectures.residual_mlp(depth=2, tokens=2)
    with pytest.raises(sp.InputError, match="theory: other groups"):
        sp.verify_first_step(network(), theory=deeper)


def test_the_command_returns_the_verdicts_code(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["first-step", "residual-mlp", "--set", "depth=1", "--verify", "--tolerance", "0.5"]
    assert run([*given, "--optimizer", "sgd"]) == 0
    assert "confirmed" in capsys.readouterr().out
    assert run([*given, "--epsilon", "w=1"]) == 2

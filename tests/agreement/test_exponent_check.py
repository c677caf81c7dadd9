"""``verify_exponents``: finite networks' slopes against the recursion's, a theory with another
exponent is rejected, the command line."""

from __future__ import annotations

import json

import pytest

import sigprop as sp
from sigprop.agreement import exponents as exponent_check
from sigprop.cli import run

SIZES = (2, 4, 8)


def judge(**options):
    arch = sp.architectures.looped_mlp(residual_scale="1/N**0.5")
    return sp.verify_exponents(arch, width=128, variables=["loops"], sizes=SIZES, **options)


def test_confirmed() -> None:
    """90 % intervals within 0.05: a false confirmation has probability 5 % a row; the seed is
    fixed."""
    table = judge()
    assert table.verdict == "confirmed"
    rows = {row["quantity"]: row for row in table if row["group"] in (None, "w")}
    assert rows["residual_rms"]["exponent"] == "Max(0, 1 - alpha)"
    assert all(
        abs(row["fitted"] - row["effective"]) < 0.05 and 0 < row["fitted_se"] < 0.02
        for row in table
    )
    assert {"samples", "fitted_se", "lower", "upper"} <= set(table.columns) and dict(
        table.notes or {}
    )["width"] == 128


def test_another_exponent_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The companion: networks at alpha = 1/2 judged by the recursion at alpha = 0.7."""
    theory = exponent_check.exponents
    wrong = sp.architectures.looped_mlp(residual_scale="1/N**0.7")
    monkeypatch.setattr(
        exponent_check,
        "exponents",
        lambda arch, variables, sizes, family: theory(wrong, variables, sizes, wrong.family),
    )
    table = judge()
    assert table.verdict == "rejected"
    assert next(row for row in table if row["quantity"] == "residual_rms")["verdict"] == "rejected"


def test_bad_input() -> None:
    with pytest.raises(sp.InputError, match="tolerance=2"):
        judge(tolerance=2)


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["looped-mlp", "--set", "residual_scale=1/N**0.3", "--symbols", "--json"]
    assert run(["exponents", *given]) == 0
    document = json.loads(capsys.readouterr().out)
    row = next(
        row
        for row in document["rows"]
        if row["quantity"] == "residual_rms" and row["variable"] == "loops"
    )
    assert row["exponent"] == "Max(0, 1 - alpha)" and row["leading"] == pytest.approx(0.7)
    assert run(["critical", "residual-mlp", "--criterion", "variance,adam", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["rate"] == "1/2"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["exponents", "looped-mlp", "--sizes", "4,2,1"],
            "sizes='4,2,1'; accepted: three sizes or more",
        ),
        (["exponents", "residual-mlp", "--variable", "loops"], "variable='loops'; accepted: depth"),
        (["critical", "residual-mlp", "--criterion", "varian"], "did you mean 'variance'"),
        (["verify", "--exponents"], "none given with exponents"),
        (["verify", "residual-mlp", "--exponents", "--samples", "5"], "samples=5 with exponents"),
    ],
)
def test_command_line_refuses(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert says in capsys.readouterr().err

"""``sigprop first-step``: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sigprop.cli import run

NAME = "first-step residual-mlp --set depth=1 --points 64"


def document(text: str, capfd: pytest.CaptureFixture[str]) -> dict:
    """What the command prints as JSON, and nothing beside it."""
    assert run([*text.split(), "--json"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return json.loads(out)


def test_the_table_is_printed(capfd: pytest.CaptureFixture[str]):
    assert run(NAME.split()) == 0
    out, _ = capfd.readouterr()
    assert out.startswith("residual-mlp (first-step): depth=1")
    for word in ("output_change", "state_change", "effective_change", "propagating_change", "all"):
        assert word in out


def test_rates_labels_and_the_optimizer_reach_the_table(capfd: pytest.CaptureFixture[str]):
    """Twice the rate of w doubles what w changes and nothing else; labels turn it round (but for
    the sample, of 64 coordinates)."""

    def changes(more: str) -> dict[str, float]:
        rows = document(f"{NAME} {more}", capfd)["rows"]
        return {r["group"]: r["value"] for r in rows if r["quantity"] == "output_change"}

    once, twice, turned = changes(""), changes("--rate w=2"), changes("--label -1")
    assert twice["w"] == pytest.approx(2 * once["w"]) and twice["x"] == once["x"]
    assert turned["w"] == pytest.approx(-once["w"], rel=0.1)
    assert changes("--optimizer sgd")["w"] != pytest.approx(once["w"], rel=0.05)
    assert changes("--epsilon w=1")["w"] < once["w"]


def test_a_file_is_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    path = tmp_path / "table.csv"
    assert run([*NAME.split(), "--out", str(path)]) == 0
    assert "propagating_change" in path.read_text()


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ("--rate w", "rate"),
        ("--rate 2", "accepted: one a group, such as w=2,readout=0.5"),
        ("--rate nothing=2", "rates: group 'nothing'"),
        ("--rate w=nan", "w"),
        ("--label one", "label"),
        ("--label 1,1", "accepted: 1 numbers, one of each token"),
        ("--epsilon w=-1", "epsilon of w=-1.0; accepted: a number >= 0"),
        ("--optimizer adamax", "adamax"),
    ],
)
def test_bad_input_is_said_in_a_line(more: str, text: str, capfd: pytest.CaptureFixture[str]):
    assert run([*NAME.split(), *more.split()]) == 2
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and err.startswith("sigprop: ")
    assert text in err


def test_what_has_no_first_step_is_refused(capfd: pytest.CaptureFixture[str]):
    assert run(["first-step", "transformer", "--set", "dropout=0.1"]) == 2
    assert "dropout" in capfd.readouterr().err
    assert run(["first-step", "residual-mlp", "--points", "100"]) == 2
    assert "accepted: a power of two from 64 on" in capfd.readouterr().err

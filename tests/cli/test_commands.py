"""What the commands pass on, what they print, and their exit codes."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import sigprop
from sigprop import agreement
from sigprop.agreement.cases import Case
from sigprop.architectures import entry
from sigprop.cli import run
from sigprop.errors import Diverged, NoRule


def fake_cases(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    cases = [Case(f"{name} default", entry(name).build(), 0.02) for name in names]
    module = SimpleNamespace(
        registered=lambda tolerance: cases[:1] if tolerance == 0.05 else cases,
        every=lambda: cases,
        QUICK=0.05,
        STRICT=0.01,
    )
    monkeypatch.setitem(sys.modules, "sigprop.agreement.cases", module)
    monkeypatch.setattr(agreement, "cases", module, raising=False)


def test_set_wins_over_the_file_and_the_file_may_name_the_architecture(
    tmp_path: Path, calls: list, capfd: pytest.CaptureFixture[str]
):
    path = tmp_path / "config.toml"
    path.write_text('architecture = "looped-mlp"\ndepth = 2\nloops = 3\nresidual_scale = "1/N"\n')
    assert run(["predict", "--config", str(path), "--set", "loops=5", "--json"]) == 0
    out, err = capfd.readouterr()
    parameters = json.loads(out)["parameters"]
    assert (parameters["depth"], parameters["loops"], parameters["residual_scale"]) == (2, 5, "1/N")
    assert err == ""


def test_predict_of_a_width_passes_its_options_on(
    calls: list, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sigprop, "fluctuations", sigprop.predict, raising=False)
    words = "predict looped-mlp --quantity residual_variance --width 64 --no-shift --over-tokens"
    for chosen, shift, over in ((words, False, True), (words[:-25], True, False)):
        assert run(chosen.split()) == 0
        _, positional, options = calls.pop()
        assert options == {"width": 64, "shift": shift, "over_tokens": over}, positional


def test_measure_passes_its_options_on(calls: list, capfd: pytest.CaptureFixture[str]):
    words = (
        "measure looped-mlp --width 64 --samples 10 --seed 3 --engine dense --dtype float64 "
        "--memory-mib 99 --control auto"
    )
    words += " --quantity ntk,state_cosine --applications 0,2..4"
    assert run(words.split()) == 0
    _, _, options = calls[0]
    assert options.pop("progress") is not None
    expected = {
        "width": 64,
        "samples": 10,
        "seed": 3,
        "engine": "dense",
        "dtype": "float64",
        "memory_mib": 99,
        "control": "auto",
    }
    assert options == expected | {
        "quantities": ("ntk", "state_cosine"),
        "applications": (0, 2, 3, 4),
    }
    out, err = capfd.readouterr()
    assert "looped-mlp (measure)" in out and err == ""


@pytest.mark.parametrize(("name", "code"), [("looped-mlp", 0), ("mlp", 1), ("residual-mlp", 3)])
def test_exit_codes_of_verify(name: str, code: int, calls: list, capfd: pytest.CaptureFixture[str]):
    assert run(["verify", name, "--json"]) == code
    assert json.loads(capfd.readouterr().out)["verdict"] in (
        "confirmed",
        "rejected",
        "inconclusive",
    )
    assert calls[0][2]["tolerance"] == 0.01


def test_quick_and_tolerance(calls: list):
    run(["verify", "looped-mlp", "--quick"])
    run(["verify", "looped-mlp", "--quick", "--tolerance", "0.02"])
    assert [options["tolerance"] for _, _, options in calls] == [0.05, 0.02]


def test_against_passes_the_other_theory_with_the_same_numbers(calls: list):
    run(
        [
            "verify",
            "looped-mlp",
            "--set",
            "loops=4",
            "--set",
            "depth=2",
            "--against",
            "residual-mlp",
            "--against-set",
            "activation=tanh",
        ]
    )
    _, arch, options = calls[0]
    theory = options["theory"]
    assert (theory.depth, theory.sizes["L"], theory.parameters["activation"]) == (
        arch.depth,
        8,
        "tanh",
    )
    assert theory.numbers["residual_scale"] == arch.numbers["residual_scale"] == 1 / (4 * 2**0.5)
    assert (
        "weight_gradient" not in options["quantities"]
        and "gradient_variance" in options["quantities"]
    )


@pytest.mark.parametrize(
    ("names", "code", "verdict"),
    [
        (["looped-mlp"], 0, "confirmed"),
        (["looped-mlp", "residual-mlp"], 3, "inconclusive"),
        (["residual-mlp", "mlp", "looped-mlp"], 1, "rejected"),
    ],
)
def test_verify_without_a_name(
    names: list[str],
    code: int,
    verdict: str,
    calls: list,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    fake_cases(monkeypatch, *names)
    assert run(["verify", "--jobs", "1"]) == code
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == len(names) + 1 and lines[-1] == f"verdict: {verdict} ({len(names)} cases)"
    assert all("residual_variance[application=8, token=0]: 0.001" in line for line in lines[:-1])
    assert [options["tolerance"] for _, _, options in calls] == [0.02] * len(names)
    assert run(["verify", "--all", "--json", "--jobs", "1"]) == code
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert document["verdict"] == verdict and [row["case"] for row in document["rows"]] == [
        f"{name} default" for name in names
    ]
    assert len(err.splitlines()) == len(names) + 1


def test_all_cases_of_one_architecture_and_quick_ones(
    calls: list, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    fake_cases(monkeypatch, "looped-mlp", "mlp")
    assert run(["verify", "mlp", "--all", "--jobs", "1"]) == 1
    assert run(["verify", "--quick", "--tolerance", "0.07", "--jobs", "1"]) == 0
    assert [(arch.name, options["tolerance"]) for _, arch, options in calls] == [
        ("mlp", 0.02),
        ("looped-mlp", 0.07),
    ]


def test_out_writes_the_table_and_says_so_on_stderr(
    tmp_path: Path, calls: list, capfd: pytest.CaptureFixture[str]
):
    path = tmp_path / "rows.csv"
    assert run(["predict", "looped-mlp", "--json", "--out", str(path)]) == 0
    out, err = capfd.readouterr()
    assert (
        json.loads(out)["rows"]
        and path.read_text().startswith("quantity,application,")
        and err == f"wrote 1 rows to {path}\n"
    )


def test_derive_prints_what_the_derivation_says(
    tmp_path: Path, calls: list, capfd: pytest.CaptureFixture[str]
):
    assert run(["derive", "looped-mlp", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {"equations": []}
    assert run(["derive", "looped-mlp", "--latex", "--out", str(tmp_path / "x.tex")]) == 0
    assert capfd.readouterr().out == "q_{a+1}\n" == (tmp_path / "x.tex").read_text()


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (Diverged(7), 3, "a network diverged at application 7"),
        (
            NoRule("<W x, x>: no rule; accepted: relu"),
            2,
            "sigprop: <W x, x>: no rule; accepted: relu",
        ),
    ],
)
def test_what_ends_a_run_early_is_one_line(
    error: BaseException, code: int, says: str, monkeypatch: Any, tmp_path: Path, capfd: Any
):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(sigprop, "predict", fail, raising=False)
    assert run(["predict", "looped-mlp", "--out", str(tmp_path / "x.json")]) == code
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and says in err
    assert not list(tmp_path.iterdir())


def test_cases_side_by_side_are_the_cases_one_by_one(capfd: pytest.CaptureFixture[str]):
    """Same networks, same rows, same order, whichever process judged them; what a case raises
    comes back as what it is."""
    from sigprop.cli import side_by_side as cases
    from sigprop.cli.options import Chosen

    quick = [
        Case(f"{act}", entry("mlp").build(depth=1, activation=act), 0.2, ("residual_variance",))
        for act in ("relu", "linear")
    ]
    options = {
        "width": None,
        "samples": None,
        "seed": 0,
        "engine": "dense",
        "memory_mib": 256,
        "quantities": None,
    }
    one, two = (
        cases.judge(quick, None, options, jobs=jobs, chosen=Chosen(), title="two").rows
        for jobs in (1, 2)
    )
    assert [row["case"] for row in two] == ["relu", "linear"]
    for mine, theirs in zip(one, two, strict=True):
        assert (
            mine["measured"] == pytest.approx(theirs["measured"], rel=1e-6)
            and mine["verdict"] == theirs["verdict"]
        )
    capfd.readouterr()
    with pytest.raises(Diverged, match="diverged at application 3"):
        raise pickle.loads(pickle.dumps(Diverged(3)))

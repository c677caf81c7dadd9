"""Command lines that nobody meant end with one line and exit code 2, never with a traceback or a
verdict's code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from malformed import Malformed, folder

import sigprop
from sigprop.cli import run

VERDICTS = {"verify", "check", "figures"}


@pytest.fixture
def paths(calls: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Strange paths, in a folder of their own, which is where every command works; nothing heavy
    is behind any command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sigprop.cli.figure_runs.every", lambda *_: [])
    monkeypatch.setattr("sigprop.agreement.cases.every", list)
    monkeypatch.setattr("sigprop.agreement.cases.registered", lambda _: [])
    return folder(tmp_path)


@pytest.mark.parametrize("seed", range(4))
def test_malformed_command_lines(seed: int, paths: list[str], capfd: pytest.CaptureFixture[str]):
    codes = set()
    for words in Malformed(seed, paths).lines(100):
        code = run(words)
        out, err = capfd.readouterr()
        shown = [word[:60] for word in words]
        assert code in (0, 2) or (code in (1, 3) and words[0] in VERDICTS), (
            shown,
            code,
            err[-300:],
        )
        assert "Traceback" not in err and "Traceback" not in out, shown
        assert code != 2 or (
            len(err.splitlines()) == 1 and err.startswith("sigprop: ") and len(err) < 2100
        ), (shown, err[:300])
        codes.add(code)
    assert {0, 2} <= codes


NAMES = [
    "self",
    "cls",
    "name",
    "given",
    "builder",
    "base",
    "target",
    "optimizer",
    "init",
    "parameters",
    "arch",
    "class",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "command",
    ["predict mlp", "prescribe mlp --base width=8 --target width=16", "verify --against mlp mlp"],
)
def test_names_that_python_uses_are_unknown_parameters(
    name: str, command: str, calls: list, capfd: pytest.CaptureFixture[str]
):
    option = "--against-set" if "--against" in command else "--set"
    assert run([*command.split(), option, f"{name}=1"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert f"parameter {name!r}" in line or (name == "init" and "of the base" in line)


class Odd(Exception):
    """Something that nobody expects."""


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_an_error_of_ours_is_one_line_and_exit_code_70(
    debug: bool, first: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def fail(*_: object, **__: object) -> None:
        raise Odd("two\nlines")

    monkeypatch.setattr(sigprop, "predict", fail, raising=False)
    words = ["predict", "mlp"]
    assert run((["--debug", *words] if first else [*words, "--debug"]) if debug else words) == 70
    out, err = capfd.readouterr()
    *before, line = err.splitlines()
    says = (
        "please report it with the command line in the project's issue tracker; --debug shows "
        "the traceback"
    )
    assert out == "" and line == f"sigprop: an error of ours: Odd: two lines; {says}"
    assert bool(before) == debug and (not debug or before[0].startswith("Traceback"))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "out of memory"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes."),
            "out of memory (RESOURCE_EXHAUSTED",
        ),
        (
            FileNotFoundError(2, "No such file or directory", "x.csv"),
            "'x.csv': No such file or directory; accepted",
        ),
    ],
)
def test_what_the_machine_refuses_is_no_error_of_ours(
    error: Exception, says: str, monkeypatch: Any, capfd: pytest.CaptureFixture[str]
):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(sigprop, "predict", fail, raising=False)
    assert run(["predict", "mlp"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert says in line

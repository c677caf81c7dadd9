"""docs/real-models.md, run as it stands: the file that it shows, its commands, its Python."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from documents import ROOT, python, shell

import sigprop as sp
from sigprop.cli import run

torch = pytest.importorskip("torch")
PAGE = ROOT / "docs" / "real-models.md"
QUICK = " --set vocab_size=500 --set n_embd=64 --set n_head=2 --tokens 4 --seeds 2"
"""What makes GPT-2 small enough to run here."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's file in it."""
    (file,) = [code for code in python(PAGE) if "def build" in code]
    (tmp_path / "mymodel.py").write_text(file, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", shell(PAGE), ids=lambda command: command.text)
def test_the_commands_run(command: Any, folder: Path, capfd: pytest.CaptureFixture[str]):
    """Confirmed or inconclusive: what the page shows is no model with a fault."""
    if "--hf" in command.words:
        pytest.importorskip("transformers")
        command.words.extend(QUICK.split())
    assert run(command.words[1:]) in (0, 3)
    assert "verdict: " in capfd.readouterr().out


def test_the_python_runs(folder: Path):
    """The session after the file: a reading, its prediction, the module beside it."""
    known = runpy.run_path(str(folder / "mymodel.py")) | {"sp": sp}
    (session,) = [code for code in python(PAGE) if "sp.read(build" in code]
    file = folder / "session.py"
    file.write_text(session, encoding="utf-8")
    table = runpy.run_path(str(file), known)["table"]
    assert table.verdict in ("confirmed", "inconclusive") and len(table) == 3 * 5 + 4

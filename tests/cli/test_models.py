"""A model where a command takes a name: a description of the user's file, a module (extra: torch),
a configuration (extra: hf)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sigprop.cli import run

OWN = """
import sigprop as sp

def build():
    branch = sp.Linear("x", sp.Activate("relu", sp.Linear("w", sp.Read(), 1.0)), 2.0)
    block = sp.SubBlock(sp.Normalise(sp.State()), branch, sp.State() + sp.Write())
    return sp.Architecture("mine", (block,), range(3))

def number():
    return 3
"""
MODULE = """
import torch
from torch import nn

class Layer(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.norm, self.x = nn.RMSNorm(n), nn.Linear(n, n, bias=False)
        nn.init.normal_(self.x.weight, std=n**-0.5)
    def forward(self, x):
        return x + self.x(self.norm(x))

def build():
    return nn.Sequential(Layer(32), Layer(32))

def example():
    return torch.ones(1, 1, 32)
"""
ROWS = ["--quantity", "residual_variance", "--json"]


def values(*words: str, capsys: pytest.CaptureFixture[str]) -> list[float]:
    """The last token's states of a command's JSON."""
    assert run([*words, *ROWS]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    last = found["rows"][-1]["token"]
    return [row["value"] for row in found["rows"] if row["token"] == last]


def test_a_description_of_the_users_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """h' = h + f of unit gain: 1, 2, 3, 4; measured within 3 of 40 networks' standard errors."""
    file = tmp_path / "own.py"
    file.write_text(OWN)
    name = f"{file}:build"
    assert values("predict", name, capsys=capsys) == pytest.approx([1, 2, 3, 4], rel=1e-10)
    measured = values("measure", name, "--samples", "40", "--width", "64", capsys=capsys)
    assert measured == pytest.approx([1, 2, 3, 4], rel=0.25)
    assert run(["derive", name]) == 0
    assert "G(a + 1, b)" in capsys.readouterr().out


def test_a_module_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("torch")
    file = tmp_path / "module.py"
    file.write_text(MODULE)
    found = values("predict", f"{file}:build", capsys=capsys)
    assert found == pytest.approx([1, 2, 3], rel=1e-5)  # float32's epsilon in the norm


def test_a_configuration_is_read(capsys: pytest.CaptureFixture[str]):
    """As ``--set`` changes it; tokens are those of the example."""
    pytest.importorskip("transformers")
    words = ["predict", "hf:gpt2", "--set", "n_layer=1", "--set", "n_embd=64", "--set", "n_head=1"]
    found = values(*words, "--set", "tokens=3", capsys=capsys)
    assert len(found) == 3 and found[0] == pytest.approx(2 * 0.02**2, rel=1e-6)


def refusals(folder: Path) -> dict[str, tuple[list[str], str]]:
    file = folder / "own.py"
    file.write_text(OWN)
    return {
        "no module": (["predict", f"{file}:number"], "returns int; accepted: a function that"),
        "no file": (["predict", "lacking.py:build"], "accepted: FILE.py:function, of a file"),
        "fields of a file": (["predict", f"{file}:build", "--set", "depth=3"], "set: 'depth'"),
        "tokens": (["predict", f"{file}:build", "--set", "tokens=x"], "tokens='x'; accepted"),
        "no family": (["exponents", f"{file}:build"], "accepted: family="),
    }


@pytest.mark.parametrize(
    "case", ["no module", "no file", "fields of a file", "tokens", "no family"]
)
def test_what_names_no_model_is_refused(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """One line, exit code 2."""
    words, says = refusals(tmp_path)[case]
    assert run(words) == 2
    said = capsys.readouterr().err.strip()
    assert says in said and len(said.splitlines()) == 1

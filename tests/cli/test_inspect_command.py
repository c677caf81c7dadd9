"""``sigprop inspect``: a user's file or a configuration in, a judged table and an exit code out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sigprop.cli import run

torch: Any = pytest.importorskip("torch")

FILE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Linear(256, 256, bias=False)
        nn.init.normal_(self.w.weight, std=1 / 16)
    def forward(self, x):
        return x + self.w(torch.tanh(x))

calls = 0

def build():
    return Net()

def changed():
    # what is read is built first, what is measured after it
    global calls
    calls += 1
    net = Net()
    if calls > 1:
        with torch.no_grad():
            net.w.weight.mul_(2)
    return net

def refused():
    net = Net()
    nn.init.eye_(net.w.weight)
    return net

class Sorted(Net):
    def forward(self, x):
        return x + self.w(torch.sort(x, -1)[0])

def sort():
    return Sorted()

def example():
    return torch.randn(3, 256, generator=torch.Generator().manual_seed(0))
"""
FAST = ["--quantity", "residual_variance", "--seeds", "6"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "network.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    ("function", "code", "verdict"), [("build", 0, "confirmed"), ("changed", 1, "rejected")]
)
def test_a_file_is_read_measured_and_judged(
    file: Path, capfd: pytest.CaptureFixture[str], function: str, code: int, verdict: str
):
    """The verdict is the exit code; the table says which module every row is of."""
    assert run(["inspect", f"{file}:{function}", *FAST, "--json"]) == code
    out, err = capfd.readouterr()
    table = json.loads(out)
    assert table["verdict"] == verdict and err == ""
    assert [row["module"] for row in table["rows"]] == ["", "w"]


@pytest.mark.parametrize(
    ("function", "code", "verdict"), [("build", 3, "inconclusive"), ("changed", 1, "rejected")]
)
def test_one_network_is_judged_by_its_predicted_scatter(
    file: Path, capfd: pytest.CaptureFixture[str], function: str, code: int, verdict: str
):
    """Matrices of twice the deviation are seen by one network."""
    given = ["inspect", f"{file}:{function}", "--quantity", "write_variance", "--scatter"]
    assert run([*given, "--json"]) == code
    out, err = capfd.readouterr()
    table = json.loads(out)
    assert table["verdict"] == verdict and ("first outside" in err) is bool(code == 1)
    assert [row["module"] for row in table["rows"]] == ["w"]
    assert run([*given, "--against", f"{file}:build"]) == 2
    assert "against: accepted: without --scatter" in capfd.readouterr().err


def test_an_operation_without_a_rule_is_tried_where_allowed(
    file: Path, capfd: pytest.CaptureFixture[str]
):
    """Refused in a line that names the option; with it, judged, and said."""
    assert run(["inspect", f"{file}:sort", *FAST]) == 2
    assert "--sampled" in capfd.readouterr().err
    assert run(["inspect", f"{file}:sort", *FAST, "--sampled", "--json"]) == 0
    table = json.loads(capfd.readouterr().out)
    assert table["verdict"] == "confirmed"
    assert any("tried on Gaussian tokens" in line for line in table["remarks"])


def test_the_table_is_printed(file: Path, capfd: pytest.CaptureFixture[str]):
    """Without --json a person reads it: the name, the verdict, the path."""
    assert run(["inspect", f"{file}:build", *FAST]) == 0
    out, _ = capfd.readouterr()
    assert "Net" in out and "confirmed" in out and "residual_variance" in out


BAD: dict[str, tuple[list[str], str]] = {
    "no model": ([], "FILE.py:function, a folder, or --hf TYPE"),
    "two models": (["{file}:build", "--hf", "gpt2"], "FILE.py:function, a folder, or --hf TYPE"),
    "no function": (["{file}:biuld"], "did you mean 'build'?"),
    "no colon": (["{file}"], "FILE.py:function"),
    "a change of a file": (["{file}:build", "--set", "n_layer=2"], "fields of hf:TYPE"),
    "no pair": (["--hf", "gpt2", "--set", "n_layer"], "key=value"),
    "quantity": (["{file}:build", "--quantity", "ntk"], "quantities='ntk'"),
    "one network": (["{file}:build", "--seeds", "1"], "seeds"),
    "no law": (["{file}:refused"], "w.weight: its law is"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(file: Path, capfd: pytest.CaptureFixture[str], name: str):
    """Exit code 2, nothing on stdout, one line that says what would do."""
    words, expected = BAD[name]
    assert run(["inspect", *(word.format(file=file) for word in words)]) == 2
    out, err = capfd.readouterr()
    assert out == "" and expected in err and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--hf", "gtp2"], "did you mean 'gpt2'?"),
        (["--hf", "gpt2", "--set", "n_layers=2"], "'n_layers' is no field of GPT2Config"),
        (["--hf", "gpt2", "--set", "n_layer=two"], "n_layer='two'; accepted: int"),
    ],
)
def test_bad_configurations_are_one_line(
    capfd: pytest.CaptureFixture[str], words: list[str], expected: str
):
    """The kind or the field, and what is close to it."""
    pytest.importorskip("transformers")
    assert run(["inspect", *words]) == 2
    out, err = capfd.readouterr()
    assert out == "" and expected in err and len(err.strip().splitlines()) == 1


def test_a_missing_package_is_one_line(
    file: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """The extra that installs it is named."""
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run(["inspect", f"{file}:build"]) == 2
    assert "pip install 'sigprop[torch]'" in capfd.readouterr().err


def test_a_folder_with_trained_weights(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """Rows without a verdict, and exit code 0."""
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_layer=1, n_embd=64, n_head=2, vocab_size=200)
    transformers.GPT2Model(config).save_pretrained(tmp_path)
    words = ["inspect", str(tmp_path), "--tokens", "3", "--quantity", "residual_variance"]
    assert run([*words, "--json"]) == 0
    out, _ = capfd.readouterr()
    table = json.loads(out[out.index("{") :])
    assert len(table["rows"]) == 3 and table.get("verdict") is None


def test_two_widths(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """The file's functions take the width; what is measured is extrapolated."""
    path = tmp_path / "sized.py"
    path.write_text(
        FILE.replace("def __init__(self):", "def __init__(self, n=256):")
        .replace("nn.Linear(256, 256, bias=False)", "nn.Linear(n, n, bias=False)")
        .replace("std=1 / 16", "std=n**-0.5")
        .replace("def build():\n    return Net()", "def build(n):\n    return Net(n)")
        .replace("def example():", "def example(n):")
        .replace("torch.randn(3, 256,", "torch.randn(3, n,")
    )
    words = ["--widths", "128,256", "--quantity", "residual_variance", "--seeds", "24", "--json"]
    assert run(["inspect", f"{path}:build", *words]) == 0
    table = json.loads(capfd.readouterr()[0])
    assert table["widths"] == [128, 256] and table["verdict"] == "confirmed"
    for bad in ("128", "128,x"):
        assert run(["inspect", f"{path}:build", "--widths", bad]) == 2
        assert "widths=" in capfd.readouterr()[1]

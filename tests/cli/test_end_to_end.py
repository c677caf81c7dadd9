"""The commands with nothing replaced: theory and networks behind them, their documents, files
and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sigprop.cli import run

ROOT = Path(__file__).parents[2]
SMALL = "looped-mlp --set depth=1 --set loops=2 --set matrices=1"
FEW = "--width 16 --samples 8 --seed 4"
LADDER = "--quantity residual_variance --applications 1,2 --quick"


def out_of(words: str, capfd: pytest.CaptureFixture[str], code: int = 0) -> tuple[str, str]:
    assert run(words.split()) == code
    found = capfd.readouterr()
    return found.out, found.err


def document(words: str, capfd: pytest.CaptureFixture[str], code: int = 0) -> dict:
    """The one JSON document on stdout; numbers are strict JSON's."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in JSON")

    out, _ = out_of(words + " --json", capfd, code)
    return json.loads(out, parse_constant=refuse)


def test_predict_of_a_width_without_shifts_over_tokens(capfd: pytest.CaptureFixture[str]):
    """The scatter of the mean over tokens is below the tokens' own mean scatter."""
    words = "predict residual-mlp --set depth=1 --set tokens=2 --quantity residual_variance"
    words += " --applications 1 --width 64 --no-shift"
    each = document(words, capfd)["rows"]
    (mean,) = document(words + " --over-tokens", capfd)["rows"]
    assert "token" not in mean and not any("shift" in name for name in mean)
    assert 0 < mean["sd"] < sum(row["sd"] for row in each) / 2
    assert mean["value"] == pytest.approx(sum(row["value"] for row in each) / 2)


def test_list(capfd: pytest.CaptureFixture[str]):
    out, err = out_of("list", capfd)
    assert (
        all(
            word in out
            for word in ("looped-mlp", "residual-mlp", "mlp", "residual_scale", "weight_gradient")
        )
        and err == ""
    )
    assert {entry["name"] for entry in document("list", capfd)["architectures"]} >= {
        "looped-mlp",
        "residual-mlp",
        "mlp",
    }


def test_derive(capfd: pytest.CaptureFixture[str], tmp_path: Path):
    found = document(f"derive {SMALL}", capfd)
    assert (
        found["equations"]
        and all({"name", "latex", "sympy"} <= set(equation) for equation in found["equations"])
        and "closed_form" in found
    )
    latex, _ = out_of(f"derive {SMALL} --latex --out {tmp_path / 'x.tex'}", capfd)
    assert r"\delta" in latex or "=" in latex
    assert (tmp_path / "x.tex").read_text().strip() == latex.strip()


def test_derive_at_finite_width(capfd: pytest.CaptureFixture[str]):
    """Equations of the case, or exit code 2 and one line that names all cases."""
    found = document("derive mlp --finite-width", capfd)
    assert found["case"] == "feed-forward, relu"
    assert {"n_variance", "n_shift"} <= {equation["name"] for equation in found["equations"]}
    assert run(["derive", "looped-mlp", "--finite-width"]) == 2
    out, err = capfd.readouterr()
    assert not out and err.startswith("sigprop: finite_width: ") and len(err.splitlines()) == 1


def test_predict(capfd: pytest.CaptureFixture[str], tmp_path: Path):
    """q_2 of a tied unit-gain stack by hand: linear branch, eps = 1/2: w_1, w_2 overlap by <h_0,
    h_1>/(|h_0||h_1|)."""
    words = "predict looped-mlp --set loops=2 --set activation=linear --quantity residual_variance"
    found = document(words, capfd)
    assert (found["architecture"], found["parameters"]["loops"]) == ("looped-mlp", 2)
    q1 = 1 + 0.25
    # <f_0, f_1> = <r_0, r_1> = 1/sqrt(q1), and <h_1, f_1> = eps <f_0, f_1>
    q2 = q1 + 0.25 + 2 * 0.25 / q1**0.5
    assert [row["value"] for row in found["rows"]] == pytest.approx([1, q1, q2], rel=1e-12)
    assert {"value", "log_value", "error", "status", "assumes"} <= set(found["rows"][0])
    out, err = out_of(f"{words} --applications 2 --out {tmp_path / 'q.csv'}", capfd)
    assert f"{q2:.5g}" in out and err == f"wrote 1 rows to {tmp_path / 'q.csv'}\n"
    assert str(q2)[:10] in (tmp_path / "q.csv").read_text()


def test_measure_says_the_same_twice_and_other_things_at_another_seed(
    capfd: pytest.CaptureFixture[str],
):
    found = document(f"measure {SMALL} {FEW}", capfd)
    assert all(
        row["samples"] == 8 and row["width"] == 16 and row["se"] >= 0 for row in found["rows"]
    )
    (engine,) = {row["engine"] for row in found["rows"]}
    assert document(f"measure {SMALL} {FEW} --engine {engine}", capfd) == found
    assert (
        document(f"measure {SMALL} --width 16 --samples 8 --seed 5", capfd)["rows"] != found["rows"]
    )


def test_measure_of_a_network_that_overflows(capfd: pytest.CaptureFixture[str]):
    found = document(
        "measure residual-mlp --set norm=none --set residual_scale=1e30 --set depth=3 " + FEW, capfd
    )
    assert (
        found["diverged"].startswith("networks diverged at application 1")
        and found["rows"][0]["value"] is not None
    )
    assert any(row["value"] is None for row in found["rows"])


def test_verify_confirms_a_true_theory(capfd: pytest.CaptureFixture[str], tmp_path: Path):
    found = document(f"verify {SMALL} {LADDER} --out {tmp_path / 'verdict.json'}", capfd)
    assert (
        found["verdict"] == "confirmed"
        and json.loads((tmp_path / "verdict.json").read_text())["verdict"] == "confirmed"
    )
    keys = {
        "theory",
        "measured",
        "scale",
        "deviation",
        "lower",
        "upper",
        "tolerance",
        "slope",
        "slope_se",
        "verdict",
    }
    assert all(keys <= set(row) and row["tolerance"] == 0.05 for row in found["rows"])


def test_verify_against_another_theory_rejects_it(capfd: pytest.CaptureFixture[str]):
    """The companion: the untied theory of the same network (residual_scale=1, so the two differ
    by far)."""
    words = f"verify {SMALL} --set residual_scale=1 {LADDER}"
    assert document(f"{words} --against residual-mlp", capfd, code=1)["verdict"] == "rejected"
    assert document(words, capfd, code=0)["verdict"] == "confirmed"


def test_the_untied_theory_of_a_looped_network_is_rejected_with_every_quantity_it_has(
    capfd: pytest.CaptureFixture[str],
):
    """The README's own line, at 5 %: no quantity is named, so those are judged that theory has
    for both."""
    found = document("verify looped-mlp --against residual-mlp --quick", capfd, code=1)
    assert found["verdict"] == "rejected" and found["theory"] == "residual-mlp"
    quantities = {row["quantity"] for row in found["rows"]}
    assert quantities == {"residual_variance", "state_cosine", "write_cosine", "gradient_variance"}


def test_verify_with_too_few_networks_is_inconclusive(capfd: pytest.CaptureFixture[str]):
    found = document(
        f"verify {SMALL} --quantity residual_variance --tolerance 0.001 --samples 4 --width 16",
        capfd,
        code=3,
    )
    assert found["verdict"] == "inconclusive"


@pytest.mark.parametrize(
    "words",
    [
        "measure looped-mlp --width none",
        "predict looped-mlp --set loops=0",
        "verify mlp --quantity token_covariance",
    ],
)
def test_bad_input(words: str, capfd: pytest.CaptureFixture[str]):
    out, err = out_of(words, capfd, code=2)
    assert (
        out == ""
        and len(err.splitlines()) == 1
        and err.startswith("sigprop: ")
        and "accepted" in err
    )


def test_out_replaces_a_file_whole_or_not_at_all(capfd: pytest.CaptureFixture[str], tmp_path: Path):
    """Bad input and a network that cannot be built leave the old file; a run replaces it and
    leaves no other file."""
    path = tmp_path / "rows.json"
    path.write_text("old")
    out_of(f"measure {SMALL} --width 16 --samples 1 --out {path}", capfd, code=2)
    out_of(f"measure {SMALL} --set input_gram=/nowhere.csv {FEW} --out {path}", capfd, code=2)
    assert path.read_text() == "old"
    out_of(f"measure {SMALL} {FEW} --out {path}", capfd)
    assert len(json.loads(path.read_text())["rows"]) > 4 and os.listdir(tmp_path) == ["rows.json"]


@pytest.mark.parametrize("before", [None, "old"])
def test_an_interrupt_leaves_no_file_or_the_old_one(before: str | None, tmp_path: Path):
    """Ctrl-C while networks are being measured: exit code 130, one line, nothing half-written."""
    path = tmp_path / "rows.json"
    if before is not None:
        path.write_text(before)
    words = f"measure {SMALL} --width 64 --samples 100000000 --out {path}".split()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    code = "import signal, sys, sigprop.simulations.engines.monte_carlo as m\nchunks = m.chunks\n"
    # a shell's background jobs ignore it, and so would this
    code += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += (
        "def said(*a, **k):\n    for i, c in enumerate(chunks(*a, **k)):\n        if i == 1: "
        "print('measuring', flush=True)\n        yield c\n"
    )
    code += "m.chunks = said\nfrom sigprop.cli import run\nsys.exit(run(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "measuring\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert (
        err.splitlines()[-1] == "sigprop: interrupted; nothing was written"
        and "Traceback" not in err
    )
    assert os.listdir(tmp_path) == ([] if before is None else ["rows.json"])
    assert before is None or path.read_text() == before

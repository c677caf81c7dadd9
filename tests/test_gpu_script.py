"""``benchmarks/gpu.sh``: what it says, writes and returns, with a Python that only pretends; the
steps themselves with ``-m long``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu.sh"
STEPS = ("device", "law", "engines", "predict", "verify", "same")
PRETENDER = """#!/bin/bash
case "$*" in
  *find_spec*) exit 0 ;;
esac
echo "$*"
{}
exit 0
"""
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="bash")


def ran(
    folder: Path, *words: str, cases: str = "", script: Path = SCRIPT, python: str | None = None
) -> subprocess.CompletedProcess[str]:
    """The script with a Python that prints what it is asked for, and then does as ``cases`` (of
    bash) say."""
    if python is None:
        pretender = folder / "python"
        pretender.write_text(PRETENDER.format(cases))
        pretender.chmod(0o755)
        python = str(pretender)
    settings = os.environ | {"PYTHON": python, "OUT": str(folder / "results")}
    return subprocess.run(
        [str(script), *words], capture_output=True, text=True, check=False, env=settings
    )


def test_it_is_bash():
    done = subprocess.run(["bash", "-n", SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [["--smal"], ["small"], ["--small", "extra"], [""]])
def test_other_options_are_refused(words: list[str], tmp_path: Path):
    done = ran(tmp_path, *words)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.count("\n") == 1 and "accepted: --small" in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path):
    (tmp_path / "results").write_text("a file")
    done = ran(tmp_path)
    assert done.returncode == 64 and done.stderr.count("\n") == 1
    assert "accepted: a folder that can be written" in done.stderr


def test_every_step_runs_and_what_it_prints_is_kept(tmp_path: Path):
    done = ran(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    kept = (tmp_path / "results" / "results.txt").read_text()
    assert kept == done.stdout and "failed: none (exit code 0)" in kept
    assert [line.split()[1] for line in kept.splitlines() if "(at most" in line] == list(STEPS)
    assert "--small" not in kept and (tmp_path / "results" / "law.log").read_text() == ""


def test_what_fails_does_not_stop_the_others_and_is_in_the_exit_code(tmp_path: Path):
    """The sum of the steps' numbers; the last line of what a step said on stderr is shown."""
    cases = 'case "$*" in *"gpu.py law"*) echo beside >&2; exit 1 ;; *verify*) exit 2 ;; esac'
    done = ran(tmp_path, "--small", cases=cases)
    assert done.returncode == 1 + 8
    assert "law: failed (1)" in done.stdout and "beside" in done.stdout
    assert "failed: law verify (exit code 9)" in done.stdout
    assert done.stdout.count("--small") == 1 + 5 and "engines.py --lines" in done.stdout


def test_without_an_accelerator_the_rest_is_small(tmp_path: Path):
    done = ran(tmp_path, cases='case "$*" in *"gpu.py device"*) exit 3 ;; esac')
    asked = [line for line in done.stdout.splitlines() if "gpu.py" in line]
    assert done.returncode == 32 and ["--small" in line for line in asked] == [False] + [True] * 4


def test_what_hangs_is_stopped_and_the_next_step_runs(tmp_path: Path):
    """With seconds for minutes: also what does not end when it is told to."""
    text = SCRIPT.read_text()
    short = text.replace("TOTAL=465", "TOTAL=12").replace("GRACE=5", "GRACE=1")
    for seconds in (40, 120, 110, 75, 70):
        short = short.replace(f"]={seconds}", "]=2")
    script = tmp_path / "benchmarks" / "gpu.sh"
    script.parent.mkdir()
    script.write_text(short)
    script.chmod(0o755)
    hanging = 'case "$*" in *"gpu.py law"*) trap "" TERM; sleep 60 & wait; sleep 60 ;; esac'
    done = ran(tmp_path, cases=hanging, script=script)
    assert done.returncode == 1
    assert "law: stopped after" in done.stdout and "same: done" in done.stdout


@pytest.mark.long
def test_the_steps_on_this_device(tmp_path: Path):
    """Some two minutes of two cores; every result names the device."""
    done = ran(tmp_path, "--small", python=sys.executable)
    assert done.returncode == 0, done.stdout
    lines = (tmp_path / "results" / "results.jsonl").read_text().splitlines()
    results = [json.loads(line) for line in lines]
    assert {one["step"] for one in results} == {*STEPS, "limits"}
    assert all(one["device"] for one in results)
    assert all(one["fraction_of_bandwidth"] > 0 for one in results if one["step"] == "engines")

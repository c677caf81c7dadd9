"""Streams that are closed or full, and terminals of no size: one line at most, and no exit code
that means a verdict."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FULL = "stdout: No space left on device"


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``sigprop`` in a shell."""
    command = line.replace("sigprop", f"{sys.executable} -m sigprop")
    return subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
        timeout=120,
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux's")
@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("sigprop list > /dev/full", 2, FULL),
        ("sigprop --help > /dev/full", 2, FULL),
        ("sigprop list >&-", 2, "stdout is closed"),
        ("sigprop predict mlp --set depth=0 2>&-", 2, ""),
        ("sigprop predict mlp --set depth=0 2>/dev/full", 2, ""),
        ("sigprop list --json >&- 2>&-", 2, ""),
        ("sigprop list <&- > /dev/null", 0, ""),
        ("sigprop list | head -1 > /dev/null", 0, ""),
    ],
)
def test_closed_and_full_streams(line: str, code: int, says: str):
    done = shell(line)
    assert (done.returncode, done.stdout) == (code, "")
    assert len(done.stderr.splitlines()) == bool(says) and says in done.stderr


@pytest.mark.parametrize("columns", ["0", "1", "abc", "-5", "\u00b2", "999999999", ""])
def test_help_on_a_terminal_of_no_size(columns: str):
    done = shell("sigprop --help", COLUMNS=columns, LINES=columns)
    assert done.returncode == 0 and done.stderr == "" and len(done.stdout) < 10**5
    assert all(
        code in "".join(done.stdout.split())
        for code in ("70anerrorofours", "130interrupted", "--debug")
    )


def test_output_that_the_encoding_has_not():
    assert shell("sigprop --help", PYTHONIOENCODING="ascii").returncode == 0

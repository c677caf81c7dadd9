"""The progress bar on a terminal: shown on stderr, and what is printed beside it still reaches
stdout where that is a file or a pipe."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

COMMAND = [
    sys.executable,
    "-m",
    "sigprop",
    "figures",
    "width-schedule",
    "width-costs",
    "--quick",
    "--jobs",
    "2",
    "--formats",
    "png",
]


def test_lines_reach_stdout_beside_a_bar_on_stderr(tmp_path: Path):
    lead, terminal = os.openpty()
    shown: list[bytes] = []
    # a terminal that nobody reads fills up and blocks
    reader = threading.Thread(target=drained, args=(lead, shown))
    reader.start()
    given: dict[str, Any] = {
        "stdout": subprocess.PIPE,
        "stderr": terminal,
        "text": True,
        "timeout": 300,
        "env": {**os.environ, "TERM": "xterm"},
    }
    try:
        done = subprocess.run([*COMMAND, "--out", str(tmp_path)], **given)
    finally:
        os.close(terminal)
        reader.join()
        os.close(lead)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 4
    assert (
        lines[0].startswith("2 to make, about ")
        and lines[-1] == f"verdict: confirmed; 2 figures with tables in {tmp_path}"
    )
    assert {line.split()[0] for line in lines[1:-1]} == {"width-schedule", "width-costs"}
    assert b"figures" in b"".join(shown) and b"2/2" in b"".join(shown)


def drained(terminal: int, into: list[bytes]) -> None:
    """All that is written to a terminal, until its other end is closed."""
    while True:
        try:
            part = os.read(terminal, 1 << 16)
        except OSError:  # what Linux says instead of an end of file
            return
        if not part:
            return
        into.append(part)

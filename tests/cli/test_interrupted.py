"""Ctrl-C while other processes work: one line, exit code 130, at once, and none of them left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PATIENCE = 60.0  # seconds until the processes have begun; generous, the machine may be busy
COMMAND = [sys.executable, "-m", "sigprop", "figures", "looped-cosines", "looped-factored", "--quick", "--jobs", "2"]


def test_an_interrupt_ends_the_processes_too(tmp_path: Path):
    """As a terminal does, the signal goes to the whole group; no worker outlives the command, and none prints a traceback."""
    command = subprocess.Popen([*COMMAND, "--out", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert command.stdout is not None and "2 to make" in command.stdout.readline()
    begun = time.monotonic()
    while len(members(command.pid)) < 3 and time.monotonic() - begun < PATIENCE:
        time.sleep(0.1)
    assert len(members(command.pid)) >= 3  # the command, the processes' tracker or the first worker, a worker
    time.sleep(2.0)
    os.killpg(command.pid, signal.SIGINT)
    _, said = command.communicate(timeout=PATIENCE)
    assert command.returncode == 130
    assert said.splitlines() == [f"sigprop: interrupted; {tmp_path} keeps what is done, and the same command continues"]
    assert not list(tmp_path.glob("*.json"))
    gone = time.monotonic()
    while members(command.pid) and time.monotonic() - gone < PATIENCE:
        time.sleep(0.1)
    assert members(command.pid) == []


def members(group: int) -> list[int]:
    """Living processes of a process group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, of = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of) == group and state != "Z":
            found.append(int(folder.name))
    return found

"""Ctrl-C at any moment: one line, exit code 130, at once, the terminal as it was, and no process
left behind."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sigprop.runtime import interrupts

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0  # seconds; generous, the machine may be busy
COMMAND = [
    sys.executable,
    "-m",
    "sigprop",
    "figures",
    "looped-cosines",
    "looped-factored",
    "--quick",
    "--jobs",
    "2",
]
EARLIEST = 0.05  # seconds: no command is through by then
MOST_SECONDS = 5.0  # until a command that is interrupted while it compiles has ended


def script() -> ModuleType:
    """benchmarks/interrupts.py."""
    found = importlib.util.spec_from_file_location(
        "benchmarks_interrupts", ROOT / "benchmarks" / "interrupts.py"
    )
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # where dataclasses look for it
    found.loader.exec_module(module)
    return module


tries = script()
SHORT = {
    "predict": (tries.COMMANDS["predict"], 3.0),
    "measure": (tries.COMMANDS["measure"], 3.0),
    "exponents": (tries.COMMANDS["exponents"], 3.0),
    "check": (tries.COMMANDS["check"], 3.0),
    "side by side": (tries.COMMANDS["verify all"], 3.0),
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("k", range(10))
def test_an_interrupt_at_a_random_moment(k: int):
    """Of the first seconds, in which modules are imported, programs compiled and processes
    started; every fourth to the command's process alone. Where a machine is through by then,
    half as late, until it is not."""
    name, (text, most) = list(SHORT.items())[k % len(SHORT)]
    moment = 0.0 if k == 0 else random.Random(k).uniform(0, most)
    command = tries.Command(name, text.split(), 0.0, most)
    found = tries.tried(command, moment, group=k % 4 != 3)
    while found.code == 0 and not found.fault and moment > EARLIEST:
        moment /= 2
        found = tries.tried(command, moment, group=k % 4 != 3)
    assert found.fault == "" and found.code == 130 and found.seconds < MOST_SECONDS, found


def test_a_fault_would_be_seen():
    """What interrupts looked like before: a traceback, a segmentation fault, a hidden cursor, a
    line too many."""
    line = "sigprop: interrupted; nothing was written"
    make = partial(fault, said=[line])
    assert make() == "" and make(code=0, said=[]) == ""
    assert (
        all("exit code" in make(code=code) for code in (139, -2, 70))
        and make(code=0) == "said, but went on"
        and "no end" in make(code=None)
    )
    assert (
        "traceback" in make(said=["Traceback (most recent call last):", line])
        and make(said=[line, "more"]) == "not one line"
    )
    assert (
        make(hidden=True) == "cursor hidden"
        and make(orphans=1) == "orphans"
        and make(half=["x"]) == "half written"
    )


def fault(code: int | None = 130, **found: Any) -> str:
    """Of a try that ended so."""
    return tries.Try("predict", 0.0, True, code=code, **found).fault


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_interrupt_ends_the_processes_too(tmp_path: Path):
    """As a terminal does, the signal goes to the whole group; no worker outlives the command,
    and none prints a traceback."""
    with started(tmp_path) as command:
        os.killpg(command.pid, signal.SIGINT)
        _, said = command.communicate(timeout=PATIENCE)
        assert command.returncode == 130
        assert said.splitlines() == [
            f"sigprop: interrupted; {tmp_path} keeps what is done, and the same command continues"
        ]
        assert not list(tmp_path.iterdir())
        assert alone(command.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_process_outlives_one_that_is_killed(tmp_path: Path):
    with started(tmp_path) as command:
        command.kill()
        command.wait(PATIENCE)
        assert alone(command.pid)


def started(folder: Path) -> subprocess.Popen[str]:
    """The command, once its processes work."""
    # one that is ignored would be so in the command too
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command = subprocess.Popen(
        [*COMMAND, "--out", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert command.stdout is not None and "2 to make" in command.stdout.readline()
    begun = time.monotonic()
    while len(tries.members(command.pid)) < 4 and time.monotonic() - begun < PATIENCE:
        time.sleep(0.1)
    # the command, the tracker of semaphores, two workers
    assert len(tries.members(command.pid)) == 4
    time.sleep(1.0)
    return command


def alone(session: int) -> bool:
    """Whether all processes of the session end."""
    begun = time.monotonic()
    while tries.members(session) and time.monotonic() - begun < PATIENCE:
        time.sleep(0.1)
    return tries.members(session) == []


def test_what_is_said_of_what_was_written(tmp_path: Path):
    from sigprop.tables.files import write

    interrupts.begin()
    assert interrupts.line() == "sigprop: interrupted; nothing was written"
    write(tmp_path / "x.json", "{}")
    assert interrupts.line() == f"sigprop: interrupted; {tmp_path / 'x.json'} was written before"
    assert not interrupts.State.temporaries and [path.name for path in tmp_path.iterdir()] == [
        "x.json"
    ]
    interrupts.keeps("the rest is kept", str(tmp_path))
    assert interrupts.line() == "sigprop: interrupted; the rest is kept"
    interrupts.begin()
    assert interrupts.line() == "sigprop: interrupted; nothing was written"


def test_libraries_and_their_tests_are_left_alone():
    """In this process nobody watches: an interrupt is an exception, as ever."""
    assert not interrupts.State.watching
    with pytest.raises(KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.raise_signal(signal.SIGINT)

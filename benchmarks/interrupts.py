"""Ctrl-C at random moments of every command, on a terminal of its own: what comes back, and what is
left behind.

    python benchmarks/interrupts.py --tries 200 --seed 0

A try starts a command in a session of its own whose controlling terminal is a new pseudo-terminal,
waits until the process blocks the signal (``sigprop.runtime.interrupts.watch``; earlier ones meet
Python before its first line of ours), then a moment uniform over the rest of the command's own time
(its first 20 seconds), and sends SIGINT: to the whole process group, as a terminal does, or in
every fourth try to the command's process alone. It must end with exit code 130 and one line on
stderr, the cursor visible, nothing half written, no process left; or, where it was through, with
its own code and no word of an interrupt. Exit code 1 if any does not.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pty
import random
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

SMALL = "--set depth=2 --set loops=4"
COMMANDS = {
    "predict": f"predict looped-mlp {SMALL} --out OUT/x.json",
    "exponents": "exponents mlp --sizes 2,4,8 --out OUT/x.json",
    "measure": f"measure looped-mlp {SMALL} --width 128 --samples 2000 --out OUT/x.json",
    "verify": "verify looped-mlp --set depth=1 --set loops=2 --quick --quantity residual_variance "
    "--out OUT/x.json",
    "verify all": "verify vanilla --all --quick --jobs 2 --samples 8 --quantity residual_variance "
    "--out OUT/x.json",
    "check": "check looped-mlp --set depth=1 --set loops=2 --steps 1 --variable width --out "
    "OUT/x.json",
    "figures": "figures nag-schedules nag-rotation --quick --jobs 2 --formats png"
    " --out OUT/figures",
}
LONGEST = 120.0  # seconds until a try is given up
LATEST = 20.0  # seconds: longer commands go on as they are
ALONE = 4  # every so many tries the signal goes to the process alone
HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"
SEQUENCE = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")
LINE = re.compile(r"sigprop: interrupted; .+")


class Command(NamedTuple):
    """A command, and how long it takes: seconds until it blocks the signal, and from there to
    its end."""

    name: str
    words: list[str]
    begins: float
    lasts: float


@dataclass
class Try:
    """What came of one interrupt."""

    name: str
    at: float
    group: bool
    code: int | None = None
    said: list[str] = field(default_factory=list)
    hidden: bool = False
    orphans: int = 0
    half: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def fault(self) -> str:
        """Why it is not what an interrupt should be; empty where it is."""
        lines = [line for line in self.said if LINE.fullmatch(line)]
        faults = {
            "no end": self.code is None,
            "traceback": any("Traceback" in line for line in self.said),
            "cursor hidden": self.hidden,
            "orphans": self.orphans > 0,
            "half written": bool(self.half),
            "not one line": self.code == 130 and (len(lines) != 1 or self.said[-1:] != lines),
            "exit code": self.code not in (130, 0, 1, 3),
            "said, but went on": self.code != 130 and bool(lines),
        }
        return ", ".join(name for name, found in faults.items() if found)


def blocks(pid: int) -> bool:
    """Whether the process's main thread blocks SIGINT."""
    try:
        (mask,) = (
            line.split()[1]
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if line.startswith("SigBlk")
        )
    except (OSError, ValueError):
        return False
    return bool(int(mask, 16) >> (signal.SIGINT - 1) & 1)


def members(session: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, of = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state != "Z":
            found.append(int(folder.name))
    return found


class Terminal:
    """A pseudo-terminal, its contents, and a command on it: stderr (the bar, the line) on the
    terminal, stdout in a file."""

    def __init__(self, words: list[str], stdout: Path):
        self.lead, end = pty.openpty()
        self.shown = b""
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "JAX_PLATFORMS": "cpu"}
        # one that is ignored would be so in the command too
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with stdout.open("wb") as file:
            command = [sys.executable, "-m", "sigprop", *words]
            self.process = subprocess.Popen(
                command, stdin=end, stdout=file, stderr=end, start_new_session=True, env=environment
            )
        os.close(end)

    def read(self, seconds: float) -> None:
        """Take in what is shown, for so long at most."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([self.lead], [], [], min(left, 0.01))[0]:
                with contextlib.suppress(OSError):  # what Linux says instead of an end of file
                    self.shown += os.read(self.lead, 1 << 16)
            if self.process.poll() is not None:
                return

    def until_blocked(self) -> bool:
        """Wait until the process blocks the signal; False where it ends before."""
        while self.process.poll() is None:
            if blocks(self.process.pid):
                return True
            time.sleep(0.0005)
        return False

    def close(self) -> None:
        """Read the rest."""
        while select.select([self.lead], [], [], 0.05)[0]:
            try:
                part = os.read(self.lead, 1 << 16)
            except OSError:
                break
            if not part:
                break
            self.shown += part
        os.close(self.lead)


def timed(name: str, text: str) -> Command:
    """The command, after one run that nobody interrupts."""
    with tempfile.TemporaryDirectory() as folder:
        terminal = Terminal(text.replace("OUT", folder).split(), Path(folder, "stdout"))
        started = time.monotonic()
        terminal.until_blocked()
        begun = time.monotonic()
        terminal.read(LONGEST)
        ended = time.monotonic()
        terminal.close()
    return Command(name, text.split(), begun - started, min(ended - begun, LATEST))


def tried(command: Command, at: float, group: bool) -> Try:
    """One interrupt, ``at`` seconds after the process began to block the signal."""
    with tempfile.TemporaryDirectory() as folder:
        terminal = Terminal(
            [word.replace("OUT", folder) for word in command.words], Path(folder, "stdout")
        )
        process = terminal.process
        terminal.until_blocked()
        terminal.read(at)
        sent = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
        terminal.read(LONGEST)
        found = Try(command.name, at, group, process.poll(), seconds=time.monotonic() - sent)
        time.sleep(0.3)  # the tracker of semaphores cleans up
        orphans = members(process.pid)
        found.orphans = len(orphans)
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        terminal.close()
        found.half = [str(path) for path in Path(folder).rglob(".*.tmp")]
    found.hidden = terminal.shown.rfind(HIDE) > terminal.shown.rfind(SHOW)
    text = SEQUENCE.sub(b"", terminal.shown.rpartition(b"\x1b[2K")[2]).decode(errors="replace")
    found.said = [
        line.rpartition("\r")[2] for line in text.replace("\r\n", "\n").split("\n") if line.strip()
    ]
    return found


def main() -> int:
    """The tries, a line each, and what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--tries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[*COMMANDS], action="append")
    given = parser.parse_args()
    chance = random.Random(given.seed)
    commands = [
        timed(name, text) for name, text in COMMANDS.items() if not given.only or name in given.only
    ]
    for command in commands:
        print(
            f"{command.name:<11} blocks SIGINT after {1e3 * command.begins:4.0f} ms, lasts "
            f"{command.lasts:5.1f} s",
            flush=True,
        )
    every = []
    for k in range(given.tries):
        command = commands[k % len(commands)]
        one = tried(command, chance.uniform(0, command.lasts), group=k % ALONE != ALONE - 1)
        every.append(one)
        to, said = "group" if one.group else "alone", " | ".join(one.said)[-150:]
        print(
            f"{k:3d} {one.name:<11} {one.at:6.2f} s {to}  code {one.code}  {one.seconds:5.2f} s  "
            f"{one.fault or 'ok'}  {said}",
            flush=True,
        )
    print(
        f"{len(every)} tries, exit codes {dict(Counter(one.code for one in every))}, slowest "
        f"{max(one.seconds for one in every if one.code == 130):.2f} s"
    )
    faults = [one for one in every if one.fault]
    print(f"{len(faults)} with a fault: {dict(Counter(one.fault for one in faults))}")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())

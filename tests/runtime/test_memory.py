"""What a program asks of the C library, in processes of their own: it holds for the whole of
one. And how much memory there is."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from sigprop.cli import run
from sigprop.errors import InputError
from sigprop.runtime import memory

GIB = 2**30
COUNT = """
import resource
import numpy as np
from sigprop.runtime import memory
kept = {keep} and memory.keep()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**24)
before = faults()
for _ in range(4):
    np.ones(2**24)  # 128 MiB: 32,768 pages
print(kept, faults() - before)
"""


def _faults(keep: bool) -> tuple[bool, int]:
    done = subprocess.run(
        [sys.executable, "-c", COUNT.format(keep=keep)], capture_output=True, text=True, check=True
    )
    kept, count = done.stdout.split()
    return kept == "True", int(count)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_memory_given_back_is_kept_and_only_where_that_is_asked_for():
    kept, count = _faults(keep=True)
    if not kept:
        pytest.skip("another C library")
    assert count < 1000
    assert _faults(keep=False)[1] > count


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_there_is_is_less_than_the_machine_has():
    total = (
        next(
            int(line.split()[1])
            for line in Path("/proc/meminfo").read_text().splitlines()
            if line.startswith("MemTotal")
        )
        * 1024
    )
    there = memory.available()
    assert there is not None and 0 < there < total


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_limit_of_the_address_space_counts():
    code = (
        "import resource as r\nfrom sigprop.runtime import memory\nr.setrlimit(r.RLIMIT_AS, "
        "(3 * 2**30,) * 2)\nprint(memory.available())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 2 * GIB < int(done.stdout) < 3 * GIB


def tree(root: Path, files: dict[str, int | str]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")


@pytest.mark.parametrize(
    ("line", "files", "left"),
    [
        (
            "0::/a/b",
            {
                "a/b/memory.max": 8 * GIB,
                "a/b/memory.current": GIB,
                "a/memory.max": "max",
                "a/memory.current": GIB,
            },
            7 * GIB,
        ),
        (
            "0::/a/b",
            {
                "a/b/memory.max": "max",
                "a/b/memory.current": GIB,
                "a/memory.max": 3 * GIB,
                "a/memory.current": GIB,
            },
            2 * GIB,
        ),
        (
            "0::/a",
            {
                "a/memory.max": 2 * GIB,
                "a/memory.current": 2 * GIB,
                "a/memory.stat": f"anon 5\ninactive_file {GIB}",
            },
            GIB,
        ),
        (
            "4:cpu,memory:/a",
            {"memory/a/memory.limit_in_bytes": 5 * GIB, "memory/a/memory.usage_in_bytes": GIB},
            4 * GIB,
        ),
        (
            "4:memory:/elsewhere",
            {"memory/memory.limit_in_bytes": 6 * GIB, "memory/memory.usage_in_bytes": GIB},
            5 * GIB,
        ),
        ("4:cpu:/a", {"cpu/a/memory.limit_in_bytes": 1}, None),
        ("0::/a", {}, None),
    ],
)
def test_control_groups_of_both_versions(
    line: str, files: dict[str, int | str], left: int | None, tmp_path: Path
):
    tree(tmp_path, {"listed": line})
    tree(tmp_path / "root", files)
    assert memory._groups_left(tmp_path / "listed", tmp_path / "root") == left


def test_more_than_there_is_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "available", lambda: 3 * GIB)
    memory.require(3 * GIB, "loops=4")
    with pytest.raises(
        InputError,
        match="loops=4: needs about 1.5 TiB of memory, 3 GiB are available; "
        "accepted: smaller sizes",
    ):
        memory.require(1.5 * 2**40, "loops=4")
    monkeypatch.setattr(memory, "available", lambda: None)
    memory.require(2.0**70, "loops=4")


@pytest.mark.parametrize("command", ["predict", "exponents", "measure", "derive", "verify"])
def test_a_million_loops_are_refused_at_once(command: str, capfd: pytest.CaptureFixture[str]):
    """Inside the accepted range, and 95 TiB: seconds of the processor, most of them for the
    description."""
    started = time.process_time()
    assert run([command, "looped-mlp", "--set", "loops=1000000"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "loops=1000000" in line and "accepted: " in line
    assert time.process_time() - started < 10

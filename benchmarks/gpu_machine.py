"""What a machine is, as results of ``gpu.py`` name it: packages, releases, cores, the processor."""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

STAND_INS = Path(__file__).resolve().parent / "stand_ins"


def there(name: str) -> bool:
    """Tell whether a package is installed; one that is stood in for is not."""
    found = importlib.util.find_spec(name)
    return found is not None and not str(found.origin).startswith(str(STAND_INS))


def said(words: list[str]) -> str | None:
    """Return what a command prints on its first line; None where it is not there or fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.splitlines()), None)


def release(name: str) -> str | None:
    """Return the version of a package that is installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def cores() -> int | None:
    """Return how many of the machine's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def processor() -> str:
    """Return the CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())

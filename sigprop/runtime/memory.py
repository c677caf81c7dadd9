"""The process's memory: how much of it may still be taken, and how the C library keeps what one
batch of networks gives back."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from sigprop.errors import InputError

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # of mallopt, from glibc's malloc.h
NEVER, NONE, ONE = -1, 0, 1
LONG = 2**15  # vectors of that length, some for every layer, are in no cache


def keep() -> bool:
    """Whether the C library does: of the whole process and for good, so for programs to call, not
    for libraries, and before jax starts its threads.

    Large arrays otherwise come from pages that the system maps, clears and takes back at every
    call: half of the time at width 10^6, or with matrices that are formed. Small ones are shared
    out a little slower. Does nothing where the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return all([mallopt(ARENA_MAX, ONE), mallopt(MMAP_MAX, NONE), mallopt(TRIM_THRESHOLD, NEVER)])


def worth_keeping(engine: str, width: int) -> bool:
    """Whether networks of that engine ('auto' too) and width are large arrays."""
    return engine == "dense" or width >= LONG


def available() -> int | None:
    """Bytes that this process may still take: what the system, its control groups and its own limit
    leave, the least of them.

    None where nothing is known, as on a system without /proc.
    """
    return min(
        (left for left in (_system_left(), _groups_left(), _limit_left()) if left is not None),
        default=None,
    )


def maps() -> float:
    """Return the share that is taken of the memory maps that the system gives a process; 0 where
    nothing is known, as on a system without /proc."""
    try:
        most = int(Path("/proc/sys/vm/max_map_count").read_text())
        return Path("/proc/self/maps").read_bytes().count(b"\n") / most
    except (OSError, ValueError):
        return 0.0


def require(need: float, what: str) -> None:
    """Raise ``InputError`` where ``need`` bytes are more than there are. what: the sizes they
    come from, such as 'loops=1000000'."""
    there = available()
    if there is not None and need > there:
        raise InputError(
            f"{what}: needs about {_shown(need)} of memory, {_shown(there)} are available; "
            f"accepted: smaller sizes"
        )


def _shown(number: float) -> str:
    unit = min(5, max(0, int(number).bit_length() - 1) // 10)
    return f"{number / 2 ** (10 * unit):.3g} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB')[unit]}"


def _system_left() -> int | None:
    return _field(Path("/proc/meminfo"), "MemAvailable:", 1024)


def _groups_left(
    listed: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """What the process's control groups leave, those above them included: a page cache that can
    be dropped counts as left."""
    found: list[int] = []
    for line in _text(listed).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            base, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base, names = (
                root / "memory",
                ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            )
        else:
            continue
        own = base / path.strip("/")
        found += [
            left
            for group in (own, *own.parents)
            if group.is_relative_to(base) and (left := _left(group, *names)) is not None
        ]
    return min(found, default=None)


def _left(group: Path, limit: str, used: str, droppable: str) -> int | None:
    most, now = (_text(group / name).strip() for name in (limit, used))
    if not (most.isdecimal() and now.isdecimal()):  # no such group here, or no limit ('max')
        return None
    return max(0, int(most) - int(now) + (_field(group / "memory.stat", droppable, 1) or 0))


def _limit_left() -> int | None:
    """What RLIMIT_AS leaves of the address space."""
    if sys.platform == "win32":
        return None
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _text(Path("/proc/self/statm")).split()
    return (
        None
        if most == resource.RLIM_INFINITY or not pages
        else max(0, most - int(pages[0]) * os.sysconf("SC_PAGE_SIZE"))
    )


def _field(path: Path, name: str, unit: int) -> int | None:
    """The number after ``name`` in a file of lines 'name number'."""
    for line in _text(path).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name and words[1].isdecimal():
            return int(words[1]) * unit
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""

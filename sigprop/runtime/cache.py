"""Compiled programs on disk: what one process of the command line compiled, the next one loads.

The files are jax's own cache, in a folder of ours, asked for through the environment: so before jax
is imported, and for every process that is started from here. jax writes a file in one go, not in
one step. Every process therefore leaves a mark in the folder until it ends well; whoever comes next
reads the files that are younger than a dead process's mark, and removes those that are torn.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

SWITCH = "SIGPROP_CACHE"
"""Environment variable: 'off', or the folder to use."""
OFF = "off"
MOST_BYTES = 2**30
KEPT_SHARE = 0.75  # of MOST_BYTES, when old programs go
WORTH_KEEPING = 0.01  # seconds of compilation
ENTRY, MARK = "-cache", ".running"
SLACK = 2.0  # seconds by which clocks of file systems are trusted
ZSTD = b"\x28\xb5\x2f\xfd"


class State:
    """doubted: something went wrong with the folder, so the mark stays and the next process
    looks; marked: when the mark was put into the folder; remark: takes a line to the user."""

    mark: str | None = None
    marked = 0
    doubted = False
    remark: Callable[[str], None] | None = None


class Entry(NamedTuple):
    """A compiled program's file: when it was written and last read (seconds), and its size in
    bytes."""

    path: str
    written: float
    used: float
    size: int


def folder() -> str | None:
    """Return where programs are kept, of this kind of processor; None where ``SIGPROP_CACHE`` is
    off."""
    given = os.environ.get(SWITCH, "")
    if given.lower() == OFF:
        return None
    user = (
        os.environ.get("LOCALAPPDATA")
        if sys.platform == "win32"
        else os.environ.get("XDG_CACHE_HOME")
    )
    base = given or os.path.join(user or os.path.join(os.path.expanduser("~"), ".cache"), "sigprop")
    return os.path.join(base, f"programs-{_processor()}")


def _processor() -> str:
    """Programs run on processors that know the same instructions; jax's own keys hold its
    release and the compiler's options."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = (line for line in file if line.startswith(("flags", "Features", "model name")))
            said = "".join(sorted({" ".join(sorted(line.split())) for line in lines}))
    except OSError:
        import platform

        said = f"{platform.machine()} {platform.processor()}"
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def begin(remark: Callable[[str], None]) -> str | None:
    """Keep programs from now on, in this process and those it starts, and return the folder (None
    where there is none). jax must not be imported yet.

    Does nothing where the switch is off or the user has set jax's own variable. remark: takes the
    one line that is said where the folder cannot be used; nothing is raised.
    """
    target = folder()
    if target is None or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return None
    try:
        os.makedirs(target, exist_ok=True)
        mend(target)
        State.mark = os.path.join(target, f"{os.getpid()}{MARK}")
        with open(State.mark, "w", encoding="utf-8") as file:
            file.write("\n")
        State.marked = os.stat(target).st_mtime_ns
    except OSError as error:
        remark(
            f"sigprop: compiled programs are not kept: {target}: {error.strerror}; accepted: "
            f"{SWITCH}=FOLDER or {SWITCH}={OFF}"
        )
        return None
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": target,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": str(WORTH_KEEPING),
    }
    State.remark = remark
    _hear()
    atexit.register(end)
    return target


def end() -> None:
    """Remove old programs where there are new ones, and take the mark away, unless something
    went wrong."""
    if State.mark is None:
        return
    target = os.path.dirname(State.mark)
    # reading thousands of entries takes a while: not for who only loads programs
    with contextlib.suppress(OSError):
        if os.stat(target).st_mtime_ns != State.marked:
            prune(target)
    if not State.doubted:
        remove(State.mark)


def doubt(everything: bool = False) -> None:
    """Let the next process look at what was written since this one began (a process that it
    started was killed, say), or at everything."""
    State.doubted = True
    if everything and State.mark is not None and os.path.exists(State.mark):
        os.utime(State.mark, (0.0, 0.0))


def unkept(why: str) -> None:
    """Say, once a process, that a program could not be written, and let the next process look."""
    if not State.doubted and State.remark is not None:
        State.remark(
            f"sigprop: compiled programs are not kept: {why}; accepted: {SWITCH}=FOLDER or "
            f"{SWITCH}={OFF}"
        )
    doubt()


def _hear() -> None:
    """Take jax's warnings about its files: a program that cannot be read is compiled again, one
    that cannot be written is said once."""
    show = warnings.showwarning

    def heard(message: Warning | str, *where: object, **more: object) -> None:
        if "persistent compilation cache" not in str(message):
            return show(message, *where, **more)  # type: ignore[arg-type]
        if "writing" in str(message):
            unkept(str(message).rpartition(": ")[2])
        doubt(everything="reading" in str(message))

    warnings.showwarning = heard  # type: ignore[assignment]


def entries(target: str) -> Iterator[Entry]:
    """Every program in the folder; those that another process removes meanwhile are left out."""
    with os.scandir(target) as files:
        for file in files:
            if file.name.endswith(ENTRY):
                try:
                    found = file.stat()
                except OSError:
                    continue
                yield Entry(
                    file.path, found.st_mtime, max(found.st_mtime, found.st_atime), found.st_size
                )


def mend(target: str) -> None:
    """Remove the torn files among those written since processes began that have not ended well,
    and these processes' marks."""
    marks = [name for name in os.listdir(target) if name.endswith(MARK)]
    dead = [os.path.join(target, name) for name in marks if not _alive(name.removesuffix(MARK))]
    if not dead:
        return
    since = (
        min((os.path.getmtime(mark) for mark in dead if os.path.exists(mark)), default=0.0) - SLACK
    )
    for entry in entries(target):
        if entry.written >= since and not whole(entry.path):
            remove(entry.path)
    for mark in dead:
        remove(mark)


def prune(target: str, most: int = MOST_BYTES) -> None:
    """Remove the programs that were not used for longest, where all together take more than
    ``most`` bytes."""
    found = sorted(entries(target), key=lambda entry: entry.used)
    total = sum(entry.size for entry in found)
    if total <= most:
        return
    for entry in found:
        if total <= KEPT_SHARE * most:
            return
        remove(entry.path)
        total -= entry.size


def whole(path: str) -> bool:
    """Whether a file holds one compressed program to its end (of a compression that is not known
    here: yes)."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return True  # another process removed it
    if data.startswith(ZSTD):
        return _whole_zstd(data)
    reader = zlib.decompressobj()
    try:
        reader.decompress(data)
    except zlib.error:
        return False
    return reader.eof


def _whole_zstd(data: bytes) -> bool:
    try:
        import zstandard  # pyright: ignore[reportMissingImports]
    except ImportError:
        return True
    reader = zstandard.ZstdDecompressor().decompressobj()
    try:
        reader.decompress(data)
    except zstandard.ZstdError:
        return False
    return reader.eof


def _alive(process: str) -> bool:
    """Whether a process of that number runs; where asking would signal it, it is taken to run."""
    if sys.platform == "win32":  # there 0 is the signal of Ctrl-C
        return True
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except OSError:
        return True
    return True


def remove(path: str) -> None:
    """Remove a file that may be gone."""
    try:
        os.unlink(path)
    except OSError:
        return

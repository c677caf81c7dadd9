"""Ctrl-C at any moment of a command: one line on stderr, exit code 130, no file half written, no
process left behind.

A thread of its own waits for the signal, which all others block, and ends the process from outside.
Python's own way, an exception in the main thread, waits until compiled code returns, unwinds
through libraries that are not made for it, and leaves the interpreter to shut down beside threads
that still compile, which is a segmentation fault in half of the tries.

Only the console script calls ``watch``. Where nobody did, and where a platform cannot,
``KeyboardInterrupt`` is raised as ever, and ``cli.run`` reports it. Imported before anything else,
so it imports next to nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

TYPE_CHECKING = False  # typing's own takes milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable

INTERRUPTED = 130
NOTHING = "nothing was written"
PATIENCE = 2.0  # seconds for what another thread is about to finish, and for a process to die
SHOW_CURSOR = "\x1b[2K\x1b[?25h"
"""What puts a terminal right on which a progress bar may stand: the line erased, the cursor
visible."""


class State:
    """What an interrupt finds. Changed under ``lock``, which an interrupt takes first."""

    lock = threading.RLock()
    watching = False
    finished = False
    stderr = 2  # the file that the line goes to
    # what puts the terminal right; from the first bar on, for a bar's end may be what is
    # interrupted
    undo = ""
    remains: str | None = None
    folder: str | None = None
    temporaries: set[str] = set()
    written: list[str] = []
    farewells: tuple[Callable[[], object], ...] = ()


def watch() -> None:
    """From now on an interrupt ends the process; before any other thread exists, so that all of
    them block the signal.

    Does nothing where the signal is ignored, as by a shell's background jobs, or handled by someone
    else already.
    """
    if (
        not hasattr(signal, "pthread_sigmask")
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # where another library unblocks it for a moment
    signal.signal(signal.SIGINT, lambda *_: _end())
    State.watching = True
    threading.Thread(target=_wait, name="interrupts", daemon=True).start()


def block() -> None:
    """Block the signal in this thread again, after a library that unblocked it."""
    if State.watching:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def finish() -> None:
    """The command is through: from now on an interrupt changes nothing, and the process ends
    with its own code."""
    with State.lock:
        State.finished = True


def begin() -> None:
    """A command begins: nothing was written yet."""
    State.remains = State.folder = None
    State.farewells = ()
    State.written.clear()


def keeps(remains: str, folder: str | None = None) -> None:
    """If interrupted, say ``remains`` instead of what was written; folder: where other processes
    write."""
    State.remains, State.folder = remains, folder


def leaves(farewell: Callable[[], object] | None) -> None:
    """If interrupted, call ``farewell`` before other processes are ended; it must wait for nothing
    and raise nothing."""
    State.farewells = () if farewell is None else (farewell,)


def farewell() -> None:
    """Call what is to be called before this process is ended."""
    for call in State.farewells:
        call()


def line() -> str:
    """What to say of an interrupt now."""
    wrote = f"{', '.join(State.written)} was written before" if State.written else NOTHING
    return f"sigprop: interrupted; {State.remains or wrote}"


def _wait() -> None:
    signal.sigwait({signal.SIGINT})
    _end()


def _end() -> None:
    held = State.lock.acquire(timeout=PATIENCE)
    if State.finished:
        return State.lock.release() if held else None
    try:
        stderr, null = os.dup(State.stderr), os.open(os.devnull, os.O_WRONLY)
        # nothing of other threads, nor of processes just started, comes after the line
        os.dup2(null, 1)
        os.dup2(null, 2)
        farewell()
        _end_processes()
        for path in State.temporaries:
            _remove(path)
        start = "\r" + State.undo if os.isatty(stderr) else ""
        os.write(stderr, f"{start}{line()}\n".encode(errors="backslashreplace"))
    finally:
        os._exit(INTERRUPTED)


def _end_processes() -> None:
    """Kill the worker processes, and remove what they were writing to the folder
    (``files.write`` puts the process into the name)."""
    # not imported: an import may wait for the main thread
    multiprocessing = sys.modules.get("multiprocessing")
    processes = multiprocessing.active_children() if multiprocessing is not None else []
    for process in processes:
        process.kill()
    for process in processes:
        process.join(PATIENCE)
    folder, endings = State.folder, tuple(f".{process.pid}.tmp" for process in processes)
    if folder is None or not endings:
        return
    for name in os.listdir(folder):
        if name.startswith(".") and name.endswith(endings):
            _remove(os.path.join(folder, name))


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return

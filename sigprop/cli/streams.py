"""The process's own streams and terminal, put in a state that no library stumbles over."""

from __future__ import annotations

import os
import sys
from typing import TextIO

MOST_COLUMNS = 1000


def prepare() -> None:
    """Stand-ins for closed streams (stdout stays None: ``check`` refuses it), and no terminal
    size that is none."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # else the next file that is opened would be the stream
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (as long as the process)
    if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
    for name in ("COLUMNS", "LINES"):
        text = os.environ.get(name, "1")
        if not (
            text.isascii() and text.isdecimal() and len(text) < 5 and 1 <= int(text) <= MOST_COLUMNS
        ):
            del os.environ[name]


def mute(stream: TextIO | None) -> None:
    """Let the stream's file be /dev/null: what its buffer holds cannot be written, at the
    interpreter's end neither."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno() if stream is not None else 2)
    except (OSError, ValueError):  # a stream without a file
        return


def remark(text: str) -> None:
    """A line on stderr, if anybody can have it."""
    if sys.stderr is None:  # print would take stdout instead
        return
    try:
        print(text, file=sys.stderr)
    except OSError:
        mute(sys.stderr)


def answer(text: object) -> None:
    """Print the answer on stdout. A reader that has gone (``sigprop verify ... | head -1``)
    changes nothing: the exit code is still the verdict's."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        mute(sys.stdout)

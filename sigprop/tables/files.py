"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from sigprop.errors import InputError
from sigprop.runtime import interrupts

A_FILE = "a file in a folder that exists and can be written"
# characters of a temporary file's name that are the file's own: 255 bytes are the most that a name
# may have
MOST_NAME = 60
SUFFIXES = {".json": "to_json", ".csv": "to_csv", ".md": "to_markdown"}
PAGES = {".html": "to_html"}
"""Suffixes of tables beside those that every result has."""


def check_path(
    path: str | os.PathLike[str],
    suffixes: Mapping[str, object] = SUFFIXES,
    option: str = "out",
) -> str:
    """The path's suffix, when it is one of ``suffixes`` and a file can be written there; raises
    ``InputError``, which names the option."""
    suffix = Path(path).suffix.lower()
    if suffix not in suffixes:
        raise InputError(
            f"{option}={str(path)!r}: suffix {suffix!r} is not known; accepted: "
            f"{', '.join(suffixes)}"
        )
    try:
        target, temporary = _places(path)
        if os.path.exists(target) and not os.path.isfile(target):
            raise InputError(
                f"{option}={str(path)!r} cannot be written: not a file; accepted: {A_FILE}"
            )
        os.stat(os.path.dirname(target))
        _create(temporary).close()
        _discard(temporary)
    except OSError as error:
        raise InputError(
            f"{option}={str(path)!r} cannot be written: {error.strerror}; accepted: {A_FILE}"
        ) from None
    return suffix


def write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Replace the file in one step, so that an interruption leaves the old one or none, never
    half of one."""
    try:
        target, temporary = _places(path)
        file = _create(temporary)
        try:
            with file:
                file.write(content.encode() if isinstance(content, str) else content)
            with interrupts.State.lock:
                os.replace(temporary, target)
                interrupts.State.written.append(str(path))
        finally:
            _discard(temporary)
    except OSError as error:
        raise InputError(f"out={str(path)!r}: {error.strerror}; accepted: {A_FILE}") from None


def _places(path: str | os.PathLike[str]) -> tuple[str, str]:
    """(the file, links followed; the temporary one beside it); raises ``OSError``."""
    try:
        target = os.path.realpath(path)
        with contextlib.suppress(FileNotFoundError):
            os.lstat(target)
    except ValueError as error:  # a NUL character
        raise OSError(errno.EINVAL, str(error)) from None
    folder, name = os.path.split(target)
    return target, os.path.join(folder, f".{name[:MOST_NAME]}.{os.getpid()}.tmp")


def _create(temporary: str) -> IO[bytes]:
    """The open temporary file, known to whoever ends the process from outside."""
    with interrupts.State.lock:
        interrupts.State.temporaries.add(temporary)
        return open(temporary, "wb")


def _discard(temporary: str) -> None:
    with interrupts.State.lock:
        Path(temporary).unlink(missing_ok=True)
        interrupts.State.temporaries.discard(temporary)

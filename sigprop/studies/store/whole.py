"""Whether a store's file is all there, looked at before sqlite opens it: what sqlite meets later
than that, in the middle of a run, or mends by zeros."""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

MAGIC = b"SQLite format 3\0"
LOG_MAGIC = (0x377F0682, 0x377F0683)
HEAD, LOG_HEAD, FRAME_HEAD = 100, 32, 24  # bytes
LOG = "-wal"


def has_log(path: Path) -> bool:
    """Tell if there is a log beside the file that it may need."""
    log = f"{path}{LOG}"
    return os.path.exists(log) and os.path.getsize(log) > 0


def trouble(path: Path) -> str | None:
    """Return what is wrong with a file by its size: no database, shorter than it says; None where
    nothing is.

    Pages that a log holds may be missing. Where they seem to be missing in both, sqlite looks
    itself, without a change to either.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head.startswith(MAGIC[: len(head)]):
        return NO_DATABASE
    if len(head) < HEAD:
        return f"malformed, {len(head)} bytes of it are there"
    size = int.from_bytes(head[16:18], "big")
    size = 65536 if size == 1 else size
    if size < 512 or size & (size - 1):
        return f"malformed, pages of {size} bytes"
    pages = int.from_bytes(head[28:32], "big")
    logged = set[int]()
    if has_log(path):
        pages, logged = _logged(Path(f"{path}{LOG}"), size, pages)
    there = path.stat().st_size  # after the log was read: what leaves that one is in the file
    missing = set(range(there // size + 1, pages + 1)) - logged
    if missing and (not logged or not _well(path)):
        return f"malformed, {there} bytes of {size * pages} are there"
    return None


NO_DATABASE = "not a database"


def _logged(log: Path, size: int, pages: int) -> tuple[int, set[int]]:
    """Return how many pages a file has with its log, and those that the log holds."""
    found, pending = set[int](), set[int]()
    for page, after in _frames(log, size):
        pending.add(page)
        if after:  # the last one of a transaction
            found |= pending
            pages = after
    return pages, found


def _frames(log: Path, size: int) -> Iterator[tuple[int, int]]:
    """Yield (page, pages of the file after it; 0 within a transaction) of a log's frames, those of
    an earlier round left out."""
    with log.open("rb") as file:
        head = file.read(LOG_HEAD)
        if len(head) < LOG_HEAD or int.from_bytes(head[:4], "big") not in LOG_MAGIC:
            return
        while len(frame := file.read(FRAME_HEAD)) == FRAME_HEAD and frame[8:16] == head[16:24]:
            if len(file.read(size)) < size:
                return
            yield struct.unpack(">II", frame[:8])


def _well(path: Path) -> bool:
    """Tell if sqlite finds all pages that it needs."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        return connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except sqlite3.Error:
        return False
    finally:
        connection.close()

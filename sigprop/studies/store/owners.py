"""Who works on a store: each process holds a byte of a file beside it locked, and the system takes
that lock away when the process ends, however it ends.

What the byte holds says if the units that it then has are to blame: 1 where it ended for another
reason, an interrupt or a full disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from sigprop.errors import InputError

SUFFIX = "-owners"
TRIES, PAUSE = 50, 0.002
"""How often a lock is tried, and the seconds between: who asks if an owner lives holds it for a
moment."""
BLAMED, EXCUSED = b"\0", b"\1"
TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


class Owners:
    """The locks of one store, of this process and of all others.

    A process has one descriptor of a file, open until it ends: closing any other of the same file
    would take its locks away.
    """

    def __init__(self, store: Path):
        self.store, self.path = store, Path(f"{store}{SUFFIX}").absolute()
        with self._said():
            self.file, self.mine = _opened(self.path)

    def hold(self, owner: int) -> bool:
        """Be this owner until ``leave``, or until the process ends; False where another process
        is, as one that works on a store that was removed under it."""
        with self._said():
            for _ in range(TRIES):
                if _lock(self.file, owner):
                    _write(self.file, owner, BLAMED)
                    self.mine.add(owner)
                    return True
                time.sleep(PAUSE)
        return False

    def leave(self, owner: int) -> None:
        """Be this owner no longer."""
        if owner in self.mine:
            self.mine.remove(owner)
            with contextlib.suppress(OSError):
                _unlock(self.file, owner)

    def alive(self, owner: int) -> bool:
        """Tell if the process of an owner still runs."""
        if owner in self.mine:
            return True
        with self._said():
            if not _lock(self.file, owner):
                return True
            _unlock(self.file, owner)
        return False

    def excuse(self, *owners: int) -> None:
        """Let the end of these owners be no fault of the units that they have. Takes no lock and
        raises nothing: an interrupt calls it at any moment."""
        for owner in owners:
            with contextlib.suppress(OSError):
                _write(self.file, owner, EXCUSED)

    def excused(self, owner: int) -> bool:
        """Tell if the end of an owner is no fault of its units."""
        with self._said():
            return _read(self.file, owner) == EXCUSED

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        """Raise ``InputError`` for what the system refuses."""
        try:
            yield
        except OSError as error:
            accepted = "a folder that can be written, on a file system with locks"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                accepted = "room on the disk; what was done is kept, and the same command continues"
            raise InputError(
                f"store={str(self.store)!r}: {self.path.name}: {error.strerror}; accepted: "
                f"{accepted}"
            ) from None


def at_work(store: Path, owners: Iterable[int]) -> set[int]:
    """Return those owners of a store whose processes run; all of them where that cannot be
    asked, as of a file that cannot be written."""
    asked = set(owners)
    if not asked or not os.path.exists(f"{store}{SUFFIX}"):
        return set()
    try:
        locks = Owners(store)
        return {owner for owner in asked if locks.alive(owner)}
    except InputError:
        return asked


_OPEN: dict[tuple[int, int], tuple[int, set[int]]] = {}
"""By device and inode: the descriptor, and the owners that this process is."""


def _opened(path: Path) -> tuple[int, set[int]]:
    """Return this process's descriptor of a file, and the owners that it is there."""
    if path.exists():
        found = path.stat()
        key = found.st_dev, found.st_ino
        if key in _OPEN:
            return _OPEN[key]
    file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    found = os.fstat(file)
    return _OPEN.setdefault((found.st_dev, found.st_ino), (file, set()))


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int, place: int) -> bool:
        os.lseek(file, place, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno not in TAKEN:
                raise
            return False
        return True

    def _unlock(file: int, place: int) -> None:
        os.lseek(file, place, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

    def _write(file: int, place: int, byte: bytes) -> None:
        os.lseek(file, place, os.SEEK_SET)
        os.write(file, byte)

    def _read(file: int, place: int) -> bytes:
        os.lseek(file, place, os.SEEK_SET)
        return os.read(file, 1)

else:
    import fcntl

    def _lock(file: int, place: int) -> bool:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError as error:
            if error.errno not in TAKEN:
                raise
            return False
        return True

    def _unlock(file: int, place: int) -> None:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, place)

    def _write(file: int, place: int, byte: bytes) -> None:
        os.pwrite(file, byte, place)

    def _read(file: int, place: int) -> bytes:
        return os.pread(file, 1, place)

"""Who works on a store: each process holds a byte of a file beside it locked, and the system takes
that lock away when the process ends, however it ends."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from sigprop.errors import InputError

SUFFIX = "-owners"


class Owners:
    """The locks of one store, of this process and of all others.

    A process has one descriptor of a file, open until it ends: closing any other of the same file
    would take its locks away.
    """

    def __init__(self, store: Path):
        path = Path(f"{store}{SUFFIX}").absolute()
        try:
            self.file, self.mine = _opened(path)
        except OSError as error:
            raise InputError(
                f"store={str(store)!r}: {path.name}: {error.strerror}; accepted: a folder "
                f"that can be written"
            ) from None

    def hold(self, owner: int) -> None:
        """Be this owner until the process ends."""
        while not _lock(self.file, owner):  # who asks if it lives holds it for a moment
            time.sleep(0.001)
        self.mine.add(owner)

    def release(self, owner: int) -> None:
        """Be this owner no longer."""
        if owner in self.mine:
            _unlock(self.file, owner)
            self.mine.discard(owner)

    def alive(self, owner: int) -> bool:
        """Tell if the process of an owner still runs."""
        if owner in self.mine:
            return True
        if not _lock(self.file, owner):
            return True
        _unlock(self.file, owner)
        return False


_OPEN: dict[tuple[int, int], tuple[int, set[int]]] = {}
"""By device and inode: the descriptor, and the owners that this process is."""


def _opened(path: Path) -> tuple[int, set[int]]:
    """Return this process's descriptor of a file, and the owners that it is there."""
    if path.exists():
        found = path.stat()
        key = found.st_dev, found.st_ino
        if key in _OPEN:
            return _OPEN[key]
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    found = os.fstat(file)
    return _OPEN.setdefault((found.st_dev, found.st_ino), (file, set()))


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int, place: int) -> bool:
        os.lseek(file, place, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: int, place: int) -> None:
        os.lseek(file, place, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: int, place: int) -> bool:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError:
            return False
        return True

    def _unlock(file: int, place: int) -> None:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, place)

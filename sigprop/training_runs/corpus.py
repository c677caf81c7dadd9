"""Texts to learn, as bytes: by default the source of the running Python's own standard library, so
that nothing is downloaded and every machine has one."""

from __future__ import annotations

import functools
import hashlib
import os
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sigprop.errors import InputError, short

HELD_OUT = ("asyncio", "email", "json")
"""Packages of the standard library that are tested on."""
LEFT_OUT = {
    *("site-packages", "dist-packages", "__pycache__", "__phello__"),
    *("test", "tests", "idle_test"),
    *("encodings", "pydoc_data"),  # tables of codecs, help texts
}
SHARE = 10  # of other texts, the last part of so many is held out
ACCEPTED = "None (Python's standard library), a file, a folder, bytes, or integers from 0 to 255"


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text as uint8 arrays.

    name: where it comes from; text, held: what is learned, and what is held out; digest: SHA-256
    of both.
    """

    name: str
    text: np.ndarray
    held: np.ndarray

    @functools.cached_property
    def digest(self) -> str:
        """Return the hash of what is learned and what is held out, in hexadecimal digits."""
        found = hashlib.sha256(self.text.tobytes())
        found.update(self.held.tobytes())
        return found.hexdigest()

    def check(self, window: int, words: int) -> None:
        """Raise ``InputError`` where either part is shorter than a window of so many bytes, or
        where a word is not among 0 .. words - 1."""
        for part, array in (("to learn", self.text), ("held out", self.held)):
            if len(array) < window:
                raise InputError(
                    f"data={self.name}: {len(array)} bytes {part}, and tokens={window - 1} needs "
                    f"{window}; accepted: a longer text, or fewer tokens"
                )
        most = int(max(self.text.max(), self.held.max()))
        if most >= words:
            raise InputError(
                f"data={self.name}: it holds byte {most}; accepted: bytes below vocabulary={words}"
            )


def corpus(data: object = None) -> Corpus:
    """Return the text that is meant: None, the standard library; the path of a file or of a
    folder (all files in it, sorted); bytes or integers. Raises ``InputError``."""
    if data is None:
        return standard_library()
    if isinstance(data, Corpus):
        return data
    if isinstance(data, (str, os.PathLike)):
        path = Path(data)
        return _split(str(path), _read(path))
    if isinstance(data, (bytes, bytearray)):
        return _split("bytes", np.frombuffer(bytes(data), dtype=np.uint8))
    words = np.asarray(data)
    if words.ndim != 1 or words.dtype.kind not in "iu":
        raise InputError(f"data={short(repr(data), 60)}; accepted: {ACCEPTED}")
    if words.size and not 0 <= int(words.min()) <= int(words.max()) <= 255:
        odd = next(int(w) for w in words if not 0 <= w <= 255)
        raise InputError(f"data: it holds word {odd}; accepted: {ACCEPTED}")
    return _split("array", words.astype(np.uint8))


@functools.cache
def standard_library() -> Corpus:
    """Return the source of the running Python's standard library, ``HELD_OUT`` held out."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = [
        (path.relative_to(folder).parts, path)
        for path in sorted(folder.rglob("*.py"))
        if not LEFT_OUT & set(path.relative_to(folder).parts)
    ]
    parts = (
        _joined(path for names, path in files if (names[0] in HELD_OUT) is held)
        for held in (False, True)
    )
    return Corpus("standard library", *parts)


def _split(name: str, text: np.ndarray) -> Corpus:
    """Hold out the last tenth."""
    cut = len(text) - len(text) // SHARE
    return Corpus(name, text[:cut], text[cut:])


def _read(path: Path) -> np.ndarray:
    """Read a file, or every file of a folder; raise ``InputError`` where there is none."""
    if path.is_dir():
        files = [
            file
            for file in sorted(path.rglob("*"))
            if file.is_file() and not any(p.startswith(".") for p in file.relative_to(path).parts)
        ]
        text = _joined(files)
    elif path.is_file():
        text = _joined([path])
    else:
        raise InputError(f"data={str(path)!r}: no such file or folder; accepted: {ACCEPTED}")
    if not len(text):
        raise InputError(f"data={str(path)!r}: it is empty; accepted: a text")
    return text


def _joined(paths: Iterable[Path]) -> np.ndarray:
    try:
        return np.frombuffer(b"".join(path.read_bytes() for path in paths), dtype=np.uint8)
    except OSError as error:
        raise InputError(
            f"data={error.filename!r}: {error.strerror}; accepted: files that can be read"
        ) from None

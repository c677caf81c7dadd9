"""A run on disk: its networks, moments and rows after some steps, so that it goes on where it was
stopped."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.tables.document import Row
from sigprop.tables.files import check_path, write
from sigprop.tables.plain import plain

SUFFIX = {".npz": "arrays"}
ABOUT = "about"


class Kept(NamedTuple):
    """What was kept: steps that were done, rows, arrays in the order of the networks' leaves."""

    done: int
    rows: list[Row]
    leaves: list[np.ndarray]


class Checkpoint:
    """A file of one run. path: ends in .npz; run: a hash of what the run is, its number of steps
    apart. Raises ``InputError`` where no file can be written there."""

    def __init__(self, path: str | os.PathLike[str], run: str):
        check_path(path, SUFFIX, "checkpoint")
        self.path, self.run = path, run

    def save(self, kept: Kept) -> None:
        """Replace the file, whole or not at all; raises ``InputError``, as for a full disk, and
        leaves the older one."""
        about = json.dumps({"run": self.run, "done": kept.done, "rows": plain(kept.rows)})
        arrays: dict[str, Any] = {f"leaf_{i}": leaf for i, leaf in enumerate(kept.leaves)}
        arrays[ABOUT] = np.array(about)
        file = io.BytesIO()
        np.savez(file, **arrays)
        write(self.path, file.getvalue())

    def load(self) -> Kept | None:
        """Return what is kept, None where there is no file. Raises ``InputError`` for a file of
        another run, or of none."""
        if not os.path.exists(self.path):
            return None
        name = f"checkpoint={str(self.path)!r}"
        try:
            with np.load(self.path, allow_pickle=False) as file:
                about = json.loads(str(file[ABOUT]))
                leaves = [file[f"leaf_{i}"] for i in range(len(file.files) - 1)]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            raise InputError(
                f"{name}: it is no checkpoint; accepted: one, or a file that is not there yet"
            ) from None
        if about["run"] != self.run:
            raise InputError(
                f"{name}: of a run with other settings or data; accepted: the same but for steps, "
                f"or a file that is not there yet"
            )
        return Kept(about["done"], about["rows"], leaves)


def run_of(arch: Architecture, settings: Mapping[str, Any], data: str) -> str:
    """Return a hash of what a run is: the description's names, sizes and numbers, the settings,
    the data's digest."""
    said = [arch.name, plain(arch.parameters), arch.depth, arch.tokens, plain(settings), data]
    found = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode())
    for name, table in sorted((arch.number_tables | arch.tables_by_application).items()):
        found.update(name.encode() + np.asarray(table, dtype=np.float64).tobytes())
    return found.hexdigest()

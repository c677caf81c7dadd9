"""Stores that are cut short, another program's, of a newer format, on a full disk or where nothing
can be written: one line each, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_studies import feigned, rows, study, written

from sigprop.cli import run
from sigprop.errors import InputError
from sigprop.studies.store import schema
from sigprop.studies.store.schema import FORMAT
from sigprop.studies.store.store import Store
from sigprop.studies.store.whole import LOG

LINE = re.compile(r"store='[^\n]*'[^\n]*: [^\n]+; accepted: [^\n]+")


def refused(action: Callable[[], object], *parts: str) -> None:
    """One line that names the store, with these parts."""
    with pytest.raises(InputError) as found:
        action()
    assert LINE.fullmatch(str(found.value)), found.value
    assert all(part in str(found.value) for part in parts), found.value


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A folder on a disk of its own; called again with other options it changes."""
    folder = tmp_path / "disk"

    def mount(options: str) -> Path:
        again = ["-o", f"remount,{options}"] if folder.exists() else ["-o", options]
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", *again, "none", str(folder)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounts nothing")
        return folder

    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def logged(asked: Path, folder: Path) -> Iterator[Path]:
    """Yield a copy of a store as a killed process leaves it: the newest changes in its log."""
    with Store(asked, write=True) as store:
        store.ask("PRAGMA wal_autocheckpoint = 0")
        store.begin()
        yield copied(asked, folder)


def copied(path: Path, folder: Path) -> Path:
    """Copy a store, with its log."""
    folder.mkdir(exist_ok=True)
    for ending in ("", LOG):
        if os.path.exists(f"{path}{ending}"):
            shutil.copy(f"{path}{ending}", folder)
    return folder / path.name


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.3, 0.7, 0.999])
def test_a_store_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float):
    """At any length: seen before anything is read or written, and left as it is."""
    feigned(monkeypatch, size=4000)
    asked = study(tmp_path)
    asked.run()
    size = asked.path.stat().st_size
    os.truncate(asked.path, int(share * size))
    before = asked.path.read_bytes()
    for action in (asked.run, lambda: study(tmp_path).run(jobs=2)):
        refused(action, "malformed", f"{len(before)} bytes", ".recover")
    for action in (asked.status, asked.results):
        refused(action, "malformed")
    assert asked.path.read_bytes() == before


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
def test_a_store_cut_short_beside_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
):
    """What the log holds may be missing in the file; what neither has would be mended by zeros."""
    feigned(monkeypatch, size=4000)
    asked = study(tmp_path)
    asked.run()
    whole = rows(asked)
    with logged(asked.path, tmp_path / "copy") as copy:
        moved = study(copy.parent)
        assert rows(moved) == whole and moved.run().done == 0
        copied(asked.path, copy.parent)
        os.truncate(copy, int(share * copy.stat().st_size))
        before = copy.read_bytes(), Path(f"{copy}{LOG}").read_bytes()
        for action in (moved.run, moved.status, moved.results):
            refused(action, "malformed")
        assert (copy.read_bytes(), Path(f"{copy}{LOG}").read_bytes()) == before


def test_a_log_cut_short_loses_its_last_changes_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """At every length it is a store of fewer finished units, and a run completes it."""
    feigned(monkeypatch, size=4000)
    with Store(tmp_path / "small.db", write=True) as other:  # which keeps the log
        other.ask("SELECT * FROM about")
        other.ask("PRAGMA wal_autocheckpoint = 0")
        asked = study(tmp_path)
        asked.run()
        whole, done = rows(asked), []
        for k in range(8):
            copy = copied(asked.path, tmp_path / f"{k}")
            log = Path(f"{copy}{LOG}")
            os.truncate(log, log.stat().st_size * (8 - k) // 8)
            moved = study(copy.parent)
            done.append(12 - moved.run().done)
            assert rows(moved) == whole
    assert done[0] == 12 and done[-1] < 12 and done == sorted(done, reverse=True)


def test_another_programs_file_stays_as_it_is(tmp_path: Path):
    path = tmp_path / "small.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    for content in (path.read_bytes(), b"a text, and no database at all", b"x" * 10**4):
        path.write_bytes(content)
        for action in (study(tmp_path).run, study(tmp_path).status, study(tmp_path).results):
            refused(action, "no study's")
        assert path.read_bytes() == content
        assert [entry.name for entry in tmp_path.iterdir()] == ["small.db"]


def test_a_store_of_a_newer_format_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    feigned(monkeypatch)
    asked = study(tmp_path)
    asked.run()
    newer = sqlite3.connect(asked.path)
    newer.execute(f"PRAGMA user_version = {FORMAT + 1}")
    newer.close()
    before = asked.path.read_bytes()
    for action in (asked.run, asked.status, asked.results, lambda: asked.merge(asked.path)):
        with pytest.raises(InputError) as found:
            action()
        assert "newer sigprop" in str(found.value) or "into itself" in str(found.value)
    assert asked.path.read_bytes() == before


def test_a_store_that_was_just_begun_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As after a kill at any moment of the first tenths of a second."""
    path = tmp_path / "small.db"
    path.touch()
    refused(study(tmp_path).status, "not there")
    sqlite3.connect(path).execute("PRAGMA journal_mode = WAL").connection.close()
    refused(study(tmp_path).status, "empty")
    Store(path, write=True).close()
    refused(study(tmp_path).status, "empty")
    feigned(monkeypatch)
    assert study(tmp_path).run().done == 12


@pytest.mark.parametrize("way", ["pages", "disk"])
def test_a_full_disk(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_disk: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
    way: str,
):
    """One line, exit code 2; what was done stays; with room the same command goes on. No unit is
    taken to have killed its process."""
    keys = feigned(monkeypatch, size=4000)
    folder = small_disk("size=400k") if way == "disk" else tmp_path
    full = [way == "pages"]
    changes = schema._log_changes

    def few_pages(connection: sqlite3.Connection) -> None:
        changes(connection)
        connection.execute(f"PRAGMA max_page_count = {30 if full[0] else 10**6}")

    monkeypatch.setattr(schema, "_log_changes", few_pages)
    asked = study(folder)
    words = ["study", "run", str(written(folder, asked))]
    for _ in range(3):
        assert run(words) == 2
        said = capsys.readouterr().err.strip()
        assert "\n" not in said and "full" in said and "the same command continues" in said
    kept = asked.results()
    done, tried = asked.status().counts.done, len(keys)
    assert 0 < done < 12 and len(kept) == 3 * done and asked.status().counts.failed == 0
    full[0] = False
    if way == "disk":
        small_disk("size=8m")
    assert run(words) == 0
    again = asked.results()
    assert len(keys) - tried == 12 - done and len(again) == 36
    assert [row for row in again if row in list(kept)] == list(kept)


def test_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_disk: Callable[[str], Path]
):
    """A run says so; status and results need not write, whether the last change is in the file or
    in its log."""
    feigned(monkeypatch)
    asked = study(tmp_path)
    asked.run()
    whole = rows(asked)
    folder = small_disk("size=4m")
    copied(asked.path, folder)
    with logged(asked.path, folder / "log"):
        small_disk("ro")
        for place in (folder, folder / "log"):
            moved = study(place)
            assert moved.status().counts.done == 12 and rows(moved) == whole
            refused(moved.run, "accepted: a file in a folder that can be written")
    refused(study(folder / "none").run, "accepted: a file in a folder")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    feigned(monkeypatch)
    asked = study(tmp_path)
    asked.run()
    whole = rows(asked)
    tmp_path.chmod(0o555)
    asked.path.chmod(0o444)
    try:
        refused(asked.run, "accepted")
        assert rows(asked) == whole
    finally:
        tmp_path.chmod(0o755)

"""The tables of a store, and the checks before anything is read of one."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sigprop.errors import InputError
from sigprop.studies.store.owners import SUFFIX
from sigprop.studies.store.whole import LOG, NO_DATABASE, has_log, trouble

MARK, FORMAT = 0x51675072, 1
"""Of the file's header: whose it is (sqlite's application_id), and how its tables are laid out."""
PATIENCE = 60.0  # seconds for another writer to be through
READS, PAUSE = 50, 0.02
"""How often a file that is read is tried, and the seconds between."""
WAITING, RUNNING, DONE, FAILED = range(4)
"""What a unit can be."""
NOWHERE = -1
"""The application of a row that has none."""

TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE source (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE);
CREATE TABLE machine (id INTEGER PRIMARY KEY, said TEXT NOT NULL UNIQUE);
CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE owner (id INTEGER PRIMARY KEY, process TEXT NOT NULL);
CREATE TABLE unit (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    source INTEGER NOT NULL REFERENCES source,
    place INTEGER NOT NULL,
    bunch INTEGER NOT NULL,
    cell TEXT NOT NULL,
    status INTEGER NOT NULL,
    samples INTEGER,
    owner INTEGER REFERENCES owner,
    attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    verdict TEXT,
    shared TEXT,
    notes TEXT,
    moments TEXT,
    machine INTEGER REFERENCES machine,
    seconds REAL,
    ended TEXT
);
CREATE INDEX waiting ON unit (source, status, bunch, place);
CREATE TABLE rows (
    quantity INTEGER NOT NULL,
    application INTEGER NOT NULL,
    unit INTEGER NOT NULL REFERENCES unit,
    number INTEGER NOT NULL,
    columns INTEGER NOT NULL REFERENCES names,
    document TEXT NOT NULL,
    PRIMARY KEY (quantity, application, unit, number)
) WITHOUT ROWID;
"""


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """Open the file of a store, made where it is to be written and is not there; one that is only
    read stays as it is at this moment.

    Raises ``InputError`` for a file that is none, of a newer format, cut short, or that cannot be
    written.
    """
    with said(path):
        there = path.exists() and path.stat().st_size > 0
        _check_whole(path, there)
        if not there and not write:
            raise InputError(f"store={str(path)!r}: not there; accepted: a study that was run")
        connection = _writing(path) if write else _reading(path)
        try:
            _check_format(connection, path, empty=write)
            if write:
                _lay_out(connection, path)
                _check_format(connection, path, empty=False)
            else:
                connection.execute("BEGIN")
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def said(path: Path) -> Iterator[None]:
    """Say what sqlite or the system refuses in one line that names the store."""
    try:
        yield
    except sqlite3.Error as error:
        raise InputError(_line(path, str(error))) from None
    except OSError as error:
        raise InputError(_line(path, error.strerror or str(error))) from None


def _line(path: Path, trouble: str) -> str:
    """Write what is wrong with a store, what is kept, and what would do."""
    accepted = "a file in a folder that can be written"
    if "full" in trouble or "disk I/O" in trouble or "No space" in trouble:
        accepted = "room on the disk; what was done is kept, and the same command continues"
    elif "malformed" in trouble or "not a database" in trouble:
        accepted = (
            "a whole store; sqlite3's .recover saves the rows that are left of this one; or "
            "another file, by --store"
        )
    elif "locked" in trouble:
        accepted = "a store that no other program holds for a minute"
    return f"store={str(path)!r}: {trouble}; accepted: {accepted}"


def _writing(path: Path) -> sqlite3.Connection:
    """Return a connection in autocommit."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rwc", uri=True, timeout=PATIENCE, isolation_level=None
    )


def _reading(path: Path) -> sqlite3.Connection:
    """Return a connection that leaves the file as it is."""
    where = f"{path.absolute().as_uri()}?mode=ro"
    for tries in range(1, READS + 1):
        connection = sqlite3.connect(where, uri=True, timeout=PATIENCE, isolation_level=None)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return connection
        except sqlite3.OperationalError:
            connection.close()
            if not os.access(path.absolute().parent, os.W_OK):
                break
            if tries == READS:
                raise
            time.sleep(PAUSE)  # another process is about to remove its log
    if has_log(path):
        return _copied(path)
    # where nobody can write, and without a log beside it, the file alone says everything
    return sqlite3.connect(f"{where}&immutable=1", uri=True, isolation_level=None)


def _copied(path: Path) -> sqlite3.Connection:
    """Return a connection to a copy, with what stands in the log: of a file in a folder that cannot
    be written, where sqlite has no place for an index of the log."""
    found = sqlite3.connect(":memory:", isolation_level=None)
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("", LOG):
            shutil.copyfile(f"{path}{ending}", f"{folder}/{path.name}{ending}")
        copy = sqlite3.connect(f"{folder}/{path.name}")
        copy.backup(found)
        copy.close()
    return found


def _lay_out(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables where there are none."""
    _log_changes(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {MARK}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _log_changes(connection: sqlite3.Connection) -> None:
    """Let changes go to a log. Where several processes ask for that at once sqlite refuses at
    once, too, however long the others are to be waited for."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(PAUSE)


def _check_format(connection: sqlite3.Connection, path: Path, *, empty: bool) -> None:
    """Raise ``InputError`` for another program's file, or a newer store; empty: whether one without
    tables will do."""
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not mark:
        if empty:
            return
        raise InputError(f"store={str(path)!r}: empty; accepted: a study that was run")
    if mark != MARK:
        raise InputError(f"store={str(path)!r}: no study's; accepted: a file that study run made")
    if found > FORMAT:
        raise InputError(
            f"store={str(path)!r}: of format {found}; accepted: up to {FORMAT}, or a newer sigprop"
        )


def _check_whole(path: Path, there: bool) -> None:
    """Raise ``InputError`` for what is no database, a file that is shorter than it says, and one of
    no bytes (or none) beside which there is what a store had."""
    if there:
        found = trouble(path)
    else:
        worked_on = path.exists() and os.path.exists(f"{path}{SUFFIX}")
        found = "malformed, 0 bytes of it are there" if has_log(path) or worked_on else None
    if found == NO_DATABASE:
        raise InputError(f"store={str(path)!r}: no study's; accepted: a file that study run made")
    if found is not None:
        raise InputError(_line(path, found))

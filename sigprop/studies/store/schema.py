"""The tables of a store, and the checks before anything is read of one."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sigprop.errors import InputError

MARK, FORMAT = 0x51675072, 1
"""Of the file's header: whose it is (sqlite's application_id), and how its tables are laid out."""
MAGIC = b"SQLite format 3\0"
PATIENCE = 60.0  # seconds for another writer to be through
WAITING, RUNNING, DONE, FAILED = range(4)
"""What a unit can be."""
NOWHERE = -1
"""The application of a row that has none."""

TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE source (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, versions TEXT NOT NULL);
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
    """Open the file of a store, made where it is to be written and is not there.

    Raises ``InputError`` for a file that is none, of a newer format, cut short, or that cannot be
    written.
    """
    with said(path):
        there = path.exists() and path.stat().st_size > 0
        if not there and not write:
            raise InputError(f"store={str(path)!r}: not there; accepted: a study that was run")
        if there:
            _check_head(path)
        connection = _open(path, write)
        if there:  # before anything is changed in it
            _check_format(connection, path, write)
        if write:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            _lay_out(connection)
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
        accepted = "a whole store; sqlite3's .recover saves the rows that are left of this one"
    elif "locked" in trouble:
        accepted = "a store that no other program holds for a minute"
    return f"store={str(path)!r}: {trouble}; accepted: {accepted}"


def _open(path: Path, write: bool) -> sqlite3.Connection:
    """Return a connection in autocommit; one that cannot write leaves the file as it is."""
    where = path.absolute().as_uri()
    if write:
        connection = sqlite3.connect(
            f"{where}?mode=rwc", uri=True, timeout=PATIENCE, isolation_level=None
        )
        return connection
    try:
        connection = sqlite3.connect(
            f"{where}?mode=ro", uri=True, timeout=PATIENCE, isolation_level=None
        )
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        # a folder that cannot be written: without a log beside it the file alone says everything
        if _log(path):
            raise
        connection = sqlite3.connect(f"{where}?mode=ro&immutable=1", uri=True, isolation_level=None)
    return connection


def _lay_out(connection: sqlite3.Connection) -> None:
    """Make the tables where there are none."""
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


def _check_format(connection: sqlite3.Connection, path: Path, write: bool) -> None:
    """Raise ``InputError`` for another program's file, or a newer store."""
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not mark and not tables and write:
        return  # another process is about to make them
    if mark != MARK:
        raise InputError(f"store={str(path)!r}: no study's; accepted: a file that study run made")
    if found > FORMAT:
        raise InputError(
            f"store={str(path)!r}: of format {found}; accepted: up to {FORMAT}, or a newer sigprop"
        )


def _check_head(path: Path) -> None:
    """Raise ``InputError`` for what is no database, or a file that is shorter than it says.

    With a log beside it the file may be shorter for now: the log holds the rest.
    """
    with path.open("rb") as file:
        head = file.read(100)
    if not head.startswith(MAGIC) or len(head) < 100:
        raise InputError(f"store={str(path)!r}: no study's; accepted: a file that study run made")
    size = int.from_bytes(head[16:18], "big")
    size = 65536 if size == 1 else size
    pages = int.from_bytes(head[28:32], "big")
    if not _log(path) and path.stat().st_size < size * pages:
        raise InputError(
            _line(path, f"malformed, {path.stat().st_size} bytes of {size * pages} are there")
        )


def _log(path: Path) -> bool:
    """Tell if there is a log beside the file that it may need."""
    log = f"{path}-wal"
    return os.path.exists(log) and os.path.getsize(log) > 0

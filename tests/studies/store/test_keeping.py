"""Units kept outside the queue: what is read is what was kept, to the bit; the first stays; all of
it or nothing."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigprop.errors import InputError
from sigprop.studies.store.keeping import is_kept, keep, kept
from sigprop.studies.store.queue import Outcome
from sigprop.studies.store.store import Asked, Store

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
NAMES = st.sampled_from(("a", "b", "theory", "name", "quantity"))
ROWS = st.lists(st.dictionaries(NAMES, VALUES, max_size=5), max_size=6)


def asked(key: str) -> Asked:
    """A unit of a key."""
    return Asked(key, 0, 0, {"varied": {"key": key}}, None)


def put(path: Path, key: str, outcome: Outcome) -> bool:
    """Keep an outcome in a file."""
    with Store(path, write=True) as store:
        return keep(store, store.source("digest"), asked(key), outcome)


@settings(max_examples=40, deadline=None)
@given(many=st.lists(ROWS, min_size=1, max_size=3))
def test_rows_come_back_in_their_order_with_every_value(
    tmp_path_factory: pytest.TempPathFactory, many: list[list[dict[str, Any]]]
):
    path = tmp_path_factory.mktemp("kept") / "store.db"
    for number, rows in enumerate(many):
        assert put(path, str(number), Outcome(rows, {"n": number}, seconds=0.5, machine="here"))
    with Store(path) as store:
        for number, rows in enumerate(many):
            found = kept(store, str(number))
            assert found is not None and found.outcome.notes == {"n": number}
            assert (found.cell, found.source) == ({"varied": {"key": str(number)}}, "digest")
            assert (found.outcome.seconds, found.outcome.machine) == (0.5, "here")
            assert [exact(row) for row in found.outcome.rows] == [exact(row) for row in rows]


def exact(row: Mapping[str, Any]) -> dict[str, tuple[type, str]]:
    """A row's values with their kinds, a float as its bits."""
    return {
        name: (type(value), value.hex() if isinstance(value, float) else repr(value))
        for name, value in row.items()
    }


def test_what_is_kept_stays(tmp_path: Path):
    path = tmp_path / "store.db"
    assert put(path, "one", Outcome([{"a": 1}, {"a": 2}]))
    assert not put(path, "one", Outcome([{"a": 3}]))
    with Store(path) as store:
        found = kept(store, "one")
        assert found is not None and found.outcome.rows == [{"a": 1}, {"a": 2}]
        assert is_kept(store, "one") and not is_kept(store, "two") and kept(store, "two") is None


def test_a_unit_is_kept_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "store.db"
    with pytest.raises(ValueError, match="JSON"):
        put(path, "one", Outcome([{"a": 1.0}, {"a": math.inf}]))
    with Store(path) as store:
        assert store.ask("SELECT count(*) FROM unit") == [(0,)] and not is_kept(store, "one")
    assert put(path, "one", Outcome([{"a": 1.0}]))


def test_what_failed_is_not_kept_and_may_be_kept_later(tmp_path: Path):
    path = tmp_path / "store.db"
    assert put(path, "one", Outcome(failed="no memory"))
    with Store(path) as store:
        assert not is_kept(store, "one")
    assert put(path, "one", Outcome([{"a": 1}]))


def test_a_store_that_cannot_be_written_is_said(tmp_path: Path):
    path = tmp_path / "store.db"
    assert put(path, "one", Outcome([{"a": 1}]))
    with Store(path) as store:
        found = store.connection
        with pytest.raises(InputError, match="accepted"):
            keep(store, 1, asked("two"), Outcome([{"a": 1}]))
        assert found.execute("SELECT count(*) FROM unit").fetchone() == (1,)


def _keep_all(path: Path, begin: int, keys: int) -> None:
    for k in range(keys):
        put(path, str((begin + k) % keys), Outcome([{"a": (begin + k) % keys, "b": 0.1}]))


def test_processes_side_by_side_keep_every_unit_once(tmp_path: Path):
    path, keys = tmp_path / "store.db", 20
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_keep_all, args=(path, 7 * n, keys)) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    with Store(path) as store:
        assert store.ask("SELECT count(*) FROM unit") == [(keys,)]
        for k in range(keys):
            found = kept(store, str(k))
            assert found is not None and found.outcome.rows == [{"a": k, "b": 0.1}]

"""The file of a study: what goes in comes out to the bit, and what cannot be a store is refused."""

from __future__ import annotations

import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sigprop.errors import InputError
from sigprop.studies.store import reading
from sigprop.studies.store.queue import Outcome, exchange, put, take
from sigprop.studies.store.schema import FORMAT
from sigprop.studies.store.store import Asked, Store, put_aside


def asked(count: int, bunches: int = 1, samples: int | None = None) -> list[Asked]:
    """Units that vary k alone, in bunches."""
    return [
        Asked(f"key{k}", k, k % bunches, {"varied": {"k": k}, "options": {}}, samples)
        for k in range(count)
    ]


def opened(path: Path, units: list[Asked], source: str = "s") -> tuple[Store, int]:
    """A store that these units wait in."""
    store = Store(path, write=True)
    store.say(study={"name": "n", "command": "predict"}, shard=None, source=source)
    number = store.source(source)
    store.begin()
    store.request(units, number)
    return store, number


def every(store: Store, **kept: Any) -> list[dict[str, Any]]:
    """All rows, in order."""
    units = reading.finished(store, lambda varied: True, reading.newest(store))
    quantity, application = kept.get("quantity"), kept.get("application")
    return [row for _, row in reading.rows(store, units, quantity, application)]


NUMBERS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.text(max_size=5), st.floats(
        allow_nan=False, allow_infinity=False
    )
)  # fmt: skip
ROWS = st.lists(
    st.dictionaries(st.sampled_from(["value", "se", "token", "verdict", "a b"]), NUMBERS),
    max_size=6,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ROWS, st.integers(0, 3))
def test_rows_come_back_to_the_bit(tmp_path: Path, rows: list[dict[str, Any]], bunches: int):
    """Types too: 1, 1.0 and True are three values."""
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.db"
    given = [{"quantity": "q", "application": k, **row} for k, row in enumerate(rows)]
    store, source = opened(path, asked(1, bunches + 1))
    with store:
        (unit,) = take(store, source, -1)
        put(store, unit.id, Outcome(given))
        assert [sorted(map(repr, row.items())) for row in every(store)] == [
            sorted(map(repr, row.items())) for row in given
        ]


def test_one_quantity_at_one_application(tmp_path: Path):
    store, source = opened(tmp_path / "s.db", asked(2))
    with store:
        for unit in take(store, source, -1, 2):
            last = 2 + unit.cell["varied"]["k"]
            names = ("a", "b")
            put(store, unit.id, Outcome([
                {"quantity": name, "application": at, "value": at} for name in names
                for at in range(last + 1)
            ]))  # fmt: skip
        assert len(every(store)) == 2 * (3 + 4)
        assert [r["value"] for r in every(store, quantity="a", application=1)] == [1, 1]
        assert [r["value"] for r in every(store, quantity="b", application="last")] == [2, 3]
        assert reading.quantities(store) == ["a", "b"]
        with pytest.raises(InputError, match="quantity='c'; known: a, b"):
            every(store, quantity="c")


def test_units_are_taken_once_bunch_by_bunch(tmp_path: Path):
    store, source = opened(tmp_path / "s.db", asked(12, bunches=3))
    with store:
        unit = take(store, source, -1)[0]
        order = []
        while unit is not None:
            order.append(unit)
            unit = exchange(store, source, unit, Outcome())
        assert [u.bunch for u in order] == [0] * 4 + [1] * 4 + [2] * 4
        assert sorted(u.key for u in order) == sorted(u.key for u in asked(12))
        assert take(store, source, -1) == [] and store.counts(source).done == 12


def test_two_at_work_take_different_bunches_and_never_the_same_unit(tmp_path: Path):
    one, source = opened(tmp_path / "s.db", asked(8, bunches=2))
    with one, Store(tmp_path / "s.db", write=True) as two:
        two.begin()
        assert one.owner != two.owner
        first, second = take(one, source, -1)[0], take(two, source, -1)[0]
        assert (first.bunch, second.bunch) == (0, 1)
        rest = [u for _ in range(4) for store in (one, two) for u in take(store, source, 0)]
        keys = [u.key for u in (first, second, *rest)]
        assert len(keys) == len(set(keys)) == 8


def test_more_networks_let_a_unit_wait_again_with_what_it_kept(tmp_path: Path):
    store, source = opened(tmp_path / "s.db", asked(1, samples=8))
    with store:
        (unit,) = take(store, source, -1)
        assert unit.samples == 8 and unit.kept is None
        put(store, unit.id, Outcome([{"quantity": "q", "value": 1.5}], moments={"count": 8}))
        store.request(asked(1, samples=4), source)
        assert store.counts(source).done == 1
        store.request(asked(1, samples=32), source)
        (unit,) = take(store, source, -1)
        assert unit.samples == 32 and unit.kept == {"count": 8}


def test_failed_units_wait_again_when_asked(tmp_path: Path):
    store, source = opened(tmp_path / "s.db", asked(2))
    with store:
        for unit in take(store, source, -1, 2):
            put(store, unit.id, Outcome(failed="because"))
        store.request(asked(2), source)
        assert store.counts(source).failed == 2
        store.request(asked(2), source, retry=True)
        assert store.counts(source).waiting == 2


def test_older_sources_are_other_units(tmp_path: Path):
    store, source = opened(tmp_path / "s.db", asked(2))
    with store:
        put(store, take(store, source, -1)[0].id, Outcome([{"quantity": "q", "value": 1}]))
        newer = store.source("t")
        assert newer != source and store.source("t") == newer
        store.say(source="t")
        assert reading.newest(store) == newer and every(store) == []


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"not a database" * 100, "no study's"),
        (b"SQLite format 3\0", "malformed, 16 bytes of it are there"),
        (b"SQLite format 3\0" + b"\0" * 500, "malformed|not a database|no study's"),
    ],
)
def test_files_that_are_no_store(tmp_path: Path, content: bytes, match: str):
    path = tmp_path / "s.db"
    path.write_bytes(content)
    for write in (False, True):
        with pytest.raises(InputError, match=match) as error:
            Store(path, write=write)
        assert "\n" not in str(error.value)
    assert path.read_bytes() == content


def test_another_programs_database_is_left_alone(tmp_path: Path):
    path = tmp_path / "s.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match="no study's"):
        Store(path)
    with pytest.raises(InputError, match="no study's"):
        Store(path, write=True)
    assert path.read_bytes() == before


def test_a_newer_format_and_a_missing_file(tmp_path: Path):
    store, _ = opened(tmp_path / "s.db", asked(1))
    with store:
        store.ask(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(InputError, match=f"of format {FORMAT + 1}; accepted: up to {FORMAT}"):
        Store(tmp_path / "s.db")
    with pytest.raises(InputError, match="not there"):
        Store(tmp_path / "none.db")
    with pytest.raises(InputError, match="accepted: a file in a folder"):
        Store(tmp_path / "none" / "s.db", write=True)


def test_a_store_that_is_worked_on_is_not_put_aside(tmp_path: Path):
    store, _ = opened(tmp_path / "s.db", asked(1))
    with store, pytest.raises(InputError, match="a process works on"):
        put_aside(tmp_path / "s.db")


def test_what_is_not_a_number_never_gets_in(tmp_path: Path):
    store, source = opened(tmp_path / "s.db", asked(1))
    with store:
        (unit,) = take(store, source, -1)
        with pytest.raises(ValueError, match="not JSON compliant"):
            put(store, unit.id, Outcome([{"quantity": "q", "value": math.nan}]))
        assert every(store) == [] and store.counts(source).running == 1


def test_a_change_that_fails_changes_nothing(tmp_path: Path):
    store, source = opened(tmp_path / "s.db", asked(3))
    before = store.ask("SELECT * FROM unit")
    with store:
        with pytest.raises(KeyError), store.change() as connection:
            connection.execute("DELETE FROM unit")
            raise KeyError
        assert store.ask("SELECT * FROM unit") == before
        assert json.loads(store.ask("SELECT cell FROM unit")[0][0])["varied"] == {"k": 0}


def test_rows_stay_to_be_seen_until_there_are_more(tmp_path: Path):
    """While a larger measurement waits, runs or has failed, those of the smaller are there."""
    store, source = opened(tmp_path / "s.db", asked(1, samples=8))
    with store:
        rows = [{"quantity": "q", "value": k, "samples": 8} for k in (1, 2)]
        put(store, take(store, source, -1)[0].id, Outcome(rows, moments={"count": 8}, samples=8))
        store.request(asked(1, samples=32), source)
        assert every(store) == rows
        (unit,) = take(store, source, -1)
        assert every(store) == rows
        put(store, unit.id, Outcome(failed="no memory"))
        assert every(store) == rows and store.counts(source).failed == 1
        store.request(asked(1, samples=32), source, retry=True)
        (unit,) = take(store, source, -1)
        assert unit.kept == {"count": 8}
        put(store, unit.id, Outcome(rows[:1], samples=32))
        assert store.counts(source).done == 1

"""Whatever ends a run, what is done stays, nothing is done twice, and the numbers are those of a
run that nothing disturbed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from small_studies import SIZES, feigned, rows, study, written

import sigprop as sp
from sigprop import cli
from sigprop.runtime import interrupts
from sigprop.studies.store.queue import Outcome, exchange, put, take
from sigprop.studies.store.schema import FAILED
from sigprop.studies.store.store import Asked, Store

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0  # seconds; generous, the machine may be busy
MEASURE: dict[str, Any] = {
    "command": "measure",
    "parameters": {"depth": 1},
    "options": {"quantities": ["residual_variance"], "width": 8, "samples": 8},
    "grid": {"loops": [1, 2]},
    "seeds": 3,
}
ODD = """
import os, signal
import sigprop as sp

def dies():
    os.kill(os.getpid(), signal.SIGKILL)

def wants_more():
    raise MemoryError("2 TiB")

def waits():
    import time
    time.sleep(300)

def fine():
    return sp.architectures.mlp(depth=1)
"""
COUNTER = """
CREATE TABLE often (unit INTEGER);
CREATE TRIGGER counts AFTER UPDATE OF status ON unit WHEN new.status = 2 AND old.status <> 2
BEGIN INSERT INTO often VALUES (new.id); END;
CREATE TABLE taken (unit INTEGER);
CREATE TRIGGER takes AFTER UPDATE OF status ON unit WHEN new.status = 1 AND old.status <> 1
BEGIN INSERT INTO taken VALUES (new.id); END;
"""


def started(file: Path, *words: str) -> subprocess.Popen[str]:
    """``study run`` in a session of its own."""
    # one that is ignored would be so in the command too
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(
        [sys.executable, "-m", "sigprop", "study", "run", str(file), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def counts(path: Path) -> list[int]:
    """How many units wait, run, are done, have failed; of a store that may not be there yet."""
    with contextlib.suppress(sp.InputError), Store(path) as store:
        return list(store.counts(1))
    return [0, 0, 0, 0]


def until(condition: Any) -> None:
    """Wait for it."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def alone(session: int) -> bool:
    """Whether no process of a session lives."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, of = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state != "Z":
                return False
    return True


def odd(folder: Path, *names: str) -> sp.Study:
    """A unit a function of a file."""
    file = folder / "odd.py"
    file.write_text(ODD)
    return study(
        folder,
        architecture=None,
        parameters=None,
        grid={"architecture": [f"{file}:{name}" for name in names]},
    )


@pytest.mark.parametrize("more", [{}, MEASURE], ids=["predict", "measure"])
def test_numbers_are_the_same_however_a_study_is_run(tmp_path: Path, more: dict[str, Any]):
    """By shards that are merged in any order, with cells in another order, in parts."""
    whole = study(tmp_path, **more)
    whole.run()
    expected = rows(whole)
    parts = study(tmp_path / "parts", **more)
    parts.path.parent.mkdir()
    for index in (2, 3, 1):
        parts.run(shard=f"{index}/3")
    merged = parts.merge(*reversed(parts.shards()))
    assert merged.taken == len(whole.units()) and merged.both == 0
    assert parts.run().done == 0 and rows(parts) == expected
    grid = more.get("grid", {"loops": [1, 2], "residual_scale": list(SIZES)})
    turned = study(tmp_path / "turned", **more | {"grid": {k: v[::-1] for k, v in grid.items()}})
    turned.path.parent.mkdir()
    turned.run()
    assert sorted(map(repr, rows(turned))) == sorted(map(repr, expected))


def test_numbers_are_the_same_by_processes_side_by_side(tmp_path: Path):
    """Half of them of a run before."""
    whole = study(tmp_path, **MEASURE)
    whole.run()
    half = study(tmp_path / "half", **MEASURE)
    half.path.parent.mkdir()
    with_few = half.with_samples(5)
    with_few.run()
    assert half.run(jobs=2).done == 6 and rows(half) == rows(whole)


def test_what_is_asked_for_while_it_runs_is_not_forgotten(tmp_path: Path):
    """Somebody asks for more networks of a unit that another process is at: what that one gives
    back are fewer, so the unit goes on."""
    with Store(tmp_path / "s.db", write=True) as one, Store(tmp_path / "s.db", write=True) as two:
        source = one.source("0")
        one.begin()
        one.request([Asked("k", 0, 0, {}, 8)], source)
        (unit,) = take(one, source, -1)
        two.request([Asked("k", 0, 0, {}, 20)], source)
        row = {"quantity": "q", "application": 0, "value": 1.0}
        again = exchange(one, source, unit, Outcome([row], moments={"count": 8}, samples=8))
        assert again is not None and again.samples == 20 and again.kept == {"count": 8}
        assert exchange(one, source, again, Outcome([row], moments={}, samples=20)) is None
        assert one.counts(source).done == 1


def test_only_who_has_a_unit_gives_it_back(tmp_path: Path):
    """A process that was given up (its locks were lost) does not write over what another did."""
    with Store(tmp_path / "s.db", write=True) as one, Store(tmp_path / "s.db", write=True) as two:
        source = one.source("0")
        one.begin()
        two.begin()
        one.request([Asked("k", 0, 0, {}, None)], source)
        (unit,) = take(one, source, -1)
        one.owners.leave(one.owner)
        assert two.give_back() == 1
        (again,) = take(two, source, -1)
        assert again.id == unit.id
        for value, store in ((2.0, one), (1.0, two), (3.0, one)):
            put(store, unit.id, Outcome([{"quantity": "q", "application": 0, "value": value}]))
        ((text,),) = one.ask("SELECT document FROM rows")
        assert "1.0" in text and one.counts(source).done == 1


@pytest.mark.parametrize("excused", [False, True])
def test_who_dies_twice_over_a_unit(tmp_path: Path, excused: bool):
    """It has failed, with its line; but not where the ends were interrupts, however many."""
    path = tmp_path / "s.db"
    for _ in range(2 + 3 * excused):
        with Store(path, write=True) as store:
            source = store.source("0")
            store.begin()
            store.request([Asked("k", 0, 0, {}, None)], source)
            assert len(take(store, source, -1)) == 1
            if excused:
                store.excuse()
    with Store(path, write=True) as store:
        store.begin()
        assert store.counts(source)[:] == ((1, 0, 0, 0) if excused else (0, 0, 0, 1))
        said = store.ask("SELECT reason FROM unit WHERE status = ?", FAILED)
        assert excused or "killed 2 times" in said[0][0]
        store.request([], source, retry=True)
        assert len(take(store, source, -1)) == 1


def test_the_disk_is_waited_for_where_much_would_be_lost(tmp_path: Path):
    """A machine that loses its power loses half a second of work."""
    waited = []
    with Store(tmp_path / "s.db", write=True) as store:
        source = store.source("0")
        store.begin()
        store.request([Asked(f"k{k}", k, 0, {}, None) for k in range(7)], source)
        (unit,) = take(store, source, -1)
        for seconds in (3.0, 0.2, 0.2, 0.2, 0.1, 0.6, 0.1):
            unit = exchange(store, source, unit, Outcome(seconds=seconds))
            waited += store.ask("PRAGMA synchronous")[0]
    assert waited == [2, 1, 1, 2, 1, 2, 1]


def test_a_store_removed_under_those_who_work_on_it(tmp_path: Path):
    """Its name's next store has other owners, whose numbers are free."""
    path = tmp_path / "s.db"
    code = (
        "import sys; from sigprop.studies.store.store import Store; "
        "store = Store(sys.argv[1], write=True); store.begin(); print('ready', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "ready\n"
        for ending in ("", "-wal", "-shm"):
            Path(f"{path}{ending}").unlink(missing_ok=True)
        with Store(path, write=True) as store:
            assert store.begin() == 2
        other.communicate("\n")


def test_units_that_fail_do_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A bad parameter, networks that diverge, no memory: a line each, exit code 3; --retry runs
    those alone."""
    asked = study(
        tmp_path,
        parameters=None,
        grid=None,
        list=[{"depth": 2}, {"depth": -1}, {"activation": "none-such"}],
    )
    assert cli.run(["study", "run", str(written(tmp_path, asked))]) == 3
    said = capsys.readouterr()
    assert "1 units done now, 2 failed" in said.out and "--retry" in said.err
    reasons = [row["reason"] for row in asked.units() if row["status"] == "failed"]
    assert len(reasons) == 2 and all("accepted" in r or "known" in r for r in reasons)
    assert all("\n" not in reason for reason in reasons)
    ended = [row["ended"] for row in asked.units()]
    assert asked.run().failed == 0  # not again by itself
    assert [row["ended"] for row in asked.units()] == ended
    report = asked.run(retry=True)
    assert report.counts.done == 1 and report.counts.failed == 2


def test_memory_and_divergence_are_lines(tmp_path: Path):
    found = odd(tmp_path, "wants_more", "fine")
    report = found.run()
    assert (report.counts.done, report.counts.failed) == (1, 1)
    assert "out of memory (2 TiB)" in found.units()[0]["reason"]
    wild = study(
        tmp_path / "wild",
        **MEASURE | {"grid": {"residual_scale": [1e30, 0.5]}, "seeds": None},
    )
    wild.path.parent.mkdir()
    assert wild.run().counts.done == 2
    reasons = [row["reason"] for row in wild.units()]
    assert "diverged" in reasons[0] and reasons[1] is None


@pytest.mark.skipif(sys.platform != "linux", reason="kills")
def test_a_unit_that_kills_its_processes_fails_alone(tmp_path: Path):
    """Processes side by side: those that die are replaced, the others' units are done."""
    asked = odd(tmp_path, "dies", "fine")
    report = asked.run(jobs=2)
    assert (report.counts.done, report.counts.failed) == (1, 1)
    (reason,) = (row["reason"] for row in asked.units() if row["reason"])
    assert "killed 2 times" in reason


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One line, exit code 130, at once, no process left; the same command continues, and the unit
    that was at work has not failed, however often that happens."""
    asked = odd(tmp_path, "waits", "fine")
    file = written(tmp_path, asked)
    for k in range(2):
        command = started(file, "--jobs", f"{2 - k}")
        until(lambda: counts(asked.path) == [0, 1, 1, 0])
        begun = time.monotonic()
        (os.killpg if k else os.kill)(command.pid, signal.SIGINT)
        out, said = command.communicate(timeout=PATIENCE)
        assert time.monotonic() - begun < 5.0 and command.returncode == interrupts.INTERRUPTED
        assert said.splitlines() == [
            f"sigprop: interrupted; {asked.path} keeps what is done, and the same command continues"
        ]
        until(partial(alone, command.pid))
        with Store(asked.path, write=True) as store:
            store.begin()
            assert store.counts(1) == (1, 0, 1, 0)
            assert store.ask("SELECT max(attempts) FROM unit") == [(0,)]
    keys = feigned(monkeypatch)
    assert asked.run().counts.done == 2 and len(keys) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_two_runs_at_once_do_every_unit_once(tmp_path: Path):
    """On a file that neither has made yet, one killed and begun again."""
    asked, whole = study(tmp_path), study(tmp_path / "whole")
    file = written(tmp_path, asked)
    runs = [started(file), started(file)]
    until(lambda: any(counts(asked.path)))
    with contextlib.closing(sqlite3.connect(asked.path, timeout=PATIENCE)) as connection:
        connection.executescript(COUNTER)
    until(lambda: counts(asked.path)[1])
    runs[0].kill()
    runs.append(started(file))
    codes = [run.communicate(timeout=PATIENCE) and run.returncode for run in runs]
    assert codes[1:] == [0, 0] and codes[0] in (0, -9)
    assert asked.run().counts.done == 12
    with Store(asked.path) as store:
        often = store.ask("SELECT count(*), count(DISTINCT unit) FROM often")
        assert often[0][0] == often[0][1] <= 12
        # again only what the killed one was at
        assert store.ask("SELECT count(*) - count(DISTINCT unit) FROM taken")[0][0] <= 1
    whole.path.parent.mkdir()
    whole.run()
    assert rows(asked) == rows(whole)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_kills_at_random_moments():
    """As benchmarks/kills.py does, which prints more."""
    seed = random.Random().randrange(10**6)
    words = [sys.executable, ROOT / "benchmarks" / "kills.py", "--kills", "30", "--seed", f"{seed}"]
    found = subprocess.run(
        words, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert found.returncode == 0, found.stdout + found.stderr

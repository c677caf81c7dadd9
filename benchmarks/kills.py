"""``kill -9`` at random moments of study runs: what is left, and what comes of it in the end.

    python benchmarks/kills.py --kills 100 --seed 0

Two small studies (predict, measure) are run once undisturbed. Then stores of them are begun, by
one process, by two or three side by side, by two runs on one file at once, or by shards into stores
of their own; and a process of the run is killed, its parent, or all at once: at a moment that is
log-uniform from the start (imports, planning, opening the store), log-uniform from the first change
of the store on (units taken and given back), or in the moment at which the log beside the store
grows (a write). After every run that ended so: sqlite's integrity check; every unit that was
finished before is there with the same rows, ended at the same second (so not done again); no
process is left. A store that was killed often enough is run to its end (with --retry for units over
which two processes were killed; shards merged, and merges killed, too) and its rows are those of
the undisturbed run, to the bit. Half of the stores count with a trigger how often a unit is done.
Exit code 1 where anything is not so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

PARENT = "parent", "one", "group"
PATIENCE = 60.0  # seconds for a run that nobody kills any more, and for processes to end
EARLIEST, LATEST = 0.05, 8.0  # seconds from the start
SOONEST, LAST = 0.001, 1.0  # seconds from the first change of the store
MOST = 4  # kills of one run's workers
OPENING = 6  # changes of a store before its first unit is taken, or so
STUDIES = {
    "predict": """
command = "predict"
architecture = "looped-mlp"
parameters.depth = 2
options.quantities = ["residual_variance"]
grid.loops = [1, 2]
grid.residual_scale = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2]
""",
    "measure": """
command = "measure"
architecture = "looped-mlp"
parameters.depth = 1
options = {quantities = ["residual_variance"], width = 8, samples = 8}
grid.loops = [1, 2]
seeds = 12
""",
}
WAYS: dict[str, list[list[str]]] = {
    "one job": [[]],
    "two jobs": [["--jobs", "2"]],
    "three jobs": [["--jobs", "3"]],
    "two runs": [[], ["--jobs", "2"]],
    "shards": [["--shard", "1/2"], ["--shard", "2/2"]],
}
COUNTER = """
CREATE TABLE often (unit INTEGER);
CREATE TRIGGER counts AFTER UPDATE OF status ON unit WHEN new.status = 2 AND old.status <> 2
BEGIN INSERT INTO often VALUES (new.id); END;
"""
Rows = list[tuple[Any, ...]]


class Kill(NamedTuple):
    """One kill: how the study was run, what was killed, in which phase, how long after the
    start."""

    way: str
    whom: str
    phase: str
    at: float


@dataclass
class Run:
    """A command in a session of its own, and the store that it changes."""

    words: list[str]
    store: Path
    process: subprocess.Popen[str] = field(init=False)
    changes: int = 0

    def __post_init__(self) -> None:
        self.began, self.seen = time.monotonic(), signature(self.store)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sigprop", "study", *self.words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def look(self) -> bool:
        """Tell if the store has changed since the last look."""
        now = signature(self.store)
        changed = now != self.seen
        self.seen, self.changes = now, self.changes + changed
        return changed

    def wait(self, seconds: float, writes: int | None = None) -> None:
        """Watch the store for so long, or until it has changed so often, or the run is over."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            if self.look() and writes is not None and self.changes >= writes:
                return
            if writes is None:
                time.sleep(0.0005)

    def members(self) -> dict[int, str]:
        """Return the living processes of the session, with their command lines."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                state, _, _, of = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                line = (folder / "cmdline").read_text()
            except OSError:
                continue
            if int(of) == self.process.pid and state != "Z":
                found[int(folder.name)] = line
        return found

    def ended(self) -> bool:
        """Wait until no process of it is left; False where one stays."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if self.process.poll() is not None and not self.members():
                return True
            time.sleep(0.01)
        return False


def signature(store: Path) -> tuple[int, ...]:
    """Return what changes with every change of a store."""
    found = []
    for ending in ("", "-wal"):
        try:
            stat = os.stat(f"{store}{ending}")
        except OSError:
            found += [0, 0]
        else:
            found += [stat.st_size, stat.st_mtime_ns]
    return tuple(found)


def finished(store: Path) -> dict[str, tuple[Any, ...]]:
    """Return by key what a store keeps of its finished units; raises ``AssertionError`` where
    sqlite finds it torn, or a unit was counted as done twice."""
    if not store.exists() or store.stat().st_size == 0:
        return {}
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=PATIENCE)
    with contextlib.closing(connection):
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return {}
        said = connection.execute("PRAGMA integrity_check").fetchall()
        assert said == [("ok",)], f"integrity: {said}"
        with contextlib.suppress(sqlite3.OperationalError):  # of a store that does not count
            twice = connection.execute(
                "SELECT unit, count(*) FROM often GROUP BY unit HAVING count(*) > 1"
            ).fetchall()
            assert not twice, f"done twice: {twice}"
        units = connection.execute(
            "SELECT id, key, shared, notes, moments, seconds, ended FROM unit WHERE status = 2"
        ).fetchall()
        rows: dict[int, Rows] = {}
        for unit, *row in connection.execute(
            "SELECT unit, number, q.name, application, c.name, document FROM rows JOIN names q ON "
            "q.id = quantity JOIN names c ON c.id = columns ORDER BY unit, number"
        ):
            rows.setdefault(unit, []).append(tuple(row))
        bad = connection.execute(
            "SELECT reason FROM unit WHERE status = 3 AND reason NOT LIKE 'its process was killed%'"
        ).fetchall()
        assert not bad, f"failed: {bad}"
        done = {unit for unit, *_ in units}
        assert set(rows) == done, "rows of units that are not done, or none"
    return {key: (*said, rows[unit]) for unit, key, *said in units}


class Trial:
    """One store (or one a shard) from its first run to its last."""

    def __init__(self, name: str, way: str, folder: Path, chance: random.Random):
        self.name, self.way, self.chance = name, way, chance
        self.file = folder / f"{name}.toml"
        self.file.write_text(f'name = "{name}"{STUDIES[name]}')
        self.before: dict[Path, dict[str, tuple[Any, ...]]] = {}
        self.kills: list[Kill] = []
        self.retried = 0
        if chance.random() < 0.5:
            for store in sorted({self.store(words) for words in WAYS[way]}):
                self._count(store)

    def store(self, words: list[str]) -> Path:
        """Return the file that a run with these words changes."""
        if "--shard" not in words:
            return self.file.with_suffix(".db")
        index, _, count = words[1].partition("/")
        return self.file.with_name(f"{self.name}.shard-{index}-of-{count}.db")

    def _count(self, store: Path) -> None:
        from sigprop.studies.store.store import Store

        Store(store, write=True).close()
        with contextlib.closing(sqlite3.connect(store)) as connection:
            connection.executescript(COUNTER)

    def disturbed(self) -> None:
        """Start a run (or two at once) and kill until it is over."""
        shards = self.way == "shards"
        chosen = [self.chance.choice(WAYS[self.way])] if shards else WAYS[self.way]
        runs = [Run(["run", str(self.file), *words], self.store(words)) for words in chosen]
        for run in self.chance.sample(runs, len(runs)):
            self.kill(run)
        self.check(runs)

    def kill(self, run: Run) -> None:
        """Kill at a random moment, and again where a worker was, so that the run goes on."""
        whom = self.chance.choice(PARENT)
        for _ in range(MOST):
            kind = self.chance.choice(("start", "work", "write"))
            if kind == "start":
                latest = EARLIEST * (LATEST / EARLIEST) ** self.chance.random()
                run.wait(latest)
            elif kind == "work":
                run.wait(PATIENCE, 1 if not run.changes else run.changes + 1)
                run.wait(SOONEST * (LAST / SOONEST) ** self.chance.random())
            else:
                run.wait(PATIENCE, run.changes + self.chance.randrange(1, 40))
            members = run.members()
            if run.process.poll() is not None or not members:
                return
            phase = "starting" if not run.changes else "working"
            if 0 < run.changes < OPENING:
                phase = "opening"
            phase = "writing" if kind == "write" else phase
            who = {"parent": run.process.pid, "group": 0}.get(whom)
            who = self.chance.choice(list(members)) if who is None else who
            with contextlib.suppress(ProcessLookupError):
                (os.kill if who else os.killpg)(who or run.process.pid, signal.SIGKILL)
            kind = self._kind(run, who, members)
            self.kills.append(Kill(self.way, kind, phase, time.monotonic() - run.began))
            if kind in ("parent", "group"):
                return

    def _kind(self, run: Run, who: int, members: dict[int, str]) -> str:
        if not who:
            return "group"
        if who == run.process.pid:
            return "parent"
        return "tracker" if "resource_tracker" in members[who] else "worker"

    def check(self, runs: list[Run]) -> None:
        """Check what is left; raises ``AssertionError``."""
        for run in runs:
            assert run.ended(), f"left: {run.members()}"
            said = (run.process.stdout.read() if run.process.stdout else "").strip()
            assert run.process.returncode in (0, 3, -9), (run.process.returncode, said)
            assert "Traceback" not in said or run.process.returncode == -9, said
        for store in {run.store for run in runs}:
            now, before = finished(store), self.before.get(store, {})
            lost = [key for key in before if now.get(key) != before[key]]
            assert not lost, f"lost or done again: {len(lost)} of {len(before)}"
            self.before[store] = now

    def end(self) -> list[dict[str, Any]]:
        """Run what is left, and return the rows."""
        for words in WAYS[self.way]:
            run = Run(["run", str(self.file), *words, "--retry"], self.store(words))
            self.check([run])
            assert run.process.returncode == 0, run.process.returncode
        if self.way == "shards":
            merge = ["merge", str(self.file)]
            for _ in range(2):
                run = Run(merge, self.file.with_suffix(".db"))
                self.kill(run)
                self.check([run])
            self.check([last := Run(merge, self.file.with_suffix(".db"))])
            assert last.process.returncode == 0
        return rows(self.file)


def rows(file: Path) -> list[dict[str, Any]]:
    """Return a study's rows without where they come from."""
    import sigprop as sp

    table = sp.Study.load(file).results(provenance=False)
    return json.loads(table.to_json())["rows"]


def undisturbed(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Run both studies once, and return their rows."""
    found = {}
    for name, text in STUDIES.items():
        file = folder / f"{name}.toml"
        file.write_text(f'name = "{name}"{text}')
        run = Run(["run", str(file)], file.with_suffix(".db"))
        assert run.ended() and run.process.returncode == 0, run.process.communicate()
        found[name] = rows(file)
        print(f"{name}: {len(found[name])} rows, {time.monotonic() - run.began:.1f} s", flush=True)
    return found


def main() -> int:
    """Kill until it is enough, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=6, help="kills of a store before its last run")
    given = parser.parse_args()
    chance, began = random.Random(given.seed), time.monotonic()
    kills, faults, trials = list[Kill](), list[str](), 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("SIGPROP_CACHE", f"{folder}/cache")
        expected = undisturbed(Path(folder))
        while len(kills) < given.kills:
            place = Path(folder, str(trials))
            place.mkdir()
            way, name = list(WAYS)[trials % len(WAYS)], list(STUDIES)[trials % len(STUDIES)]
            trial = Trial(name, way, place, chance)
            fault = ""
            try:
                while len(trial.kills) < given.each and len(kills) + len(trial.kills) < given.kills:
                    trial.disturbed()
                fault = "" if trial.end() == expected[name] else "other rows"
            except (AssertionError, sqlite3.Error) as error:
                fault = str(error)
            trials, kills = trials + 1, kills + trial.kills
            faults += [fault] if fault else []
            said = ", ".join(f"{k.whom} {k.phase} {k.at:.2f} s" for k in trial.kills)
            print(f"{trials:3d} {name} {way}: {fault or 'ok'}; {said}", flush=True)
    print(f"{len(kills)} kills of {trials} stores in {time.monotonic() - began:.0f} s")
    for part in ("way", "whom", "phase"):
        print(f"  {part}: {dict(Counter(getattr(kill, part) for kill in kills))}")
    print(f"{len(faults)} faults {faults}")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())

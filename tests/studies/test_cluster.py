"""Units on dask's workers: their numbers, a worker that dies, a cluster that is none."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_studies import rows, study

from sigprop.errors import InputError
from sigprop.studies.running import cluster, here
from sigprop.studies.store.queue import Outcome
from sigprop.studies.store.store import Asked, Store, Unit

PATIENCE = 300.0  # seconds
CLUSTER = """
import sys, time
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(
        n_workers=4, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        print(cluster.scheduler_address, *(w.process.pid for w in cluster.workers.values()))
        sys.stdout.flush()
        sys.stdin.readline()
"""
MORE = {
    "command": "measure",
    "parameters": {"depth": 1},
    "options": {"quantities": ["residual_variance"], "width": 8, "samples": 8},
    "grid": {"loops": [1, 2]},
    "seeds": 20,
}


def test_without_the_library(tmp_path: Path):
    if importlib.util.find_spec("distributed") is not None:
        pytest.skip("it is installed")
    with pytest.raises(InputError, match=r"^scheduler='slurm': distributed is not installed; "):
        study(tmp_path).run(scheduler="slurm")


@pytest.mark.skipif(sys.platform != "linux", reason="kills")
def test_four_processes_of_which_one_is_killed(tmp_path: Path):
    """All units are done, with the numbers of a run here, to the bit; then a cluster that is gone
    is a line, and what was done is there."""
    pytest.importorskip("distributed")
    whole, asked = study(tmp_path, **MORE), study(tmp_path / "on", **MORE)
    asked.path.parent.mkdir()
    script = tmp_path / "cluster.py"
    script.write_text(CLUSTER)
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        address, *workers = other.stdout.readline().split()
        assert len(workers) == 4
        command = subprocess.Popen(
            [sys.executable, "-c", RUN, str(asked.path), address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until = time.monotonic() + PATIENCE
        while not done(asked.path) and command.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(int(workers[0]), signal.SIGKILL)
        said = command.communicate(timeout=PATIENCE)
        other.communicate("\n")
    assert command.returncode == 0, said
    counts = asked.status().counts
    assert counts.done == counts.total == 40
    whole.run()
    assert rows(asked) == rows(whole)


RUN = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1] / "helpers")!r})
from small_studies import study
MORE = {MORE!r}
asked = study(Path(sys.argv[1]).parent, **MORE)
asked.run(scheduler=sys.argv[2])
"""


def done(path: Path) -> int:
    """How many units are done."""
    try:
        with Store(path) as store:
            return store.counts(1).done
    except InputError:
        return 0


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere://x", "no address", ""])
def test_no_cluster_is_a_line(tmp_path: Path, address: str):
    pytest.importorskip("distributed")
    begun = time.monotonic()
    with pytest.raises(InputError) as found:
        study(tmp_path).run(scheduler=address)
    assert str(found.value).startswith(f"scheduler={address!r}: ") and "\n" not in str(found.value)
    assert "accepted: slurm" in str(found.value) and time.monotonic() - begun < 40.0


def test_no_slurm_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="there is no sbatch here; accepted: slurm, on a machine"):
        study(tmp_path).run(scheduler="slurm")


class Killed(Exception):
    """What dask says of a task whose workers die."""


@dataclass(eq=False)
class Future:
    """What came of units that were sent."""

    outcomes: list[Outcome] | None

    def exception(self) -> Exception | None:
        return Killed() if self.outcomes is None else None

    def result(self) -> list[Outcome] | None:
        return self.outcomes


def test_of_units_sent_together_one_alone_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Workers die over one of four: the others are sent again, each by itself."""
    sent: list[int] = []

    class Client:
        def nthreads(self) -> dict[str, int]:
            return {}

        def submit(self, function: object, command: str, units: list[Unit], *_: object, **__: bool):
            sent.append(len(units))
            bad = any(unit.key == "k2" for unit in units)
            return Future(None if bad else [Outcome() for _ in units])

    monkeypatch.setattr(cluster, "_distributed", lambda: SimpleNamespace(KilledWorker=Killed))
    monkeypatch.setattr(cluster, "_ended", list)
    monkeypatch.setattr(cluster, "identity", str)
    plan = study(tmp_path).plan
    with Store(tmp_path / "s.db", write=True) as store:
        source = store.source("0")
        store.begin()
        store.request([Asked(f"k{k}", k, 0, {}, None) for k in range(6)], source)
        cluster._through(store, here.Work(store.path, plan, source), Client(), lambda: None)
        assert store.counts(source)[:] == (0, 0, 5, 1) and sorted(sent) == [1, 1, 1, 1, 2, 4]
        said = store.ask("SELECT key, reason FROM unit WHERE reason IS NOT NULL")
        assert said == [("k2", "its worker ended: Killed; accepted: --retry, or smaller sizes")]

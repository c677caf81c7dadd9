"""Units on dask's workers: their numbers, a worker that dies, a cluster that is none."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_studies import rows, study

from sigprop.errors import InputError
from sigprop.studies.store.store import Store

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
    ) as cluster:
        assert cluster.stdout is not None
        address, *workers = cluster.stdout.readline().split()
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
        cluster.communicate("\n")
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

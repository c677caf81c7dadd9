"""Units worked through on a dask cluster: this process alone touches the store, workers compute."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.studies.plan.units import source
from sigprop.studies.running.here import Work
from sigprop.studies.running.one import run, same_source
from sigprop.studies.store.queue import Outcome, put, take
from sigprop.studies.store.store import Store, Unit

SLURM = "slurm"
TOGETHER = 4
"""Units of one bunch that a worker is sent at a time: they share compiled programs."""
AHEAD = 2  # sendings a worker that wait at it
LOOK = 0.25  # seconds


def on_cluster(
    store: Store, work: Work, scheduler: str, jobs: int, look: Callable[[], None]
) -> None:
    """Run the units on dask's workers; those of a worker that dies go to another, and a unit that
    takes several with it has failed.

    scheduler: an address such as tcp://host:8786, or 'slurm' (dask-jobqueue, as its configuration
    says; jobs: how many). Raises ``InputError`` where there is no cluster.
    """
    client = _client(scheduler, jobs)
    distributed = importlib.import_module("distributed")
    command = str(work.plan.document["command"])
    waiting: dict[Any, list[Unit]] = {}
    expected = source()
    try:
        while True:
            most = AHEAD * max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
            while len(waiting) < most:
                units = take(store, work.source, -1, TOGETHER)
                if not units:
                    break
                future = client.submit(
                    _several, command, units, work.plan.described, expected, pure=False
                )
                waiting[future] = units
            if not waiting:
                return
            for future in _ended(distributed, list(waiting)):
                _keep(store, waiting.pop(future), future)
            look()
    finally:
        client.close()


def _ended(distributed: Any, futures: Sequence[Any]) -> list[Any]:
    """Return the futures that have ended, after a moment at most."""
    try:
        return list(distributed.wait(futures, timeout=LOOK, return_when="FIRST_COMPLETED").done)
    except TimeoutError:
        return []


def _several(
    command: str, units: Sequence[Unit], described: Mapping[str, Architecture], expected: str
) -> list[Outcome]:
    """On a worker: run units one after another."""
    same_source(expected)
    return [run(command, unit, described) for unit in units]


def _keep(store: Store, units: Sequence[Unit], future: Any) -> None:
    """Keep what came of units, or that their workers died; raises ``InputError`` for a worker of
    other sources, and what dask says of a cluster that is gone."""
    trouble = future.exception()
    if isinstance(trouble, InputError):
        raise trouble
    if trouble is not None:
        line = f"its worker ended: {type(trouble).__name__}; accepted: --retry, or smaller sizes"
        outcomes = [Outcome(failed=line, ended=Outcome.now())] * len(units)
    else:
        outcomes = future.result()
    for unit, outcome in zip(units, outcomes, strict=True):
        put(store, unit.id, outcome)


def _client(scheduler: str, jobs: int) -> Any:
    """Return a client of the cluster; raises ``InputError``."""
    try:
        distributed = importlib.import_module("distributed")
        if scheduler == SLURM:
            jobqueue = importlib.import_module("dask_jobqueue")
            cluster = jobqueue.SLURMCluster()
            cluster.scale(jobs=jobs)
            return distributed.Client(cluster)
        return distributed.Client(scheduler, timeout="20s")
    except ImportError as error:
        raise InputError(
            f"scheduler={scheduler!r}: {error.name} is not installed; accepted: pip install "
            f"'sigprop[distributed]'"
        ) from None
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise InputError(
            f"scheduler={scheduler!r}: {said}; accepted: slurm, or the address of a dask scheduler "
            f"such as tcp://host:8786"
        ) from None

"""Units worked through on a dask cluster: this process alone touches the store, workers compute."""

from __future__ import annotations

import contextlib
import importlib
import logging
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any

from sigprop.description.architecture import Architecture
from sigprop.errors import InputError, short
from sigprop.studies.running.here import Work
from sigprop.studies.running.one import check_same, identity, run
from sigprop.studies.store.queue import Outcome, put, take
from sigprop.studies.store.store import Store, Unit

SLURM = "slurm"
TOGETHER = 4
"""Units of one bunch that a worker is sent at a time: they share compiled programs."""
AHEAD = 2  # sendings a worker that wait at it
LOOK, PATIENCE = 0.25, 15  # seconds between looks, and for a scheduler to answer


def on_cluster(
    store: Store, work: Work, scheduler: str, jobs: int, look: Callable[[], None]
) -> None:
    """Run the units on dask's workers; those of a worker that dies go to another, and a unit that
    takes several with it has failed.

    scheduler: an address such as tcp://host:8786, or 'slurm' (dask-jobqueue, as its configuration
    says; jobs: how many). Raises ``InputError`` where there is no cluster, or it is gone.
    """
    client = _client(scheduler, jobs)
    store.excuse()  # the units are run elsewhere: no end of this process is theirs
    try:
        _through(store, work, client, look)
    except (OSError, CancelledError) as error:
        said = "the connection is lost" if isinstance(error, CancelledError) else _line(error)
        raise InputError(
            f"scheduler={scheduler!r}: {said}; accepted: a cluster that runs; what was done is "
            f"kept, and the same command continues"
        ) from None
    finally:
        with contextlib.suppress(OSError, TimeoutError):
            client.close(timeout=PATIENCE)


def _through(store: Store, work: Work, client: Any, look: Callable[[], None]) -> None:
    """Send what waits and keep what comes back until there is neither."""
    command = str(work.plan.document["command"])
    waiting: dict[Any, list[Unit]] = {}
    expected = identity()

    def send(units: list[Unit]) -> None:
        sent = client.submit(_several, command, units, work.plan.described, expected, pure=False)
        waiting[sent] = units

    while True:
        most = AHEAD * max(1, len(client.nthreads()))
        while len(waiting) < most:
            units = take(store, work.source, -1, TOGETHER)
            if not units:
                break
            send(units)
        if not waiting:
            return
        for future in _ended(list(waiting)):
            units = waiting.pop(future)
            if isinstance(future.exception(), _distributed().KilledWorker) and len(units) > 1:
                for unit in units:  # one of them it was
                    send([unit])
            else:
                _keep(store, units, future)
        look()


def _distributed() -> Any:
    """Return the library; raises ``ImportError``."""
    return importlib.import_module("distributed")


def _ended(futures: Sequence[Any]) -> list[Any]:
    """Return the futures that have ended, after a moment at most."""
    try:
        found = _distributed().wait(futures, timeout=LOOK, return_when="FIRST_COMPLETED")
    except TimeoutError:
        return []
    return list(found.done)


_ALONE = threading.Lock()


def _several(
    command: str, units: Sequence[Unit], described: Mapping[str, Architecture], expected: str
) -> list[Outcome]:
    """On a worker: run units one after another, whatever its threads."""
    with _ALONE:
        check_same(expected)
        return [run(command, unit, described) for unit in units]


def _keep(store: Store, units: Sequence[Unit], future: Any) -> None:
    """Keep what came of units, or that their workers died; raises ``InputError`` for a worker of
    other sources, and what dask raises for a cluster that is gone."""
    trouble = future.exception()
    if isinstance(trouble, InputError | CancelledError):
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
        distributed = _distributed()
        for name in list(logging.root.manager.loggerDict):  # what they say is raised, too
            if name.partition(".")[0] == "distributed":
                logging.getLogger(name).setLevel(logging.CRITICAL)
        if scheduler != SLURM:
            return distributed.Client(scheduler, timeout=f"{PATIENCE}s")
        jobqueue = importlib.import_module("dask_jobqueue")
        if shutil.which("sbatch") is None:
            raise OSError("there is no sbatch here")
        cluster = jobqueue.SLURMCluster()
        cluster.scale(jobs=jobs)
        return distributed.Client(cluster)
    except ImportError as error:
        raise InputError(
            f"scheduler={scheduler!r}: {error.name} is not installed; accepted: pip install "
            f"'sigprop[distributed]'"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"scheduler={scheduler!r}: {_line(error)}; accepted: slurm, on a machine that submits "
            f"to it, or the address of a dask scheduler such as tcp://host:8786"
        ) from None


def _line(error: BaseException) -> str:
    """Write what an error says, or its name, in a line."""
    return short(error, 200) or type(error).__name__

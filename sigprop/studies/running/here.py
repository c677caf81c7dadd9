"""Units worked through in this process, or in processes side by side that share the store."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from sigprop.errors import InputError
from sigprop.runtime import cache, interrupts, processes, traced
from sigprop.studies.plan.plan import Plan
from sigprop.studies.running.one import run
from sigprop.studies.store.queue import exchange, take
from sigprop.studies.store.store import Store

LOOK = 0.25  # seconds between looks at the processes and the counts
MOST_STARTS = 100
"""Processes that may die before they have taken a unit."""


@dataclass(frozen=True)
class Work:
    """Say what is worked on: a store's units of one source, of a plan."""

    path: Path
    plan: Plan
    source: int


def through(
    store: Store, work: Work, bunch: int = -1, advance: Callable[[bool], object] = bool
) -> None:
    """Run the units that wait, one after another, until none does.

    bunch: where to begin; advance: is told of every unit if it failed. Raises ``InputError`` where
    the store cannot be written.
    """
    command = str(work.plan.document["command"])
    unit = next(iter(take(store, work.source, bunch)), None)
    while unit is not None:
        outcome = run(command, unit, work.plan.described)
        unit = exchange(store, work.source, unit, outcome)
        advance(outcome.failed is not None)


def side_by_side(store: Store, work: Work, jobs: int, look: Callable[[], None]) -> None:
    """Run the units in ``jobs`` processes; one that dies is replaced, and its unit waits again.

    look: is called a few times a second. Raises ``InputError`` for what a process could not do.
    """
    context = multiprocessing.get_context("spawn")
    processes.start_tracker()
    bunches = store.bunches(work.source)
    jobs = min(jobs, store.counts(work.source).waiting)
    starts = [bunches[len(bunches) * k // jobs] for k in range(jobs)]
    running = [_Worker(context, work, start) for start in starts]
    try:
        while running:
            wait([worker.process.sentinel for worker in running], LOOK)
            look()
            running = _living(store, work, running, context)
    except BaseException:
        cache.doubt()
        for worker in running:
            worker.process.terminate()
        raise


def _living(store: Store, work: Work, running: list[_Worker], context: Any) -> list[_Worker]:
    """Return the processes that run, those that died replaced while units wait."""
    ended = [worker for worker in running if not worker.process.is_alive()]
    for worker in ended:
        worker.process.join()
        worker.raise_said()
    alive = [worker for worker in running if worker not in ended]
    died = [worker for worker in ended if worker.process.exitcode != 0]
    if died:
        cache.doubt()
    if store.give_back() or died:
        missing = min(len(ended), store.counts(work.source).waiting)
        if sum(worker.starts for worker in died) > MOST_STARTS:
            raise InputError("jobs: processes end as soon as they begin; accepted: --jobs 1")
        alive += [_Worker(context, work, -1, worker.starts + 1) for worker in ended[:missing]]
    return alive


class _Worker:
    """A process that works on the store, and the line that it says where it cannot."""

    def __init__(self, context: Any, work: Work, bunch: int, starts: int = 0):
        self.starts = starts
        self.said, theirs = context.Pipe(duplex=False)
        self.process = context.Process(
            target=_begin, args=(work, bunch, traced.State.folder, theirs), daemon=True
        )
        with interrupts.State.lock:  # an interrupt counts those it has to end
            self.process.start()
        theirs.close()

    def raise_said(self) -> None:
        """Raise ``InputError`` with what a process that has ended said, if anything."""
        try:
            said = self.said.recv() if self.said.poll() else None
        except EOFError:  # it ended without a word
            return
        if said is not None:
            raise InputError(said)


def _begin(work: Work, bunch: int, folder: str | None, said: Connection) -> None:
    """In a process: work until nothing waits."""
    processes.follow(folder)
    try:
        with Store(work.path, write=True) as store:
            store.begin()
            through(store, work, bunch)
    except InputError as error:
        said.send(str(error))
        said.close()

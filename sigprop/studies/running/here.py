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
MOST_STARTS = 20
"""Processes that may die one after another while no unit ends and none is given back."""


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
        if unit is None and store.give_back():  # of a process that died since this one began
            unit = next(iter(take(store, work.source, -1)), None)


def side_by_side(store: Store, work: Work, jobs: int, look: Callable[[], None]) -> None:
    """Run the units in ``jobs`` processes; one that dies is replaced, and its unit waits again.

    look: is called a few times a second. Raises ``InputError`` for what a process could not do.
    """
    bunches = store.bunches(work.source)
    jobs = min(jobs, store.counts(work.source).waiting) if bunches else 0
    pool = _Pool(store, work)
    interrupts.leaves(pool.excuse)
    processes.start_tracker()
    try:
        for k in range(jobs):
            pool.start(bunches[len(bunches) * k // jobs])
        while pool.running:
            wait([worker.process.sentinel for worker in pool.running], LOOK)
            look()
            pool.look()
    except BaseException:
        cache.doubt()
        pool.excuse()
        for worker in pool.running:
            worker.process.terminate()
        raise


class _Pool:
    """The processes that run."""

    def __init__(self, store: Store, work: Work):
        self.store, self.work = store, work
        self.context = multiprocessing.get_context("spawn")
        self.running: list[_Worker] = []
        self.owners = [store.owner or 0]  # lists may grow under an interrupt's eyes
        self.fruitless = 0

    def start(self, bunch: int = -1) -> None:
        """Start one."""
        owner = self.store.enrol()
        self.owners.append(owner)
        self.running.append(_Worker(self.context, self.work, bunch, owner))

    def excuse(self) -> None:
        """Let the end of all of them be no fault of the units that they have."""
        self.store.excuse(*self.owners)

    def look(self) -> None:
        """Replace those that died while units wait."""
        ended = [worker for worker in self.running if not worker.process.is_alive()]
        for worker in ended:
            worker.process.join()
            worker.raise_said()
        self.running = [worker for worker in self.running if worker not in ended]
        died = sum(worker.process.exitcode != 0 for worker in ended)
        given = self.store.give_back()
        if died:
            cache.doubt()
        # of those that die before they have a unit, not many
        self.fruitless = 0 if given else self.fruitless + died
        if self.fruitless > MOST_STARTS:
            raise InputError("jobs: processes end as soon as they begin; accepted: --jobs 1")
        if given or died:
            for _ in range(min(len(ended), self.store.counts(self.work.source).waiting)):
                self.start()


class _Worker:
    """A process that works on the store, and the line that it says where it cannot."""

    def __init__(self, context: Any, work: Work, bunch: int, owner: int):
        self.said, theirs = context.Pipe(duplex=False)
        self.process = context.Process(
            target=_begin, args=(work, bunch, owner, traced.State.folder, theirs), daemon=True
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


def _begin(work: Work, bunch: int, owner: int, folder: str | None, said: Connection) -> None:
    """In a process: work until nothing waits."""
    processes.follow(folder)
    try:
        with Store(work.path, write=True) as store:
            interrupts.leaves(store.excuse)  # where the process that started this one ends
            store.begin(owner)
            through(store, work, bunch)
    except InputError as error:
        said.send(str(error))
        said.close()

"""Work side by side: compilation, most of a small run, uses one core. No process outlives the
one that started it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import ParamSpec, TypeVar

from sigprop.runtime import cache, interrupts, traced

_P = ParamSpec("_P")
_R = TypeVar("_R")
MOST_JOBS = 4


def cores() -> int:
    """Processes side by side where nothing else was asked for."""
    return min(
        MOST_JOBS,
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    )


@contextmanager
def processes(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """``jobs`` fresh processes; an interrupt reaches this one alone, which then ends them at
    once and cancels what waits."""
    context = multiprocessing.get_context("spawn")
    start_tracker()
    pool = _Pool(jobs, context, initializer=follow, initargs=(traced.State.folder,))
    try:
        yield pool
    except BaseException:
        cache.doubt()
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    pool.shutdown()


class _Pool(ProcessPoolExecutor):
    """Starts processes (which ``submit`` does) never while an interrupt counts those it has to
    end."""

    def submit(self, fn: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_R]:
        with interrupts.State.lock:
            return super().submit(fn, *args, **kwargs)


def start_tracker() -> None:
    """Start multiprocessing's tracker of semaphores, which would list on stderr what it cleans
    up after an interrupt, with none."""
    if not interrupts.State.watching:
        return
    with interrupts.State.lock:
        interrupts.State.stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        try:
            resource_tracker.ensure_running()
        finally:
            os.dup2(interrupts.State.stderr, 2)
            os.close(null)
            interrupts.block()


def follow(folder: str | None) -> None:
    """In a process: leave interrupts to the one that started it, end with that one, however it
    ends, keep traced programs where that one does, and take of a GPU's memory what is used, not
    three quarters: there are others beside it."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    traced.keep(folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        _follow(parent.sentinel, 0.0)
        threading.Thread(target=_follow, args=(parent.sentinel, None), daemon=True).start()


def _follow(sentinel: int, seconds: float | None) -> None:
    if wait([sentinel], seconds):
        interrupts.farewell()
        os._exit(interrupts.INTERRUPTED)

"""The chosen figures made side by side, a line each as it ends, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sigprop.cli.streams import remark
from sigprop.runtime.processes import processes
from sigprop.runtime.progress import Labelled, bar

if TYPE_CHECKING:
    from sigprop.paper_figures import Figure
    from sigprop.paper_figures._run import Run
    from sigprop.paper_figures._store import Made

Documents = dict[str, dict[str, Any]]
TRUST = 60.0  # seconds that the stated ones are believed for
# a full run's seconds next to a quick one's, roughly: eight times the networks, as much compilation
FULL = 4.0


@dataclass(frozen=True)
class Request:
    """What was asked of every figure."""

    folder: Path
    formats: tuple[str, ...]
    quick: bool
    seed: int

    def run(self, progress: Any = None) -> Run:
        """Return what a figure's ``tables`` is given."""
        from sigprop.paper_figures._run import Run

        run = Run(self.quick, self.seed)
        return run if progress is None else replace(run, progress=progress)


def every(
    chosen: list[Figure], request: Request, replot: bool, jobs: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """The figures' JSON documents, in their order; what the folder holds already is judged and
    drawn again, nothing sampled for it."""
    from sigprop.paper_figures import _make, _store

    out, asked = request.folder, request.run()
    kept = [figure for figure in chosen if replot or _store.done(figure, out, asked)]
    rest = [figure for figure in chosen if figure not in kept]
    size, found = max(len(figure.name) for figure in chosen), Documents()
    jobs = max(1, min(jobs, len(rest)))
    ahead = _Ahead(rest, (1.0 if request.quick else FULL) / jobs)
    say(f"{len(rest)} to make{ahead.left()}, {len(kept)} in {request.folder} already")
    for figure in kept:
        started = time.monotonic()
        key = None if replot else _store.asked(figure, asked).key
        document = found[figure.name] = _make.again(figure, out, request.formats, key)
        seconds = time.monotonic() - started
        say(_line(document, size, seconds, "replotted" if replot else "kept"))
    ahead.begin()
    for figure, document, seconds in _made(rest, request, jobs):
        found[figure.name] = document
        ahead.finish(figure)
        say(
            f"{_line(document, size, seconds, 'made')}"
            f"{f'  ({len(ahead.waiting)} to go{ahead.left()})' if ahead.waiting else ''}"
        )
    return [found[figure.name] for figure in chosen]


def _made(
    rest: list[Figure], request: Request, jobs: int
) -> Iterator[tuple[Figure, dict[str, Any], float]]:
    """(figure, its document, seconds), as they end: the longest first; those that measure times
    alone, after all others. One that fails is named and keeps no other from being made; the
    first failure is raised when all are through."""
    timed = [figure for figure in rest if figure.volatile]
    others = sorted(
        (figure for figure in rest if not figure.volatile), key=lambda figure: -figure.seconds
    )
    failed: list[Exception] = []
    if jobs > 1 and others:
        with processes(jobs) as pool, bar(unit="") as whole:
            whole.start(round(sum(figure.seconds for figure in rest)), "figures, seconds of work")
            futures = {pool.submit(_elsewhere, figure.name, request): figure for figure in others}
            for future in as_completed(futures):
                whole.advance(round(futures[future].seconds))
                try:
                    yield futures[future], *_kept(futures[future], future.result(), request)
                except Exception as error:
                    remark(f"{futures[future].name}: failed, {type(error).__name__}: {error}")
                    failed.append(error)
        others = []
    for figure in [*others, *timed]:
        with bar() as rounds:
            try:
                made = _sampled(figure, request, Labelled(rounds, figure.name))
                yield figure, *_kept(figure, made, request)
            except Exception as error:
                remark(f"{figure.name}: failed, {type(error).__name__}: {error}")
                failed.append(error)
    if failed:
        raise failed[0]


def _elsewhere(name: str, request: Request) -> Made:
    """In a process: return a figure's tables, which the one that started it keeps."""
    from sigprop.paper_figures import figure

    return _sampled(figure(name), request)


def _sampled(figure: Figure, request: Request, progress: Any = None) -> Made:
    """Return a figure's tables as they are kept."""
    from sigprop.paper_figures import _make

    return _make.sampled(figure, request.run(progress))


def _kept(figure: Figure, made: Made, request: Request) -> tuple[dict[str, Any], float]:
    """Keep a figure's tables and write out what the store has; return its JSON, and the seconds of
    all of it."""
    from sigprop.paper_figures import _make

    started = time.monotonic()
    document = _make.kept(figure, request.folder, made, request.formats)
    return document, made.outcome.seconds + time.monotonic() - started


def _line(document: dict[str, Any], size: int, seconds: float, what: str) -> str:
    judged = document["judgement"]
    seen = "" if judged["detects"] is None else f"  a shift of {judged['detects']:.1%} would show"
    reason = f"  {judged['reason']}" if judged["reason"] else ""
    return (
        f"{document['figure']:<{size}}  {document['verdict']:<12}  {seconds:6.1f} s {what}  "
        f"{judged['points']:4d} points{seen}{reason}"
    )


class _Ahead:
    """How long the rest will take: the figures' stated seconds, times how much longer than
    stated those already made took."""

    def __init__(self, waiting: list[Figure], factor: float):
        self.waiting = {figure.name: factor * figure.seconds for figure in waiting}
        self.started, self.stated = time.monotonic(), 0.0

    def begin(self) -> None:
        """From now on."""
        self.started = time.monotonic()

    def finish(self, figure: Figure) -> None:
        """One is made."""
        self.stated += self.waiting.pop(figure.name)

    def left(self) -> str:
        """', about m min left'; nothing where nothing is left."""
        if not self.waiting:
            return ""
        pace = (time.monotonic() - self.started + TRUST) / (self.stated + TRUST)
        seconds = sum(self.waiting.values()) * pace
        return f", about {f'{seconds / 60:.0f} min' if seconds >= 90 else f'{seconds:.0f} s'} left"

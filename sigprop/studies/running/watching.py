"""What is said while a study runs: one bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sigprop.runtime.progress import Bar, bar
from sigprop.studies.store.store import Counts

EVERY = 60.0  # seconds between lines


class Watch:
    """Says how far a study is: units done and failed, the rate, and the time that is left."""

    def __init__(self, name: str, progress: Bar | None, say: Callable[[str], None]):
        self.name, self.progress, self.say = name, progress, say
        self.began = self.said = time.monotonic()
        self.first = self.now = Counts(0, 0, 0, 0)
        self.shown = 0

    def start(self, counts: Counts) -> None:
        """Begin with what is there."""
        self.first = self.now = counts
        if self.progress is not None:
            self.progress.start(counts.waiting + counts.running, self.name)

    def look(self, counts: Counts) -> None:
        """Show how far it is now."""
        ended = counts.done + counts.failed - self.first.done - self.first.failed
        if self.progress is not None:
            failed = counts.failed - self.first.failed
            if failed:
                self.progress.say(f"{self.name}, {failed} failed")
            if ended > self.shown:
                self.progress.advance(ended - self.shown)
        elif time.monotonic() - self.said >= EVERY:
            self.said = time.monotonic()
            self.say(self.line(counts, ended))
        self.shown = max(self.shown, ended)

    def one(self, failed: bool) -> None:
        """Show that one more unit has ended, of those that this process alone works on."""
        counts = self.now
        self.now = counts._replace(
            waiting=counts.waiting - 1,
            done=counts.done + (not failed),
            failed=counts.failed + failed,
        )
        self.look(self.now)

    @property
    def seconds(self) -> float:
        """Return how long it has been watched."""
        return time.monotonic() - self.began

    def line(self, counts: Counts, ended: int) -> str:
        """Write how far it is."""
        rate = ended / max(self.seconds, 1e-9)
        left = (counts.waiting + counts.running) / rate if rate else None
        return (
            f"{self.name}: {counts.done} of {counts.total} units done, {counts.failed} failed, "
            f"{rate:.3g} units/s" + ("" if left is None else f", {duration(left)} left")
        )


@contextmanager
def watched(name: str, shown: bool, say: Callable[[str], None]) -> Iterator[Watch]:
    """Yield a watch: with a bar where stderr is a terminal, with lines where it is none; silent
    where nothing is to be shown."""
    if not shown:
        yield Watch(name, None, lambda line: None)
    elif sys.stderr is None or not sys.stderr.isatty():
        yield Watch(name, None, say)
    else:
        with bar(unit="units") as progress:
            yield Watch(name, progress if isinstance(progress, Bar) else None, say)


def duration(seconds: float) -> str:
    """Write a time in its largest two units."""
    whole = round(seconds)
    if whole < 120:
        return f"{max(whole, 0)} s"
    if whole < 7200:
        return f"{whole // 60} min"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"

"""Progress on stderr: how many networks are done, the rate, and how long the rest will take."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from sigprop.runtime import interrupts

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress


class Progress(Protocol):
    """What measure and verify report to; anything with these two methods will do."""

    def start(self, total: int, text: str) -> None:
        """A new round of ``total`` networks begins."""
        ...

    def advance(self, n: int = 1) -> None:
        """``n`` more networks are done."""
        ...


class Silent:
    """Reports nothing."""

    def start(self, total: int, text: str) -> None:
        """Nothing."""

    def advance(self, n: int = 1) -> None:
        """Nothing."""


class Labelled:
    """Reports to another, with a label before what is said."""

    def __init__(self, progress: Progress, label: str):
        self.progress, self.label = progress, label

    def start(self, total: int, text: str) -> None:
        """As ``Progress.start``."""
        self.progress.start(total, f"{self.label}: {text}")

    def advance(self, n: int = 1) -> None:
        """As ``Progress.advance``."""
        self.progress.advance(n)


class Bar:
    """One line on stderr; a new round takes the place of the last."""

    def __init__(self, display: RichProgress, unit: str):
        self.display, self.unit = display, unit
        self.task: Any = None

    def start(self, total: int, text: str) -> None:
        """Show a round of ``total`` networks from zero."""
        if self.task is not None:
            self.display.remove_task(self.task)
        self.task = self.display.add_task(text, total=total, rate="")

    def say(self, text: str) -> None:
        """Say something else of the round."""
        if self.task is not None:
            self.display.update(self.task, description=text)

    def advance(self, n: int = 1) -> None:
        """Move on by ``n``."""
        if self.task is None:
            return
        self.display.advance(self.task, n)
        task = next(task for task in self.display.tasks if task.id == self.task)
        rate = task.completed / task.elapsed if task.elapsed else 0.0
        self.display.update(
            self.task, rate=f"{rate:.3g} {self.unit}/s" if rate and self.unit else ""
        )


@contextmanager
def bar(enabled: bool = True, unit: str = "networks") -> Iterator[Progress]:
    """``with bar() as progress: measure(..., progress=progress)``; silent when not enabled or
    stderr is no terminal. unit: of what is counted, in the rate; empty: no rate."""
    if not enabled or not sys.stderr.isatty():
        yield Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    # elsewhere, in a file or a pipe, lines on stdout are not to be sent to the bar's terminal
    apart = sys.stdout.isatty()
    console = Console(stderr=True)
    interrupts.State.undo = "" if console.is_dumb_terminal else interrupts.SHOW_CURSOR
    with RichProgress(*columns, console=console, transient=True, redirect_stdout=apart) as display:
        yield Bar(display, unit)

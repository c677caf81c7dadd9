"""``sigprop figures``: every theory figure with measured points on it, and whether the points support the line."""

from __future__ import annotations

import json as json_
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from sigprop.cli import INTERRUPTED
from sigprop.cli.options import Seed
from sigprop.cli.output import remark
from sigprop.cli.verify import CODES
from sigprop.errors import InputError
from sigprop.plots import FORMATS
from sigprop.progress import Progress, bar

if TYPE_CHECKING:
    from sigprop.paper_figures import Figure

TRUST = 60.0  # seconds that the stated ones are believed for
FULL = 6.0  # a full run's seconds next to a quick one's, roughly


def figures(
    *names: Annotated[str, Parameter(help="Which figures; without one, all (`sigprop figures --list`).")],
    list: Annotated[bool, Parameter(negative="", show_default=False, help="Print which there are.")] = False,
    quick: Annotated[bool, Parameter(negative="", show_default=False, help="Fewer networks: minutes in all on two cores.")] = False,
    out: Annotated[str, Parameter(help="Folder of the pictures, their tables (CSV) and what they came from (JSON).")] = "figures",
    formats: Annotated[str, Parameter(help="Of the pictures, comma separated: pdf, png, svg.")] = "pdf,png",
    replot: Annotated[bool, Parameter(negative="", show_default=False, help="Draw and judge again from the saved tables; nothing is sampled.")] = False,
    seed: Annotated[Seed, Parameter(help="Seed of weights and inputs.")] = 0,
    json: Annotated[bool, Parameter(negative="", show_default=False, help="Print one JSON document on stdout, nothing else.")] = False,
) -> int:
    """Make the figures of theory against finite networks. What the folder already holds, of the same seed and size, is kept."""
    from sigprop import paper_figures

    kinds = _formats(formats)
    chosen = [paper_figures.figure(name) for name in dict.fromkeys(names)] or _every()
    if list:
        print(json_.dumps([figure.about() for figure in chosen], indent=1) if json else _listing(chosen))
        return 0
    from sigprop.paper_figures import _store

    folder = Path(out) if replot else _store.folder(out)
    if replot:
        for figure in chosen:  # all or none
            _store.load(folder, figure)
    try:
        documents = _all(chosen, folder, kinds, quick, seed, replot, remark if json else print)
    except KeyboardInterrupt:
        remark(f"sigprop: interrupted; {folder} keeps what is done, and the same command continues")
        return INTERRUPTED
    from sigprop.verdict.judgement import overall

    verdict = overall([str(document["verdict"]) for document in documents])
    if json:
        print(json_.dumps({"figures": documents, "verdict": verdict, "out": str(folder)}, indent=1))
    (remark if json else print)(f"verdict: {verdict}; {len(documents)} figure{'s' * (len(documents) != 1)} with tables in {folder.resolve()}")
    return CODES[verdict]


def _all(chosen: list[Figure], folder: Path, kinds: tuple[str, ...], quick: bool, seed: int, replot: bool, say: Any) -> list[dict[str, Any]]:
    from sigprop.paper_figures import _make, _store
    from sigprop.paper_figures._run import Run

    kept = {figure.name for figure in chosen if replot or _store.done(figure, folder, quick, seed)}
    ahead = _Ahead([figure for figure in chosen if figure.name not in kept], 1.0 if quick else FULL)
    size, documents = max(len(figure.name) for figure in chosen), []
    for figure in chosen:
        started = time.monotonic()
        if figure.name in kept:
            done = _make.again(figure, folder, kinds)
        else:
            say(f"{figure.name:<{size}}  {ahead.left()}", flush=True) if say is print else remark(f"{figure.name}: {ahead.left()}")
            with bar() as rounds:
                done = _make.make(figure, folder, Run(quick, seed, _Named(rounds, figure.name, ahead)), kinds)
            ahead.finish(figure)
        judged, what = done["judgement"], "replotted" if replot else "kept" if figure.name in kept else "made"
        seen = "" if judged["detects"] is None else f"  a shift of {judged['detects']:.1%} would show"
        reason = f"  {judged['reason']}" if judged["reason"] else ""
        say(f"{figure.name:<{size}}  {done['verdict']:<12}  {time.monotonic() - started:6.1f} s {what}  {judged['points']:4d} points{seen}{reason}")
        documents.append(done)
    return documents


def _every() -> list[Figure]:
    """All figures whose sources are there: an installed package has no docs."""
    from sigprop.paper_figures import figures as known

    found = [figure for figure in known().values() if all(file.is_file() for file in figure.sources)]
    for figure in known().values():
        if figure not in found:
            remark(f"{figure.name}: left out, {', '.join(map(str, figure.sources))} is not there")
    return found


def _formats(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    if not all(f".{kind}" in FORMATS for kind in found):
        raise InputError(f"formats={text!r}; accepted: {', '.join(suffix[1:] for suffix in FORMATS)}, comma separated")
    return found


def _listing(chosen: list[Figure]) -> str:
    size, paper, item = (max(len(getattr(figure, key)) for figure in chosen) for key in ("name", "paper", "item"))
    return "\n".join(f"{figure.name:<{size}}  {figure.paper:<{paper}}  {figure.item:<{item}}  {figure.shows}" for figure in chosen)


class _Ahead:
    """How long the rest will take: the figures' stated seconds, times how much longer than stated those already made took."""

    def __init__(self, waiting: list[Figure], factor: float):
        self.waiting = {figure.name: factor * figure.seconds for figure in waiting}
        self.started, self.stated = time.monotonic(), 0.0

    def finish(self, figure: Figure) -> None:
        """One is made."""
        self.stated += self.waiting.pop(figure.name)

    def left(self) -> str:
        """'n to go, about m min left'."""
        spent = time.monotonic() - self.started
        pace = (spent + TRUST) / (self.stated + TRUST)
        seconds = max(0.0, (self.stated + sum(self.waiting.values())) * pace - spent)
        return f"{len(self.waiting)} to go, about {f'{seconds / 60:.0f} min' if seconds >= 90 else f'{seconds:.0f} s'} left"


class _Named:
    """Rounds of networks with the figure's name and the time that all of them will take."""

    def __init__(self, progress: Progress, label: str, ahead: _Ahead):
        self.progress, self.label, self.ahead = progress, label, ahead

    def start(self, total: int, text: str) -> None:
        """As ``Progress.start``."""
        self.progress.start(total, f"{self.label} ({self.ahead.left()}): {text}")

    def advance(self, n: int = 1) -> None:
        """As ``Progress.advance``."""
        self.progress.advance(n)

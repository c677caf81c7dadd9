"""What a figure is, and which there are: every module of this folder whose name has no leading
underscore, in their stated order."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sigprop.errors import InputError, near_miss
from sigprop.paper_figures._judge import Judged, points
from sigprop.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

    from sigprop.paper_figures._run import Run

Rows = list[dict[str, Any]]
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Figure:
    """One figure.

    name      as typed, '<system>-<what>'
    paper     the work whose claim it shows, and item: where in it
    shows     one line
    caption   what is predicted, from which formula, and what was measured; {widths}, {samples} and
              {engines} are filled in
    tables    run -> the tables behind it, none with a column 'table'
    draw      (an empty picture, {table's name: rows as they are kept}) -> None
    size      inches (7 is the width of a page, 3.4 that of a column)
    seconds   roughly, of ``--quick`` on two cores: what the remaining time is reckoned from
    judge     the verdict's rule, on the rows of the tables alone
    sources   files that its tables are read from: when one changes, the figure is made again
    volatile  tables whose numbers are times: no two runs give the same
    unjudged  tables of lines alone: limits in closed form, or the theory of a judged table on a
              finer grid
    """

    name: str
    paper: str
    item: str
    shows: str
    caption: str
    tables: Callable[[Run], dict[str, Table]]
    draw: Callable[[Picture, Mapping[str, Rows]], None]
    size: tuple[float, float] = (7.0, 3.0)
    seconds: float = 10.0
    judge: Callable[[Mapping[str, Rows]], Judged] = points
    sources: tuple[Path, ...] = field(default=())
    volatile: tuple[str, ...] = field(default=())
    unjudged: tuple[str, ...] = field(default=())

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that its tables follow from, sampling and theory apart: the figure's own
        file, how points are gathered, what it reads."""
        return (FOLDER / f"{self.name.replace('-', '_')}.py", FOLDER / "_run.py", *self.sources)

    def about(self) -> dict[str, str]:
        """What ``--list`` shows."""
        return {key: getattr(self, key) for key in ("name", "paper", "item", "shows")}


@cache
def figures() -> dict[str, Figure]:
    """name -> figure, by name."""
    names = [
        module.name
        for module in pkgutil.iter_modules([str(FOLDER)])
        if not module.name.startswith("_")
    ]
    found = [importlib.import_module(f"sigprop.paper_figures.{name}").FIGURE for name in names]
    return {figure.name: figure for figure in sorted(found, key=lambda figure: figure.name)}


def figure(name: str) -> Figure:
    """The figure of that name; raises ``InputError``."""
    if name not in figures():
        raise InputError(f"figure {name!r}{near_miss(name, figures())}")
    found = figures()[name]
    for file in found.sources:
        if not file.is_file():
            raise InputError(
                f"figure {name!r} is made from {file}, which is not there; accepted: a checkout "
                f"of the repository"
            )
    return found

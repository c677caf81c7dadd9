"""``sigprop figures``: draw every theory figure with measured points on it, and judge if the points
support the line."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from sigprop.cli import figure_runs
from sigprop.cli.options import Jobs, Seed
from sigprop.cli.streams import answer, remark
from sigprop.cli.verify import CODES
from sigprop.errors import InputError
from sigprop.runtime import interrupts
from sigprop.runtime.processes import cores
from sigprop.tables.plots import FORMATS

if TYPE_CHECKING:
    from sigprop.paper_figures import Figure


def figures(
    *names: Annotated[
        str, Parameter(help="Which figures; without one, all (`sigprop figures --list`).")
    ],
    list: Annotated[
        bool, Parameter(negative="", show_default=False, help="Print which there are.")
    ] = False,
    quick: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="Fewer networks: minutes in all on two cores."
        ),
    ] = False,
    out: Annotated[
        str,
        Parameter(
            help="Folder of the tables (figures.db), and of the pictures, CSV and JSON from them."
        ),
    ] = "figures",
    formats: Annotated[
        str, Parameter(help="Of the pictures, comma separated: pdf, png, svg.")
    ] = "pdf,png",
    replot: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Draw and judge again from the tables that are kept; nothing is sampled.",
        ),
    ] = False,
    seed: Annotated[Seed, Parameter(help="Seed of weights and inputs.")] = 0,
    jobs: Annotated[
        Jobs | None, Parameter(help="Figures made side by side [default: cores, at most 4].")
    ] = None,
    json: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="Print one JSON document on stdout, nothing else."
        ),
    ] = False,
) -> int:
    """Make the figures of theory against finite networks. What the folder already holds, of the
    same seed and size, is kept."""
    from sigprop import paper_figures

    kinds = _formats(formats)
    chosen = [paper_figures.figure(name) for name in dict.fromkeys(names)] or _available()
    if list:
        answer(_json([figure.about() for figure in chosen]) if json else _listing(chosen))
        return 0
    folder = _folder(out, chosen, replot)
    interrupts.keeps(f"{folder} keeps what is done, and the same command continues", str(folder))
    request = figure_runs.Request(folder, kinds, quick, seed)
    say = remark if json else answer
    documents = figure_runs.every(chosen, request, replot, jobs or cores(), say)
    from sigprop.verdict.judgement import overall

    verdict = overall([str(document["verdict"]) for document in documents])
    if json:
        answer(_json({"figures": documents, "verdict": verdict, "out": str(folder)}))
    say(
        f"verdict: {verdict}; {len(documents)} figure{'s' * (len(documents) != 1)} with tables in "
        f"{folder.resolve()}"
    )
    return CODES[verdict]


def _json(document: object) -> str:
    """Write the document with an indent of 1."""
    return json_.dumps(document, indent=1)


def _folder(out: str, chosen: list[Figure], replot: bool) -> Path:
    """Return where the figures go; what is only drawn again must be there, all of it or none."""
    from sigprop.paper_figures import _store

    if not replot:
        return _store.folder(out)
    folder = Path(out)
    for figure in chosen:
        _store.load(folder, figure)
    return folder


def _available() -> list[Figure]:
    """Return the figures whose sources are there: an installed package has no docs."""
    from sigprop.paper_figures import figures as registered

    available = [
        figure for figure in registered().values() if all(file.is_file() for file in figure.sources)
    ]
    for figure in registered().values():
        if figure not in available:
            remark(f"{figure.name}: left out, {', '.join(map(str, figure.sources))} is not there")
    return available


def _formats(text: str) -> tuple[str, ...]:
    """Read the kinds of pictures; raise ``InputError`` for one that cannot be drawn."""
    kinds = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    if not all(f".{kind}" in FORMATS for kind in kinds):
        raise InputError(
            f"formats={text!r}; accepted: {', '.join(suffix[1:] for suffix in FORMATS)}, comma "
            f"separated"
        )
    return kinds


def _listing(chosen: list[Figure]) -> str:
    """Write a line a figure, in columns."""
    size, paper, item = (
        max(len(getattr(figure, key)) for figure in chosen) for key in ("name", "paper", "item")
    )
    return "\n".join(
        f"{figure.name:<{size}}  {figure.paper:<{paper}}  {figure.item:<{item}}  {figure.shows}"
        for figure in chosen
    )

"""``sigprop figures``: every theory figure with measured points on it, and whether the points
support the line."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from sigprop.cli import figure_runs
from sigprop.cli.options import Jobs, Seed
from sigprop.cli.processes import cores
from sigprop.cli.streams import answer, remark
from sigprop.cli.verify import CODES
from sigprop.errors import InputError
from sigprop.runtime import interrupts
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
            help="Folder of the pictures, their tables (CSV) and what they came from (JSON)."
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
            help="Draw and judge again from the saved tables; nothing is sampled.",
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
    chosen = [paper_figures.figure(name) for name in dict.fromkeys(names)] or _every()
    if list:
        answer(
            json_.dumps([figure.about() for figure in chosen], indent=1)
            if json
            else _listing(chosen)
        )
        return 0
    from sigprop.paper_figures import _store

    folder = Path(out) if replot else _store.folder(out)
    if replot:
        for figure in chosen:  # all or none
            _store.load(folder, figure)
    interrupts.keeps(f"{folder} keeps what is done, and the same command continues", str(folder))
    request = figure_runs.Request(folder, kinds, quick, seed)
    documents = figure_runs.every(
        chosen, request, replot, jobs or cores(), remark if json else answer
    )
    from sigprop.verdict.judgement import overall

    verdict = overall([str(document["verdict"]) for document in documents])
    if json:
        answer(
            json_.dumps({"figures": documents, "verdict": verdict, "out": str(folder)}, indent=1)
        )
    (remark if json else answer)(
        f"verdict: {verdict}; {len(documents)} figure{'s' * (len(documents) != 1)} with tables in "
        f"{folder.resolve()}"
    )
    return CODES[verdict]


def _every() -> list[Figure]:
    """All figures whose sources are there: an installed package has no docs."""
    from sigprop.paper_figures import figures as known

    found = [
        figure for figure in known().values() if all(file.is_file() for file in figure.sources)
    ]
    for figure in known().values():
        if figure not in found:
            remark(f"{figure.name}: left out, {', '.join(map(str, figure.sources))} is not there")
    return found


def _formats(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    if not all(f".{kind}" in FORMATS for kind in found):
        raise InputError(
            f"formats={text!r}; accepted: {', '.join(suffix[1:] for suffix in FORMATS)}, comma "
            f"separated"
        )
    return found


def _listing(chosen: list[Figure]) -> str:
    size, paper, item = (
        max(len(getattr(figure, key)) for figure in chosen) for key in ("name", "paper", "item")
    )
    return "\n".join(
        f"{figure.name:<{size}}  {figure.paper:<{paper}}  {figure.item:<{item}}  {figure.shows}"
        for figure in chosen
    )

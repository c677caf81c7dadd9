"""``sigprop study``: sweeps that are kept in a file, run on, looked at, joined."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from sigprop.cli.codes import CONFIRMED, INCONCLUSIVE
from sigprop.cli.inputs import pairs
from sigprop.cli.options import Jobs, Repeated, Samples
from sigprop.cli.streams import answer, remark
from sigprop.errors import InputError
from sigprop.tables.files import check_path

if TYPE_CHECKING:
    from sigprop.studies.study import Study
    from sigprop.tables.table import Table

File = Annotated[str, Parameter(help="The study file (TOML), or its store (.db).")]
Where = Annotated[
    Repeated,
    Parameter(
        negative="",
        show_default=False,
        help="Only this value of a varied parameter, or of a key of rows: key=value; repeatable.",
    ),
]
Kept = Annotated[
    str | None, Parameter(name="--store", help="The store [default: the file's name, .db].")
]
Json = Annotated[
    bool, Parameter(negative="", show_default=False, help="Print one JSON document on stdout.")
]
Quantity = Annotated[
    str | None, Parameter(help="One quantity [default: all; of a plot the first].")
]
Application = Annotated[str | None, Parameter(help="One application: a number, or last.")]
Older = Annotated[
    bool,
    Parameter(negative="", show_default=False, help="Rows of older sources, too, marked."),
]

study = App(
    name="study",
    help="Sweeps of a command over parameters, kept in a file: what is there is not run again.",
    version_flags=[],
)


def _study(file: str, store: str | None = None) -> Study:
    """Return the study of a file."""
    import sigprop as sp

    return sp.Study.load(file, store)


@study.command
def run(
    file: File,
    /,
    *,
    jobs: Annotated[Jobs, Parameter(help="Processes side by side (slurm: jobs).")] = 1,
    shard: Annotated[
        str | None, Parameter(help="i/n: that part of the units, into a store of its own.")
    ] = None,
    scheduler: Annotated[
        str | None, Parameter(help="Run on dask: tcp://HOST:PORT of its scheduler, or slurm.")
    ] = None,
    retry: Annotated[
        bool, Parameter(negative="", show_default=False, help="Failed units again.")
    ] = False,
    new: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="Put an older store aside and start another."
        ),
    ] = False,
    samples: Annotated[
        Samples | None, Parameter(help="Networks a cell of measure; those kept are continued.")
    ] = None,
    dry_run: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="Say how many units there are and what they take."
        ),
    ] = False,
    store: Kept = None,
    json: Json = False,
) -> int:
    """Run what the store has not: a second run does only what is missing."""
    asked = _study(file, store)
    if samples is not None:
        asked = asked.with_samples(samples)
    if dry_run:
        estimate = asked.estimate(jobs)
        answer(_json(estimate.__dict__) if json else estimate)
        return CONFIRMED
    if new:
        aside = asked.put_aside(shard)
        remark(f"the older store is {aside}" if aside is not None else "there was no older store")
    report = asked.run(
        jobs=jobs, shard=shard, scheduler=scheduler, retry=retry, progress=True, say=remark
    )
    counts = report.counts
    if json:
        answer(_json({"done": report.done, "failed": report.failed, "counts": counts._asdict()}))
    else:
        kept = asked.path if shard is None else asked.shard_path(shard)
        answer(
            f"{report.done} units done now, {report.failed} failed; {counts.done} of "
            f"{counts.total} are in {kept}"
            + (f", {counts.running + counts.waiting} at work elsewhere" * bool(counts.running))
        )
    if counts.failed:
        remark(f"{counts.failed} units failed; study status {file} says why, --retry runs them")
    return INCONCLUSIVE if counts.failed else CONFIRMED


@study.command
def status(file: File, /, *, store: Kept = None, json: Json = False) -> int:
    """How far it is, also while it runs."""
    found = _status(file, store)
    answer(_json(found.to_dict()) if json else found)
    return CONFIRMED


def _status(file: str, store: str | None) -> Any:
    """Return how far a study is."""
    from sigprop.studies.results import status as of

    return of(_study(file, store).path)


@study.command
def results(
    file: File,
    /,
    *,
    quantity: Quantity = None,
    application: Application = None,
    where: Where = (),
    units: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="A row a unit: verdict, failure, seconds."),
    ] = False,
    older: Older = False,
    store: Kept = None,
    json: Json = False,
    out: Annotated[
        str | None, Parameter(help="Also write all rows to this file (.csv, .json, .md).")
    ] = None,
) -> int:
    """The rows of finished units, each with its cell's varied parameters."""
    if out is not None:
        check_path(out)
    asked, given = _study(file, store), pairs(where, "where", once=True)
    shown = json or out is not None
    table = _table(asked, quantity, application, given, older, shown, units)
    if out is not None:
        table.save(out)
        remark(f"wrote {len(table)} rows to {out}")
    for line in (table.notes or {}).get("remarks", ()) if json else ():
        remark(line)
    answer(table.to_json() if json else table)
    return CONFIRMED


def _table(
    asked: Study,
    quantity: str | None,
    application: str | None,
    where: dict[str, str],
    older: bool,
    provenance: bool,
    units: bool = False,
) -> Table:
    """Return the rows that were asked for; provenance where there is the room for it."""
    from sigprop.studies.results import Wanted, overview, results

    wanted = Wanted(
        quantity=quantity,
        application=_application(application),
        where=where,
        older=older,
        provenance=provenance,
    )
    return (overview if units else results)(asked.path, wanted)


def _application(text: str | None) -> int | str | None:
    """Read a number, or last."""
    if text is None or text == "last":
        return text
    if not text.isdecimal() or len(text) > 7:
        raise InputError(f"application={text!r}; accepted: a number from 0 on, or last")
    return int(text)


@study.command
def plot(
    file: File,
    /,
    *,
    out: Annotated[str, Parameter(help="The picture (.png, .pdf, .svg).")],
    quantity: Quantity = None,
    application: Annotated[
        str, Parameter(help="One application: a number, or last of each cell.")
    ] = "last",
    x: Annotated[str | None, Parameter(help="Varied parameter of the axis.")] = None,
    curves: Annotated[str | None, Parameter(help="Varied parameter of the curves.")] = None,
    where: Where = (),
    store: Kept = None,
) -> int:
    """Draw a quantity against a varied parameter, with theory's line and the intervals."""
    from sigprop.studies.plots import Axes
    from sigprop.studies.plots import plot as draw

    given = pairs(where, "where", once=True)
    table = _table(_study(file, store), quantity, application, given, False, False)
    draw(table, Axes(quantity, x, curves), out)
    remark(f"drew {out}")
    return CONFIRMED


@study.command
def export(
    file: File,
    out: Annotated[str, Parameter(help="The file (.parquet with pyarrow, .csv, .json, .md).")],
    /,
    *,
    older: Older = False,
    store: Kept = None,
) -> int:
    """Write all rows, with where each comes from."""
    from sigprop.studies.export import export as write_rows

    table = _table(_study(file, store), None, None, {}, older, True)
    remark(f"wrote {write_rows(table, out)} rows to {out}")
    return CONFIRMED


@study.command
def merge(
    file: File,
    *parts: Annotated[
        str, Parameter(help="Stores of the study's shards [default: all beside it].")
    ],
    store: Kept = None,
) -> int:
    """Take the units of other stores of one study, as of shards, into its own."""
    asked = _study(file, store)
    found = parts or tuple(map(str, asked.shards()))
    if not found:
        raise InputError(f"merge: no store of a shard beside {file}; accepted: their files")
    merged = asked.merge(*found)
    both = f", {merged.both} were there already" if merged.both else ""
    answer(f"{merged.taken} units taken from {len(found)} stores{both}; {asked.path} has all")
    return CONFIRMED


@study.command
def view(
    file: File,
    /,
    *,
    out: Annotated[
        str | None, Parameter(help="The page [default: the file's name, .html].")
    ] = None,
    store: Kept = None,
) -> int:
    """Write one web page to look at: parameters, a table to sort and filter, a plot."""
    asked = _study(file, store)
    path = Path(out) if out is not None else asked.path.with_suffix(".html")
    check_path(path, {".html": ""})
    asked.view(path)
    answer(f"wrote {path}")
    return CONFIRMED


def _json(document: Any) -> str:
    """Write one JSON document."""
    return json_.dumps(document, indent=1, allow_nan=False)

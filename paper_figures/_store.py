"""What a figure leaves behind: its tables in the folder's store, figures.db, and what is written
out from there: NAME.TABLE.csv, its pictures, and NAME.json (written last), which says what they
came from and what the points say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import sigprop as sp
from sigprop.errors import InputError
from sigprop.paper_figures._judge import Judged
from sigprop.paper_figures._registry import Figure, Rows
from sigprop.paper_figures._run import Run
from sigprop.studies.plan.units import source, versions
from sigprop.studies.store import keeping
from sigprop.studies.store.queue import Outcome
from sigprop.studies.store.store import Asked, Store, say
from sigprop.tables.files import write
from sigprop.tables.plain import plain
from sigprop.tables.table import Table

FILE = "figures.db"
STUDY = {"name": "figures", "command": "figures"}
"""What the store says it is of: ``sigprop study results`` shows its rows, too."""
TABLE = "table"
"""The column of a kept row that says which table it is of."""


class Made(NamedTuple):
    """A figure's tables as they are kept: the unit, the source it is of, what came of it."""

    asked: Asked
    source: str
    outcome: Outcome


class Shown(NamedTuple):
    """A figure's tables as they are in the store. marks: what the JSON says they came from."""

    key: str
    tables: Mapping[str, Table]
    marks: Mapping[str, Any]

    @property
    def rows(self) -> dict[str, Rows]:
        """Return the rows by table."""
        return {name: table.rows for name, table in self.tables.items()}


def folder(out: str | Path) -> Path:
    """The folder, made where it is not there; raises ``InputError``."""
    try:
        Path(out).mkdir(parents=True, exist_ok=True)  # before anything is sampled for it
    except OSError as error:
        raise InputError(
            f"out={str(out)!r}: {error.strerror}; accepted: a folder that exists or can be made"
        ) from None
    return Path(out)


def asked(figure: Figure, run: Run) -> Asked:
    """Return the unit of a figure's tables; its key is of all that decides them: equal keys, equal
    tables (but for times)."""
    cell = {
        "varied": {"figure": figure.name, "quick": run.quick, "seed": run.seed},
        "networks": run.networks,
        "recipe": _recipe(figure),
    }
    said = [cell, source()]
    key = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]
    return Asked(key, 0, 0, cell, None)


def _recipe(figure: Figure) -> str:
    """Return a digest of the files that the tables follow from, theory and networks apart."""
    found = hashlib.sha256()
    for file in figure.files:
        found.update(file.read_bytes())
    return found.hexdigest()[:16]


def done(figure: Figure, out: Path, run: Run) -> bool:
    """Whether the folder's store holds this figure's tables of this run."""
    if not (out / FILE).exists():
        return False
    with Store(out / FILE) as store:
        return keeping.is_kept(store, asked(figure, run).key)


def outcome(tables: Mapping[str, Table], seconds: float, machine: str) -> Outcome:
    """Return a figure's tables as a unit's rows, and as its notes what the rows do not say."""
    about = {
        name: {"columns": list(table.columns), "parameters": plain(table.parameters)}
        for name, table in tables.items()
    }
    assert all(TABLE not in table.columns for table in tables.values())
    notes = {"tables": about, "sigprop": sp.__version__, "versions": versions()}
    rows = [plain(row) | {TABLE: name} for name, table in tables.items() for row in table.rows]
    return Outcome(rows, notes, seconds=seconds, machine=machine, ended=Outcome.now())


def keep(out: Path, made: Made) -> None:
    """Keep a figure's tables in the folder's store; raises ``InputError``."""
    with Store(out / FILE, write=True) as store:
        if store.about().get("source") != made.source:
            store.say(study=STUDY, shard=None, source=made.source)
        keeping.keep(store, store.source(made.source), made.asked, made.outcome)


def load(out: Path, figure: Figure, key: str | None = None) -> Shown:
    """Return a figure's tables out of the folder's store: of a key, or those that were shown last.

    Raises ``InputError`` where it has none.
    """
    if (out / FILE).exists():
        with Store(out / FILE) as store:
            key = key or store.about().get(_last(figure))
            found = None if key is None else keeping.kept(store, key)
            if key is not None and found is not None:
                return _shown(figure, key, found)
    raise InputError(
        f"replot: {out} has not all tables of {figure.name}; accepted: a folder that sigprop "
        f"figures wrote, or no --replot"
    )


def _shown(figure: Figure, key: str, kept: keeping.Kept) -> Shown:
    """Return a unit's rows as tables: every row has all columns of its table, in their order."""
    found, varied = kept.outcome, kept.cell["varied"]
    about = found.notes["tables"]
    rows: dict[str, Rows] = {name: [] for name in about}
    for row in found.rows:
        columns = about[row[TABLE]]["columns"]
        rows[row[TABLE]].append({column: row.get(column) for column in columns})
    tables = {
        name: Table(figure.name, about[name]["parameters"], own, "figure")
        for name, own in rows.items()
    }
    marks = {
        "quick": varied["quick"],
        "seed": varied["seed"],
        "sigprop": found.notes["sigprop"],
        "recipe": kept.cell["recipe"],
        "source": kept.source,
        "unit": key[:12],
        "machine": found.machine,
        "seconds": found.seconds,
        "ended": found.ended,
        "parameters": {name: about[name]["parameters"] for name in about},
        "versions": found.notes["versions"],
    }
    return Shown(key, tables, marks)


def _last(figure: Figure) -> str:
    """Return under which name the store says what was shown last of a figure."""
    return f"figure {figure.name}"


def show(
    out: Path, figure: Figure, shown: Shown, judged: Judged, pictures: Mapping[str, bytes]
) -> dict[str, Any]:
    """Write a figure's CSV files, its pictures and its JSON, and return that.

    All of it while the store is locked: of two runs on one folder the files are of one of them.
    """
    csvs = {f"{figure.name}.{name}.csv": t.to_csv() for name, t in shown.tables.items()}
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in csvs.items()}
    found = document(figure, {**shown.marks, "files": digests}, shown.rows, judged)
    with Store(out / FILE, write=True) as store, store.change() as connection:
        say(connection, {_last(figure): shown.key})
        (out / f"{figure.name}.json").unlink(missing_ok=True)  # said of other files
        for name, content in {**csvs, **pictures}.items():
            write(out / name, content)
        write(out / f"{figure.name}.json", json.dumps(found, indent=1, allow_nan=False) + "\n")
    return found


def document(
    figure: Figure, marks: Mapping[str, Any], rows: Mapping[str, Rows], judged: Judged
) -> dict[str, Any]:
    """Return the figure's JSON; marks: what its tables came from."""
    measured = [row for own in rows.values() for row in own if row.get("width") is not None]
    values = {
        key: sorted({row[key] for row in measured if row.get(key) is not None})
        for key in ("width", "samples", "engine")
    }
    sizes = {"widths": values["width"], "samples": values["samples"], "engines": values["engine"]}
    words = {
        key if key.endswith("s") else f"{key}s": " and ".join(map(str, values[key]))
        for key in values
    }
    return {
        "figure": figure.name,
        **{key: getattr(figure, key) for key in ("paper", "item", "shows")},
        "caption": figure.caption.format_map(words),
        "verdict": judged.verdict,
        "judgement": judged.to_dict(),
        **sizes,
        "tables": {name: len(own) for name, own in rows.items()},
        "volatile": list(figure.volatile),
        **marks,
    }

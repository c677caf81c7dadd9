"""``Study``: a sweep of one command, kept in a file; the same as ``sigprop study``."""

from __future__ import annotations

import copy
import glob
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sigprop.description.architecture import Architecture
from sigprop.errors import InputError, short
from sigprop.studies import results as found
from sigprop.studies.merge import Merged, merge
from sigprop.studies.plan import document
from sigprop.studies.plan.content import digests
from sigprop.studies.plan.plan import Plan, Shard
from sigprop.studies.store.store import Store, put_aside
from sigprop.tables.files import write
from sigprop.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sigprop.studies.estimates import Estimate
    from sigprop.studies.running.run import Report

STORE = ".db"


class Study:
    """A command over many cells: what it asks, and the store that keeps what was found.

    name: what it is called; command: predict, measure, verify, exponents or check; architecture: a
    registered name (or what the command line takes for one), an ``Architecture``, or {name:
    ``Architecture``}, a cell each (or, where ``list`` names architectures, those of its entries);
    parameters: of the architecture, the same in all cells; options: of the command; grid: {name:
    values}, of which every combination is a cell; list: cells one by one; random, sobol: {"points":
    how many, name: {"low": .., "high": .., "scale": "log"}}; seeds: how many from 0, or which;
    store: the file (default NAME.db). Text where a number is taken is an expression in the cell's
    other numbers: width="64*depth". Raises ``InputError``. Source: docs/studies.md.
    """

    def __init__(
        self,
        name: str,
        *,
        command: str,
        architecture: str | Architecture | Mapping[str, Architecture] | None = None,
        parameters: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        grid: Mapping[str, Any] | None = None,
        list: Sequence[Mapping[str, Any]] | None = None,
        random: Mapping[str, Any] | None = None,
        sobol: Mapping[str, Any] | None = None,
        seeds: int | Sequence[int] | None = None,
        store: str | os.PathLike[str] | None = None,
    ):
        sections = {"parameters": parameters, "options": options, "grid": grid, "list": list}
        sections |= {"random": random, "sobol": sobol, "seeds": seeds}
        described: dict[str, Architecture] = {}
        if isinstance(architecture, Architecture):
            described = {architecture.name: architecture}
            architecture = architecture.name
        elif isinstance(architecture, Mapping):
            described = _described(architecture)
            if grid is not None and not isinstance(grid, Mapping):
                raise InputError(f"grid={short(grid)}; accepted: {{name: values}}")
            if not _names_architectures(list):
                sections["grid"] = {"architecture": [*described], **(grid or {})}
            architecture = None
        given = {"name": name, "command": command, "architecture": architecture, **sections}
        if described:  # which are known by what they are
            given["described"] = digests(described)
        self.plan = Plan(document.checked(_listed(given)), described)
        self.path = Path(store) if store is not None else Path(f"{name}{STORE}")

    @classmethod
    def load(
        cls, file: str | os.PathLike[str], store: str | os.PathLike[str] | None = None
    ) -> Study:
        """Return the study of a TOML file, whose store stands beside it unless said otherwise; or,
        of a store, the study that it keeps. Raises ``InputError``."""
        path = Path(file)
        study = cls.__new__(cls)
        if path.suffix == STORE:
            with Store(path) as kept:
                about = kept.about()
            if "study" not in about:
                raise InputError(f"store={str(path)!r}: empty; accepted: a study that was run")
            if store is not None and Path(store) != path:
                raise InputError(f"store={str(store)!r} with {file}; accepted: one of them")
            study.plan, study.path = Plan(about["study"]), path
        else:
            study.plan = Plan(document.read(path))
            study.path = Path(store) if store is not None else path.with_suffix(STORE)
        return study

    def run(
        self,
        *,
        jobs: int = 1,
        shard: str | None = None,
        scheduler: str | None = None,
        retry: bool = False,
        progress: bool = False,
        say: Callable[[str], None] = print,
    ) -> Report:
        """Run the units that the store has not; return how many were done, and what is left.

        jobs: processes side by side; shard: 'i/n', the part of the units that is run here, into a
        store of its own; scheduler: the address of a dask scheduler, or 'slurm'; retry: failed
        units again; progress: whether a bar, or a line a minute, is shown on stderr; say: takes
        those lines. Numbers depend on none of these. Raises ``InputError``.
        """
        from sigprop.studies.running.run import How, run

        part = None if shard is None else Shard.read(shard)
        how = How(jobs, part, scheduler, retry, progress, say)
        return run(self.plan, self.path_of(part), how)

    def path_of(self, shard: Shard | None) -> Path:
        """Return the file of a shard's store; the study's own for none."""
        if shard is None:
            return self.path
        ending = f".shard-{shard.index}-of-{shard.count}{self.path.suffix}"
        return self.path.with_name(self.path.stem + ending)

    def shard_path(self, shard: str) -> Path:
        """Return the file of the store of a shard, 'i/n'; raises ``InputError``."""
        return self.path_of(Shard.read(shard))

    def shards(self) -> Sequence[Path]:
        """Return the stores of shards that stand beside the study's own."""
        pattern = f"{glob.escape(self.path.stem)}.shard-*-of-*{glob.escape(self.path.suffix)}"
        found = self.path.parent.glob(pattern)
        return sorted(path for path in found if re.search(r"\.shard-\d+-of-\d+$", path.stem))

    def with_samples(self, samples: int) -> Study:
        """Return the same study with so many networks a cell: those that are kept are continued."""
        if self.plan.document["command"] != "measure":
            raise InputError(
                f"samples={samples} of {self.plan.document['command']}; accepted: of measure"
            )
        options = {**self.plan.document.get("options", {}), "samples": samples}
        grown = copy.copy(self)
        grown.plan = Plan({**self.plan.document, "options": options}, self.plan.described)
        return grown

    def put_aside(self, shard: str | None = None) -> Path | None:
        """Rename the store that is there, so that a run starts another, and return its new name;
        None where there is none. Raises ``InputError`` while somebody works on it."""
        path = self.path_of(None if shard is None else Shard.read(shard))
        if not path.exists():
            return None
        return put_aside(path)

    def estimate(self, jobs: int = 1) -> Estimate:
        """Return how many units there are, how many are missing, and what they take."""
        from sigprop.studies.estimates import estimate

        return estimate(self.plan, self.path, jobs)

    def status(self) -> found.Status:
        """Return how far it is, also while others work on it; raises ``InputError``."""
        return found.status(self.path)

    def results(
        self,
        quantity: str | None = None,
        application: int | str | None = None,
        *,
        older: bool = False,
        provenance: bool = True,
        **where: Any,
    ) -> Table:
        """Return the rows of finished units, each with its cell's varied values.

        quantity: one, or all; application: a number, or 'last' of each unit; where: values (or
        lists of them) of varied parameters; older: those of older sources, too, marked; provenance:
        whether rows say where they come from. Raises ``InputError``.
        """
        wanted = found.Wanted(
            quantity=quantity,
            application=application,
            where=where,
            older=older,
            provenance=provenance,
        )
        return found.results(self.path, wanted)

    def units(self, *, older: bool = False, **where: Any) -> Table:
        """Return a row a unit: done or failed and why, its verdict, its seconds."""
        return found.overview(self.path, found.Wanted(older=older, where=where))

    def merge(self, *parts: str | os.PathLike[str]) -> Merged:
        """Take the units of other stores of this study, as of shards; raises ``InputError``."""
        return merge(self.path, [Path(part) for part in parts], self.plan.document)

    def export(self, file: str | os.PathLike[str]) -> int:
        """Write all rows as .parquet, .csv, .json or .md, and return how many; raises
        ``InputError``."""
        from sigprop.studies.export import export

        return export(self.results(), file)

    def plot(
        self,
        file: str | os.PathLike[str] | None = None,
        *,
        quantity: str | None = None,
        x: str | None = None,
        curves: str | None = None,
        application: int | str = "last",
        **where: Any,
    ) -> Figure:
        """Draw a quantity against a varied parameter, theory's line and the intervals with it.

        file: where to save it (.png, .pdf, .svg); quantity: default the first; x, curves: varied
        parameters, default the first two; application: a number, or 'last'. Raises ``InputError``.
        """
        from sigprop.studies.plots import Axes, plot

        table = self.results(quantity, application, **where)
        return plot(table, Axes(quantity, x, curves), file)

    def view(self, file: str | os.PathLike[str]) -> Path:
        """Write one web page that holds the study and needs no network; raises ``InputError``."""
        from sigprop.studies.look import look

        write(file, look(self.path))
        return Path(file)


def _names_architectures(entries: object) -> bool:
    """Tell if an entry of a list names its architecture; ``cells`` refuses what is no list."""
    tables = entries if isinstance(entries, list | tuple) else ()
    return any("architecture" in entry for entry in tables if isinstance(entry, Mapping))


def _described(given: Mapping[Any, Any]) -> dict[str, Architecture]:
    """Return architectures by name; raises ``InputError`` for others."""
    for name, arch in given.items():
        if not isinstance(name, str) or not isinstance(arch, Architecture):
            raise InputError(
                f"architecture={{{name!r}: {short(arch)}}}; accepted: names, and an "
                f"sp.Architecture each"
            )
    if not given:
        raise InputError("architecture={}; accepted: at least one")
    return dict(given)


def _listed(given: Any) -> Any:
    """Return plain data with lists where Python has tuples, arrays and ranges."""
    if isinstance(given, Mapping):
        return {key: _listed(value) for key, value in given.items()}
    if isinstance(given, list | tuple | range):
        return [_listed(value) for value in given]
    tolist = getattr(given, "tolist", None)
    return given if tolist is None else tolist()

"""Many cases judged side by side, one summary line each as it ends, then the overall verdict."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sigprop.architectures import entry
from sigprop.cli.options import Chosen
from sigprop.cli.output import show
from sigprop.cli.streams import answer, remark
from sigprop.errors import InputError
from sigprop.runtime.processes import processes
from sigprop.runtime.progress import Labelled, Progress, bar
from sigprop.tables.layout import terminal_width, wrapped
from sigprop.tables.table import Table

if TYPE_CHECKING:
    from sigprop.agreement.cases import Case


def listed(name: str | None, every: bool, quick: bool) -> list[Case]:
    """Return the cases that were asked for; raises ``InputError`` where an architecture has
    none."""
    from sigprop.agreement import cases

    asked = cases.every() if every else cases.registered(cases.QUICK if quick else cases.STRICT)
    if name is None:
        return asked
    entry(name)  # refuses a name that is not registered
    of_name = [case for case in asked if case.architecture.name == name]
    if not of_name:
        raise InputError(f"architecture {name!r} has no cases; accepted: the name without --all")
    return of_name


def judge(
    cases: Sequence[Case],
    tolerance: float | None,
    options: dict[str, Any],
    *,
    jobs: int,
    chosen: Chosen,
    title: str,
) -> Table:
    """Return every case's verdict, in their order; jobs: processes, which share
    ``memory_mib``."""
    from sigprop.verdict.judgement import overall

    say = remark if chosen.json else answer
    size = max((len(case.label) for case in cases), default=0)
    jobs = min(jobs, len(cases))
    shared = options | {"memory_mib": max(1, options["memory_mib"] // max(jobs, 1))}
    work = _Work(tolerance, shared, not chosen.json)
    rows, summary = [], []
    for case, (table, seconds) in zip(cases, _side_by_side(cases, work, jobs), strict=True):
        about = _summary(case, table, seconds)
        for line in summary_lines(_line(about, table, size), terminal_width()):
            say(line)
        summary.append(about)
        rows += [{"case": case.label, **row} for row in table]
    verdict = overall([str(case["verdict"]) for case in summary])
    result = Table(title, {}, rows, "verify", verdict, {"cases": summary})
    say(f"verdict: {verdict} ({len(summary)} cases)")
    show(result, chosen, print_text=False)
    return result


def _summary(case: Case, table: Table, seconds: float) -> dict[str, Any]:
    """Return what the result's notes keep of a case."""
    return {
        "label": case.label,
        "architecture": table.architecture,
        "parameters": table.parameters,
        "verdict": table.verdict,
        "seconds": seconds,
        "detects": excluded(table),
        "identities": (table.notes or {}).get("identities", 0),
    }


def _line(summary: dict[str, Any], table: Table, size: int) -> str:
    """Write a case in a line, its label ``size`` wide."""
    from sigprop.tables.cells import cell
    from sigprop.tables.text import label, worst

    row = worst(table)
    deviation = f"{label(row)}: {cell(row.get('deviation'))}" if row else "no rows"
    return (
        f"{summary['label']:<{size}}  {table.verdict:<12}  {summary['seconds']:7.1f} s  detects "
        f"{summary['detects']:6.2%}  worst {deviation}"
    )


def summary_lines(line: str, width: int | None) -> list[str]:
    """Return a case's line, its worst row below it where there is no room beside it."""
    if width is None or len(line) <= width:
        return [line]
    head, _, worst_row = line.rpartition("  worst ")
    return [*wrapped(head, width), *wrapped(f"    worst {worst_row}", width, " " * 8)]


def excluded(table: Table) -> float:
    """Return the smallest deviation that the networks exclude on every row that could fail, at
    5 %: how far the 90 % intervals reach. Above the tolerance nothing is confirmed."""
    rows = [
        row for row in table if row.get("upper") is not None and row.get("verdict") != "identity"
    ]
    return max((max(row["upper"], -row["lower"]) for row in rows), default=float("inf"))


class _Work(NamedTuple):
    """Hold what is asked of every case: a tolerance (none: each its own), options of ``verify``,
    whether progress is drawn."""

    tolerance: float | None
    options: dict[str, Any]
    progress: bool


def _side_by_side(cases: Sequence[Case], work: _Work, jobs: int) -> Iterator[tuple[Table, float]]:
    """Yield each case's table and seconds in their order; in this process where ``jobs`` is 1."""
    if jobs <= 1:
        for case in cases:
            with bar(work.progress) as rungs:
                yield _judged(case, work, Labelled(rungs, case.label))
        return
    with processes(jobs) as pool, bar(work.progress, "cases") as whole:
        whole.start(len(cases), "judged")
        for future in [pool.submit(_judged, case, work) for case in cases]:
            yield future.result()
            whole.advance()


def _judged(case: Case, work: _Work, progress: Progress | None = None) -> tuple[Table, float]:
    """Judge a case; return its table and the seconds it took."""
    import sigprop as sp

    started = time.monotonic()
    asked = {
        name: work.options.get(name) or getattr(case, name)
        for name in ("quantities", "applications")
    }
    table = sp.verify(
        case.architecture,
        **work.options | asked,
        tolerance=work.tolerance or case.tolerance,
        progress=progress,
    )
    return table, round(time.monotonic() - started, 1)

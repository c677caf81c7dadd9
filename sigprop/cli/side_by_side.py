"""Many cases judged side by side, one summary line each as it ends, then the overall verdict."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sigprop.architectures import entry
from sigprop.cli.options import Chosen
from sigprop.cli.output import show
from sigprop.cli.processes import processes
from sigprop.cli.streams import answer, remark
from sigprop.errors import InputError
from sigprop.runtime.progress import Labelled, bar
from sigprop.tables.layout import terminal_width, wrapped
from sigprop.tables.table import Table

if TYPE_CHECKING:
    from sigprop.agreement.cases import Case


def listed(name: str | None, every: bool, quick: bool) -> list[Case]:
    """The cases that were asked for; raises ``InputError`` where an architecture has none."""
    from sigprop.agreement import cases

    found = cases.every() if every else cases.registered(cases.QUICK if quick else cases.STRICT)
    if name is None:
        return found
    entry(name)
    own = [case for case in found if case.architecture.name == name]
    if not own:
        raise InputError(f"architecture {name!r} has no cases; accepted: the name without --all")
    return own


def judge(
    found: Sequence[Case],
    tolerance: float | None,
    options: dict[str, Any],
    jobs: int,
    chosen: Chosen,
    title: str,
) -> Table:
    """Every case's verdict, in their order; jobs: processes, which share ``memory_mib``."""
    from sigprop.tables.cells import cell
    from sigprop.tables.text import label, worst
    from sigprop.verdict.judgement import overall

    say = remark if chosen.json else answer
    size = max((len(case.label) for case in found), default=0)
    jobs = min(jobs, len(found))
    shared = options | {"memory_mib": max(1, options["memory_mib"] // max(jobs, 1))}
    rows, summary = [], []
    for case, (table, seconds) in zip(
        found, _side_by_side(found, tolerance, shared, jobs, not chosen.json), strict=True
    ):
        row, beyond = worst(table), excluded(table)
        deviation = f"{label(row)}: {cell(row.get('deviation'))}" if row else "no rows"
        line = (
            f"{case.label:<{size}}  {table.verdict:<12}  {seconds:7.1f} s  detects {beyond:6.2%}  "
            f"worst {deviation}"
        )
        for part in summary_lines(line, terminal_width()):
            say(part)
        about = {
            "label": case.label,
            "architecture": table.architecture,
            "parameters": table.parameters,
        }
        summary.append(
            about
            | {
                "verdict": table.verdict,
                "seconds": seconds,
                "detects": beyond,
                "identities": (table.notes or {}).get("identities", 0),
            }
        )
        rows += [{"case": case.label, **row} for row in table]
    verdict = overall([str(case["verdict"]) for case in summary])
    result = Table(title, {}, rows, "verify", verdict, {"cases": summary})
    say(f"verdict: {verdict} ({len(summary)} cases)")
    show(result, chosen, print_text=False)
    return result


def summary_lines(line: str, width: int | None) -> list[str]:
    """A case's line, whose worst row goes below it where there is no room beside it."""
    if width is None or len(line) <= width:
        return [line]
    head, _, worst_row = line.rpartition("  worst ")
    return [*wrapped(head, width), *wrapped(f"    worst {worst_row}", width, " " * 8)]


def excluded(table: Table) -> float:
    """The smallest deviation that the networks exclude on every row that could fail, at 5 %: how
    far the 90 % intervals reach. Above the tolerance nothing is confirmed."""
    rows = [
        row for row in table if row.get("upper") is not None and row.get("verdict") != "identity"
    ]
    return max((max(row["upper"], -row["lower"]) for row in rows), default=float("inf"))


def _side_by_side(
    found: Sequence[Case],
    tolerance: float | None,
    options: dict[str, Any],
    jobs: int,
    progress: bool,
) -> Iterator[tuple[Table, float]]:
    if jobs <= 1:
        for case in found:
            with bar(progress) as own:
                yield _one(case, tolerance, options, Labelled(own, case.label))
        return
    with processes(jobs) as pool, bar(progress, "cases") as whole:
        whole.start(len(found), "judged")
        for one in [pool.submit(_one, case, tolerance, options) for case in found]:
            yield one.result()
            whole.advance()


def _one(
    case: Case, tolerance: float | None, options: dict[str, Any], progress: Any = None
) -> tuple[Table, float]:
    """(the verdict, seconds) of a case."""
    import sigprop as sp

    started = time.monotonic()
    asked = {
        name: options.get(name) or getattr(case, name) for name in ("quantities", "applications")
    }
    table = sp.verify(
        case.architecture,
        **options | asked,
        tolerance=tolerance or case.tolerance,
        progress=progress,
    )
    return table, round(time.monotonic() - started, 1)

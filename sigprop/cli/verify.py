"""``sigprop verify``: is the theory true of finite networks, for one architecture or for everything registered."""

from __future__ import annotations

import time
from typing import Annotated, Any

from cyclopts import Parameter

from sigprop import memory
from sigprop.cli import inputs
from sigprop.cli.options import Chosen, Engine, Memory, Name, Repeated, Rows, Samples, Seed, Tolerance, Width
from sigprop.cli.output import check_out, remark, show
from sigprop.errors import InputError
from sigprop.progress import Progress, bar
from sigprop.registry import entry
from sigprop.table import Table

CODES = {"confirmed": 0, "rejected": 1, "inconclusive": 3}
TOLERANCE, QUICK_TOLERANCE = 0.01, 0.05


def verify(
    name: Name = None,
    /,
    *,
    chosen: Chosen = Chosen(),  # noqa: B008 (frozen)
    rows: Rows = Rows(),  # noqa: B008
    tolerance: Annotated[Tolerance | None, Parameter(help="Largest relative deviation that counts as agreement [default: 0.01].")] = None,
    quick: Annotated[bool, Parameter(negative="", show_default=False, help="Tolerance 0.05; without a name, states and gradients only.")] = False,
    all: Annotated[bool, Parameter(negative="", show_default=False, help="The whole product of cases, or the named architecture's part of it.")] = False,
    width: Annotated[Width | None, Parameter(help="Smallest width of the ladder [default: chosen by a pilot].")] = None,
    samples: Annotated[Samples | None, Parameter(help="Networks a rung [default: sized by a pilot].")] = None,
    seed: Annotated[Seed, Parameter(help="Seed of weights and inputs.")] = 0,
    engine: Annotated[Engine, Parameter(help="How networks are simulated.")] = "auto",
    memory_mib: Annotated[Memory, Parameter(help="Memory that one batch of networks may take.")] = 1024,
    against: Annotated[str | None, Parameter(help="Judge by the theory of this architecture instead.")] = None,
    against_set: Annotated[Repeated, Parameter(negative="", show_default=False, help="A parameter of --against as key=value.")] = (),
) -> int:
    """Test whether theory and finite networks agree; without a name, for everything registered."""
    check_out(chosen)
    given_name, given = inputs.chosen(name, chosen)
    if against_set and against is None:
        raise InputError(f"against-set={against_set[0]!r} without against; accepted: --against NAME --against-set key=value")
    options: dict[str, Any] = {"width": width, "samples": samples, "seed": seed, "engine": engine, "memory_mib": memory_mib}
    options["quantities"] = inputs.quantities(rows.quantity)
    if memory.worth_keeping(engine, width or 0):
        memory.keep()
    if given_name is None or all:
        alone = {"set": next(iter(chosen.set), None), "config": chosen.config if given else None, "against": against}
        for option, value in {**alone, "applications": rows.applications}.items():
            if value is not None:
                raise InputError(f"{option}={value!r} without one architecture to apply it to; accepted: with a name and without --all")
        table = _cases(given_name, all, quick, tolerance, options, chosen)
    else:
        tolerance = tolerance or (QUICK_TOLERANCE if quick else TOLERANCE)
        table = _one(given_name, given, rows, against, against_set, options | {"tolerance": tolerance}, chosen)
    return CODES[table.verdict or "inconclusive"]


def _one(name: str, given: dict[str, Any], rows: Rows, against: str | None, against_set: Repeated, options: dict[str, Any], chosen: Chosen) -> Table:
    arch = entry(name).build(**given)
    options["applications"] = inputs.applications(rows.applications, arch.depth)
    if against is not None:
        from sigprop.against import common_quantities, theory_of

        options["theory"] = theory_of(arch, against, given, inputs.pairs(against_set, "against-set"))
        options["quantities"] = common_quantities(arch, options["theory"], options["quantities"])
    import sigprop as sp

    with bar(not chosen.json) as progress:
        table = sp.verify(arch, **options, progress=progress)
    show(table, chosen)
    return table


def _cases(name: str | None, every: bool, quick: bool, tolerance: float | None, options: dict[str, Any], chosen: Chosen) -> Table:
    """Every case, one summary line each as it ends, then the overall verdict."""
    import sigprop as sp
    from sigprop import cases
    from sigprop.table_text import cell, label, worst

    listed = cases.every() if every else cases.registered(cases.QUICK if quick else cases.STRICT)
    if name is not None:
        entry(name)
        listed = [case for case in listed if case.architecture.name == name]
        if not listed:
            raise InputError(f"architecture {name!r} has no cases; accepted: the name without --all")
    say = remark if chosen.json else print
    size = max((len(case.label) for case in listed), default=0)
    rows, summary = [], []
    for case in listed:
        started = time.monotonic()
        with bar(not chosen.json) as progress:
            asked = {name: options.get(name) or getattr(case, name) for name in ("quantities", "applications")}
            table = sp.verify(case.architecture, **options | asked, tolerance=tolerance or case.tolerance, progress=_Named(progress, case.label))
        seconds = round(time.monotonic() - started, 1)
        row = worst(table)
        deviation = f"{label(row)}: {cell(row.get('deviation'))}" if row else "no rows"
        say(f"{case.label:<{size}}  {table.verdict:<12}  {seconds:7.1f} s  worst {deviation}")
        summary.append({"label": case.label, "architecture": table.architecture, "parameters": table.parameters, "verdict": table.verdict, "seconds": seconds})
        rows += [{"case": case.label, **row} for row in table]
    verdict = overall([str(case["verdict"]) for case in summary])
    result = Table("all cases" if name is None else name, {}, rows, "verify", verdict, {"cases": summary})
    say(f"verdict: {verdict} ({len(summary)} cases)")
    show(result, chosen, print_text=False)
    return result


def overall(verdicts: list[str]) -> str:
    """Rejected if any is, else inconclusive if any is (or there is none), else confirmed."""
    return "rejected" if "rejected" in verdicts else "inconclusive" if "inconclusive" in verdicts or not verdicts else "confirmed"


class _Named:
    """Progress with the case's label before what is said."""

    def __init__(self, progress: Progress, label: str):
        self.progress, self.label = progress, label

    def start(self, total: int, text: str) -> None:
        """As ``Progress.start``."""
        self.progress.start(total, f"{self.label}: {text}")

    def advance(self, n: int = 1) -> None:
        """As ``Progress.advance``."""
        self.progress.advance(n)

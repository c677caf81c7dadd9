"""``sigprop verify``: is the theory true of finite networks, for one architecture or for
everything registered."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from sigprop.architectures import entry
from sigprop.cli import inputs
from sigprop.cli import side_by_side as cases
from sigprop.cli.options import (
    Chosen,
    Engine,
    Jobs,
    Memory,
    Name,
    Precision,
    Repeated,
    Rows,
    Samples,
    Seed,
    Tolerance,
    Width,
)
from sigprop.cli.output import check_out, show
from sigprop.cli.processes import cores
from sigprop.errors import InputError
from sigprop.runtime import memory
from sigprop.runtime.progress import bar
from sigprop.tables.table import Table

CODES = {"confirmed": 0, "rejected": 1, "inconclusive": 3}
TOLERANCE, QUICK_TOLERANCE = 0.01, 0.05
EXPONENT_TOLERANCE, EXPONENT_WIDTH = 0.05, 256


def verify(
    name: Name = None,
    /,
    *,
    chosen: Chosen = Chosen(),  # noqa: B008 (frozen)
    rows: Rows = Rows(),  # noqa: B008
    tolerance: Annotated[
        Tolerance | None,
        Parameter(help="Largest relative deviation that counts as agreement [default: 0.01]."),
    ] = None,
    quick: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Tolerance 0.05; without a name, states and gradients only.",
        ),
    ] = False,
    all: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="The whole product of cases, or the named architecture's part of it.",
        ),
    ] = False,
    width: Annotated[
        Width | None, Parameter(help="Smallest width of the ladder [default: chosen by a pilot].")
    ] = None,
    samples: Annotated[
        Samples | None, Parameter(help="Networks a rung [default: sized by a pilot].")
    ] = None,
    seed: Annotated[Seed, Parameter(help="Seed of weights and inputs.")] = 0,
    engine: Annotated[Engine, Parameter(help="How networks are simulated.")] = "auto",
    dtype: Annotated[Precision, Parameter(help="Precision of the networks.")] = "float32",
    memory_mib: Annotated[
        Memory, Parameter(help="Memory that one batch of networks may take.")
    ] = 1024,
    jobs: Annotated[
        Jobs | None,
        Parameter(
            help="Without one architecture: processes that judge cases side by side [default: "
            "cores, at most 4]."
        ),
    ] = None,
    exponents: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Judge growth with depth and loops instead: slopes within --tolerance.",
        ),
    ] = False,
    against: Annotated[
        str | None, Parameter(help="Judge by the theory of this architecture instead.")
    ] = None,
    against_set: Annotated[
        Repeated,
        Parameter(negative="", show_default=False, help="A parameter of --against as key=value."),
    ] = (),
) -> int:
    """Test whether theory and finite networks agree; without a name, for everything registered."""
    check_out(chosen)
    given_name, given = inputs.chosen(name, chosen)
    if against_set and against is None:
        raise InputError(
            f"against-set={against_set[0]!r} without against; accepted: --against NAME "
            f"--against-set key=value"
        )
    options: dict[str, Any] = {
        "width": width,
        "samples": samples,
        "seed": seed,
        "engine": engine,
        "dtype": dtype,
        "memory_mib": memory_mib,
    }
    options["quantities"] = inputs.quantities(rows.quantity)
    if memory.worth_keeping(engine, width or 0):
        memory.keep()
    if exponents:
        table = _exponents(given_name, given, tolerance, width, samples, rows, options, chosen)
    elif given_name is None or all:
        alone = {
            "set": next(iter(chosen.set), None),
            "config": chosen.config if given else None,
            "against": against,
        }
        for option, value in {**alone, "applications": rows.applications}.items():
            if value is not None:
                raise InputError(
                    f"{option}={value!r} without one architecture to apply it to; accepted: with "
                    f"a name and without --all"
                )
        table = cases.judge(
            cases.listed(given_name, all, quick),
            tolerance,
            options,
            jobs or cores(),
            chosen,
            given_name or "all cases",
        )
    else:
        tolerance = tolerance or (QUICK_TOLERANCE if quick else TOLERANCE)
        table = _one(
            given_name,
            given,
            rows,
            against,
            against_set,
            options | {"tolerance": tolerance},
            chosen,
        )
    return CODES[table.verdict or "inconclusive"]


def _exponents(
    name: str | None,
    given: dict[str, Any],
    tolerance: float | None,
    width: int | None,
    samples: int | None,
    rows: Rows,
    options: dict[str, Any],
    chosen: Chosen,
) -> Table:
    if name is None:
        raise InputError("architecture: none given with exponents; accepted: a name")
    for option, value in {
        "samples": samples,
        "quantity": rows.quantity or None,
        "applications": rows.applications,
    }.items():
        if value is not None:
            raise InputError(
                f"{option}={value!r} with exponents; accepted: width, seed, tolerance, engine, "
                f"dtype, memory-mib"
            )
    import sigprop as sp

    asked = {key: options[key] for key in ("seed", "engine", "dtype", "memory_mib")}
    with bar(not chosen.json) as progress:
        table = sp.verify_exponents(
            entry(name).build(**given),
            tolerance or EXPONENT_TOLERANCE,
            width or EXPONENT_WIDTH,
            progress=progress,
            **asked,
        )
    show(table, chosen)
    return table


def _one(
    name: str,
    given: dict[str, Any],
    rows: Rows,
    against: str | None,
    against_set: Repeated,
    options: dict[str, Any],
    chosen: Chosen,
) -> Table:
    arch = entry(name).build(**given)
    options["applications"] = inputs.applications(rows.applications, arch.depth)
    if against is not None:
        from sigprop.agreement.against import common_quantities, theory_of

        options["theory"] = theory_of(
            arch, against, given, inputs.pairs(against_set, "against-set")
        )
        options["quantities"] = common_quantities(arch, options["theory"], options["quantities"])
    import sigprop as sp

    with bar(not chosen.json) as progress:
        table = sp.verify(arch, **options, progress=progress)
    show(table, chosen)
    return table

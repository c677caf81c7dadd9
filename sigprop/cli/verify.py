"""``sigprop verify``: test the theory on finite networks, of one architecture or of everything
registered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from sigprop.cli import inputs, side_by_side
from sigprop.cli.options import (
    Chosen,
    Control,
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
from sigprop.errors import InputError
from sigprop.runtime import memory
from sigprop.runtime.processes import cores
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
    slope: Annotated[
        Literal["fitted", "judged", "predicted"],
        Parameter(
            help="1/n coefficients of one architecture's rows: fitted; judged, the predicted ones "
            "beside them; predicted, where confirmed fixed in the fit of the limit."
        ),
    ] = "fitted",
    control: Control = "auto",
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
    name, parameters = inputs.chosen(name, chosen)
    if against_set and against is None:
        raise InputError(
            f"against-set={against_set[0]!r} without against; accepted: --against NAME "
            f"--against-set key=value"
        )
    request = _Request(
        name=name,
        parameters=parameters,
        chosen=chosen,
        rows=rows,
        tolerance=tolerance,
        quick=quick,
        against=against,
        against_set=against_set,
        sampling={
            "width": width,
            "samples": samples,
            "seed": seed,
            "engine": engine,
            "dtype": dtype,
            "memory_mib": memory_mib,
        },
        quantities=inputs.quantities(rows.quantity),
        slope=slope,
        control=control,
    )
    if memory.worth_keeping(engine, width or 0):
        memory.keep()
    if exponents:
        table = _judge_exponents(request)
    elif name is None or all:
        table = _judge_cases(request, all, jobs or cores())
    else:
        table = _judge_network(request, name)
    return CODES[table.verdict or "inconclusive"]


@dataclass(frozen=True, kw_only=True)
class _Request:
    """The command as it was typed: an architecture's name and ``parameters`` as text (none: all
    that are registered), which rows, ``sampling`` options of the networks, and whose theory judges
    them."""

    name: str | None
    parameters: dict[str, Any]
    chosen: Chosen
    rows: Rows
    tolerance: float | None
    quick: bool
    against: str | None
    against_set: Repeated
    sampling: dict[str, Any]
    quantities: tuple[str, ...] | None
    slope: str
    control: str

    @property
    def asked_control(self) -> str | None:
        """Return the control that was asked for, beyond the usual."""
        return None if self.control == "auto" else self.control

    @property
    def asked_slope(self) -> str | None:
        """Return what was asked of slopes beyond the usual."""
        return None if self.slope == "fitted" else self.slope


def _refuse(options: dict[str, Any], where: str) -> None:
    """Raise ``InputError`` for the first option that was given a value; where: why it cannot be
    used, and what can."""
    for option, value in options.items():
        if value is not None:
            raise InputError(f"{option}={value!r} {where}")


def _judge_exponents(request: _Request) -> Table:
    """Compare slopes over depths and loops; raise ``InputError`` for options that have no part in
    it."""
    if request.name is None:
        raise InputError("architecture: none given with exponents; accepted: a name")
    _refuse(
        {
            "samples": request.sampling["samples"],
            "quantity": request.rows.quantity or None,
            "applications": request.rows.applications,
            "slope": request.asked_slope,
            "control": request.asked_control,
        },
        "with exponents; accepted: width, seed, tolerance, engine, dtype, memory-mib",
    )
    import sigprop as sp

    with bar(not request.chosen.json) as progress:
        table = sp.verify_exponents(
            inputs.built(request.name, request.parameters),
            request.tolerance or EXPONENT_TOLERANCE,
            request.sampling["width"] or EXPONENT_WIDTH,
            progress=progress,
            **{key: request.sampling[key] for key in ("seed", "engine", "dtype", "memory_mib")},
        )
    show(table, request.chosen)
    return table


def _judge_cases(request: _Request, every: bool, jobs: int) -> Table:
    """Judge the list of cases; raise ``InputError`` for options that are about one
    architecture."""
    chosen = request.chosen
    _refuse(
        {
            "set": next(iter(chosen.set), None),
            "config": chosen.config if request.parameters else None,
            "against": request.against,
            "applications": request.rows.applications,
            "slope": request.asked_slope,
            "control": request.asked_control,
        },
        "without one architecture to apply it to; accepted: with a name and without --all",
    )
    return side_by_side.judge(
        side_by_side.listed(request.name, every, request.quick),
        request.tolerance,
        request.sampling | {"quantities": request.quantities},
        jobs=jobs,
        chosen=chosen,
        title=request.name or "all cases",
    )


def _judge_network(request: _Request, name: str) -> Table:
    """Judge one architecture by its own theory, or by that of another."""
    arch = inputs.built(name, request.parameters)
    theory, quantities = None, request.quantities
    applications = inputs.applications(request.rows.applications, arch.depth)
    if request.against is not None:
        from sigprop.agreement.against import common_quantities, theory_of

        replaced = inputs.pairs(request.against_set, "against-set")
        theory = theory_of(arch, request.against, request.parameters, replaced)
        quantities = common_quantities(arch, theory, quantities)
    import sigprop as sp

    with bar(not request.chosen.json) as progress:
        table = sp.verify(
            arch,
            **request.sampling,
            theory=theory,
            quantities=quantities,
            applications=applications,
            slope=request.slope,
            control=request.control,
            tolerance=request.tolerance or (QUICK_TOLERANCE if request.quick else TOLERANCE),
            progress=progress,
        )
    show(table, request.chosen)
    return table

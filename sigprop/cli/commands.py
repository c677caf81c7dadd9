"""The app and its commands; ``verify`` has a file of its own."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from sigprop.cli import inputs
from sigprop.cli.check import check
from sigprop.cli.figures import figures
from sigprop.cli.first_step import first_step
from sigprop.cli.inspect import inspect
from sigprop.cli.options import (
    Chosen,
    Control,
    Engine,
    Error,
    Memory,
    Name,
    Precision,
    Repeated,
    Rows,
    Samples,
    Seed,
    Vocabulary,
    Width,
    whole,
)
from sigprop.cli.output import check_out, show
from sigprop.cli.prescribe import prescribe
from sigprop.cli.streams import answer, remark
from sigprop.cli.study import study
from sigprop.cli.train import train
from sigprop.cli.verify import verify
from sigprop.errors import InputError
from sigprop.runtime import memory
from sigprop.runtime.progress import bar
from sigprop.tables.files import check_path, write

app = App(
    name="sigprop",
    help="Signal propagation of deep residual networks: theory, finite networks, and whether they "
    "agree.",
    help_epilogue="Exit codes: 0 confirmed or done, 1 rejected, 2 bad input, 3 inconclusive or "
    "diverged, 70 an error of ours"
    " (--debug, with any command, shows its traceback), 130 interrupted. Compiled programs are "
    "kept in the user's cache folder:"
    " --no-cache, with any command, or SIGPROP_CACHE=off keeps none, SIGPROP_CACHE=FOLDER "
    "elsewhere.",
    version_flags=[],
    suppress_keyboard_interrupt=False,  # run() reports it
)
app.command(verify)
app.command(prescribe)
app.command(check)
app.command(first_step)
app.command(figures)
app.command(inspect)
app.command(study)
app.command(train)


@app.command(name="list")
def list_(
    *,
    json: Annotated[
        bool, Parameter(negative="", show_default=False, help="Print one JSON document.")
    ] = False,
) -> int:
    """The registered architectures, their parameters and the quantities predicted for them."""
    from sigprop.cli.listing import as_json, as_text

    answer(as_json() if json else as_text())
    return 0


@app.command
def derive(
    name: Name = None,
    /,
    *,
    chosen: Chosen = Chosen(),  # noqa: B008 (frozen)
    latex: Annotated[bool, Parameter(negative="", show_default=False, help="Print LaTeX.")] = False,
    finite_width: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Instead: n Var and n shift of the residual variance in closed form.",
        ),
    ] = False,
) -> int:
    """The architecture's recursions as equations."""
    suffixes = {".json": "to_json", ".tex": "to_latex", ".txt": "to_text"}
    suffix = check_path(chosen.out, suffixes) if chosen.out is not None else ""
    arch = inputs.architecture(name, chosen)
    import sigprop as sp

    derivation = sp.derive(arch, finite_width)
    if chosen.out is not None:
        write(chosen.out, getattr(derivation, suffixes[suffix])() + "\n")
        remark(f"wrote the equations to {chosen.out}")
    answer(derivation.to_json() if chosen.json else derivation.to_latex() if latex else derivation)
    return 0


@app.command
def predict(
    name: Name = None,
    /,
    *,
    chosen: Chosen = Chosen(),  # noqa: B008
    rows: Rows = Rows(),  # noqa: B008
    approximation: Annotated[
        str | None,
        Parameter(
            help="Instead of attention's expectation: annealed, near-uniform, "
            "random-energy[-limit]."
        ),
    ] = None,
    error: Error = None,
    width: Annotated[
        Annotated[int, whole(1, 2**32 - 1, "an integer from 1 on")] | None,
        Parameter(
            help="Also, of networks of this width: sd, the scatter of one, and shift, of the mean."
        ),
    ] = None,
    shift: Annotated[
        bool,
        Parameter(help="With --width: --no-shift leaves shifts out, at a fraction of the time."),
    ] = True,
    over_tokens: Annotated[
        bool, Parameter(negative="", help="With --width: rows as their means over tokens.")
    ] = False,
) -> int:
    """The numbers of the infinitely wide network."""
    check_out(chosen)
    if width is not None and (approximation is not None or error is not None):
        other = "approximation" if approximation is not None else "error"
        raise InputError(f"{other} at width={width}; accepted: one of the two")
    if width is None and (over_tokens or not shift):
        raise InputError(f"{'over-tokens' if over_tokens else 'no-shift'}; accepted: with --width")
    arch = inputs.architecture(name, chosen)
    quantities, applications = (
        inputs.quantities(rows.quantity),
        inputs.applications(rows.applications, arch.depth),
    )
    import sigprop as sp

    if width is not None:
        given = {"width": width, "shift": shift, "over_tokens": over_tokens}
        show(sp.fluctuations(arch, quantities, applications, **given), chosen)
        return 0
    table = sp.predict(
        arch,
        quantities=quantities,
        applications=applications,
        approximation=approximation,
        error=error,
    )
    remarks = (table.notes or {}).get("remarks", ())
    if remarks and all(row["value"] is None and row["log_value"] is None for row in table):
        raise InputError(
            f"{arch.name} has no value: {remarks[0]}; accepted: parameters at which a value is "
            f"finite"
        )
    show(table, chosen)
    return 0


@app.command
def width(
    name: Name = None,
    /,
    *,
    chosen: Chosen = Chosen(),  # noqa: B008
    rows: Rows = Rows(),  # noqa: B008
    tolerance: Annotated[
        float, Parameter(help="Relative, of cosines absolute, between 0 and 1.")
    ] = 0.02,
    check: Annotated[
        Annotated[int, whole(0, 10**6, "an integer from 0 on")],
        Parameter(help="Networks to measure at the widths found."),
    ] = 0,
) -> int:
    """The width from which networks, and one network, are within a tolerance of the limit."""
    check_out(chosen)
    arch = inputs.architecture(name, chosen)
    quantities = inputs.quantities(rows.quantity)
    applications = inputs.applications(rows.applications, arch.depth)
    import sigprop as sp

    show(sp.wide_enough(arch, tolerance, quantities, applications, check=check), chosen)
    return 0


@app.command
def exponents(
    name: Name = None,
    /,
    *,
    chosen: Chosen = Chosen(),  # noqa: B008
    variable: Annotated[
        Repeated,
        Parameter(
            negative="",
            show_default=False,
            help="depth, loops (default those it has), tokens, width, mlp_ratio, ...; repeatable.",
        ),
    ] = (),
    sizes: Annotated[
        str | None,
        Parameter(
            help="Ladder of sizes that slopes are taken over, such as 2,4,8,16 [default: 2 to 32]."
        ),
    ] = None,
    symbols: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="The laws alone, without the recursion's slopes."
        ),
    ] = False,
) -> int:
    """How states, gradients and first steps scale with depth, loops, tokens: symbolic laws beside
    the recursion's slopes, whose limit is estimated where there is no law."""
    check_out(chosen)
    arch = inputs.architecture(name, chosen)
    ladder = inputs.ladder(sizes)
    import sigprop as sp

    show(sp.exponents(arch, variable or None, ladder, numbers=not symbols), chosen)
    return 0


@app.command
def critical(
    name: Name = None,
    /,
    *,
    chosen: Chosen = Chosen(),  # noqa: B008
    criterion: Annotated[
        Repeated,
        Parameter(
            negative="",
            help="What is order one, repeatable: variance, adam, muon, sgd, own_adam, own_muon, "
            "own_sgd, weight, memory, norm_power.",
        ),
    ] = ("variance",),
    per_class: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="A residual scale and a rate for each class of slots.",
        ),
    ] = False,
    fixed_rate: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="Rates that do not depend on depth or loops."
        ),
    ] = False,
) -> int:
    """Which powers of depth and loops make chosen quantities order one."""
    check_out(chosen)
    arch = inputs.architecture(name, chosen)
    import sigprop as sp

    show(sp.critical(arch, criterion, per_class, fixed_rate), chosen)
    return 0


@app.command
def costs(
    name: Name = None,
    /,
    *,
    chosen: Chosen = Chosen(),  # noqa: B008
    width: Annotated[Width, Parameter(help="Width d of the stem and the read-out.")] = 1024,
    sequence: Annotated[Width, Parameter(help="Tokens of a sequence.")] = 1024,
    vocabulary: Annotated[Vocabulary, Parameter(help="Words of an untied embedding and head.")] = 0,
) -> int:
    """Parameters, operations and cache, and what narrow blocks or skipped tokens save."""
    check_out(chosen)
    arch = inputs.architecture(name, chosen)
    import sigprop as sp

    show(sp.costs(arch, width, sequence, vocabulary), chosen)
    return 0


@app.command
def measure(
    name: Name = None,
    /,
    *,
    chosen: Chosen = Chosen(),  # noqa: B008
    rows: Rows = Rows(),  # noqa: B008
    width: Annotated[Width, Parameter(help="Width n of the networks.")] = 256,
    samples: Annotated[Samples, Parameter(help="How many networks.")] = 512,
    seed: Annotated[Seed, Parameter(help="Seed of their weights and inputs.")] = 0,
    engine: Annotated[Engine, Parameter(help="How networks are simulated.")] = "auto",
    dtype: Annotated[Precision, Parameter(help="Precision of the networks.")] = "float32",
    memory_mib: Annotated[
        Memory, Parameter(help="Memory that one batch of networks may take.")
    ] = 1024,
    control: Control = "none",
) -> int:
    """The numbers of finite networks, each with its standard error."""
    check_out(chosen)
    arch = inputs.architecture(name, chosen)
    quantities, applications = (
        inputs.quantities(rows.quantity),
        inputs.applications(rows.applications, arch.depth),
    )
    import sigprop as sp

    if memory.worth_keeping(engine, width):
        memory.keep()
    options = {
        "width": width,
        "samples": samples,
        "seed": seed,
        "engine": engine,
        "dtype": dtype,
        "memory_mib": memory_mib,
        "control": control,
    }
    with bar(not chosen.json) as progress:
        table = sp.measure(
            arch, **options, quantities=quantities, applications=applications, progress=progress
        )
    show(table, chosen)
    return 0

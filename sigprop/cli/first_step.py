"""``sigprop first-step``: what one optimiser step changes in the wide limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from cyclopts import Parameter

from sigprop.cli import inputs
from sigprop.cli.options import Chosen, Name, Seed, whole
from sigprop.cli.output import check_out, show
from sigprop.cli.verify import CODES
from sigprop.errors import InputError
from sigprop.runtime.progress import bar


def first_step(
    name: Name = None,
    /,
    *,
    chosen: Chosen = Chosen(),  # noqa: B008 (frozen)
    optimizer: Annotated[
        Literal["sgd", "adam", "muon"],
        Parameter(help="What takes the step (muon: matrices of branches, adam the rest)."),
    ] = "adam",
    rate: Annotated[
        str | None,
        Parameter(help="Rates such as w=2,readout=0.5, over what makes a step of order one."),
    ] = None,
    label: Annotated[
        str | None, Parameter(help="Labels y of the tokens, comma separated [default: all 1].")
    ] = None,
    epsilon: Annotated[
        str | None, Parameter(help="Adam's epsilon by group, times n [default: 0].")
    ] = None,
    seed: Annotated[Seed, Parameter(help="Seed of the sampled coordinates.")] = 0,
    points: Annotated[
        Annotated[int, whole(64, 2**20, "a power of two from 64 on")],
        Parameter(help="Sampled coordinates, in each of eight samples."),
    ] = 2048,
    verify: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="Judge all rows by finite networks that step."
        ),
    ] = False,
    tolerance: Annotated[
        float, Parameter(help="With --verify: relative, of mean squares; between 0 and 1.")
    ] = 0.05,
) -> int:
    """What one step of an optimiser changes, to first order in its rates: the output and the states
    by group of parameters, and of each matrix the effective and the propagating part."""
    check_out(chosen)
    arch = inputs.architecture(name, chosen)
    rates, epsilons = _groups("rate", rate), _groups("epsilon", epsilon)
    labels = None if label is None else [inputs.number("label", y) for y in label.split(",")]
    import sigprop as sp

    if not verify:
        show(
            sp.first_step(
                arch, optimizer, rates, labels, epsilon=epsilons, seed=seed, points=points
            ),
            chosen,
        )
        return 0
    if epsilons is not None:
        raise InputError("epsilon: with --verify networks step without one; accepted: none")
    options = {"tolerance": tolerance, "seed": seed, "points": points}
    with bar(not chosen.json) as progress:
        table = sp.verify_first_step(arch, optimizer, rates, labels, progress=progress, **options)
    show(table, chosen)
    return CODES[table.verdict or "inconclusive"]


def _groups(option: str, text: str | None) -> Mapping[str, float] | None:
    """Read one number a group; raise ``InputError`` for one number for all."""
    given = inputs.by_group(option, text)
    if isinstance(given, (int, float)):
        raise InputError(f"{option}={text!r}; accepted: one a group, such as w=2,readout=0.5")
    return given

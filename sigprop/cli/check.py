"""``sigprop check``: the coordinate check as a test, with real optimiser steps."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from sigprop.cli import inputs
from sigprop.cli.options import Chosen, Name, Repeated, Samples, Seed, Width
from sigprop.cli.output import check_out, show
from sigprop.cli.streams import remark
from sigprop.cli.verify import CODES
from sigprop.errors import InputError
from sigprop.runtime.progress import bar
from sigprop.tables.files import check_path
from sigprop.tables.plots import FORMATS
from sigprop.tables.table import Table


def check(
    name: Name = None,
    /,
    *,
    chosen: Chosen = Chosen(),  # noqa: B008 (frozen)
    optimizer: Annotated[
        Literal["sgd", "adam", "adamw", "muon"],
        Parameter(help="What takes the steps (optax); muon: matrices in branches, else AdamW."),
    ] = "adamw",
    shape_factor: Annotated[
        str | None,
        Parameter(help="Of muon: original [default], match_rms_adamw or spectral."),
    ] = None,
    parametrisation: Annotated[
        Literal["prescribed", "naive"], Parameter(help="Factors of rates and read-out.")
    ] = "prescribed",
    variable: Annotated[
        Repeated,
        Parameter(
            negative="",
            show_default=False,
            help="Of width, depth, loops; comma separated or repeated; default all.",
        ),
    ] = (),
    steps: Annotated[str, Parameter(help="After how many steps, comma separated.")] = "1,10",
    loss: Annotated[
        Literal["linear", "squared"], Parameter(help="-y z, or (z - y)^2/2, y = +-1.")
    ] = "linear",
    readout: Annotated[
        Literal["random", "zero"], Parameter(help="Where the read-out starts.")
    ] = "random",
    parts: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Also each group's effective and propagating part, by relative application.",
        ),
    ] = False,
    width: Annotated[
        Width | None,
        Parameter(help="Width n on the ladders of depth and loops [default: 128, of muon 64]."),
    ] = None,
    samples: Annotated[
        Samples | None,
        Parameter(help="Networks of the largest size at the first look [default: 8]."),
    ] = None,
    seed: Annotated[Seed, Parameter(help="Seed of weights, inputs and labels.")] = 0,
    plot: Annotated[
        str | None,
        Parameter(help="Draw the coordinate-check picture into this file (.png, .pdf, .svg)."),
    ] = None,
) -> int:
    """Test whether optimiser steps change the output and the states equally at every width,
    depth and number of loops."""
    check_out(chosen)
    if plot is not None:
        check_path(plot, FORMATS, "plot")
    arch = inputs.architecture(name, chosen)
    variables = [part.strip() for text in variable for part in text.split(",")] or None
    from sigprop.coordinate_check.check import MOST, NETWORKS
    from sigprop.coordinate_check.check import check as judge

    networks = samples or NETWORKS
    with bar(not chosen.json) as progress:
        table = judge(
            arch,
            optimizer,
            parametrisation,
            seed,
            variables,
            _steps(steps),
            loss=loss,
            readout=readout,
            parts=parts,
            width=width,
            networks=networks,
            most=max(MOST, networks),
            shape_factor=shape_factor,
            progress=progress,
        )
    if plot is not None:
        _draw(table, plot)
    show(table, chosen)
    return CODES[table.verdict or "inconclusive"]


def _draw(table: Table, path: str) -> None:
    """Draw the coordinate-check picture, and say so."""
    from sigprop.coordinate_check.plot import plot

    plot(table, path)
    remark(f"drew {path}")


def _steps(text: str) -> tuple[int, ...]:
    """Read numbers of steps; raise ``InputError`` for anything else."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and len(word) < 5 for word in words):
        raise InputError(f"steps={text!r}; accepted: numbers of steps from 1 to 1000, such as 1,10")
    return tuple(map(int, words))

"""``sigprop prescribe``: from the settings of a base model to those of a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from sigprop.architectures import entries
from sigprop.cli import inputs
from sigprop.cli.options import Chosen, Name
from sigprop.cli.streams import answer, remark
from sigprop.errors import InputError
from sigprop.runtime.progress import bar
from sigprop.tables.files import SUFFIXES, check_path, write

if TYPE_CHECKING:
    from sigprop.prescriptions.prescription import Prescription

WAYS = {**SUFFIXES, ".tex": "to_latex", ".txt": "to_text"}


def prescribe(
    name: Name = None,
    /,
    *,
    chosen: Chosen = Chosen(),  # noqa: B008 (frozen)
    base: Annotated[
        str | None,
        Parameter(
            help="Sizes of the base: width=256,depth=8,loops=1 and parameters, or a TOML file."
        ),
    ] = None,
    target: Annotated[str | None, Parameter(help="Sizes of the target, likewise.")] = None,
    optimizer: Annotated[
        str, Parameter(help="sgd, adam, adamw, or muon (matrices in branches, the rest by AdamW).")
    ] = "adamw",
    shape_factor: Annotated[
        str | None,
        Parameter(
            help="Of muon: original, sqrt(max(1, n_out/n_in)) [default]; match_rms_adamw, 0.2 "
            "sqrt(max(n_in, n_out)); spectral, sqrt(n_out/n_in)."
        ),
    ] = None,
    s: Annotated[
        str, Parameter(help="0: neural-tangent, 1: maximal-update widths (or between).")
    ] = "1",
    decay: Annotated[
        str,
        Parameter(help="Weight decay: papers, or product (rate x decay constant in every size)."),
    ] = "papers",
    parametrisation: Annotated[
        str, Parameter(help="Of the read-out: standard (its std holds the width) or multiplier.")
    ] = "standard",
    init: Annotated[
        str | None,
        Parameter(
            help="The base's initialisation: gpt2, llama, ..., or stds such as u=0.005,q=0.02."
        ),
    ] = None,
    learning_rate: Annotated[
        str | None,
        Parameter(
            help="The base's learning rate, or one a group such as q=1e-3,readout=3e-3, or "
            "muon=0.02,adamw=3e-4."
        ),
    ] = None,
    weight_decay: Annotated[
        str | None, Parameter(help="The base's weight decay, likewise.")
    ] = None,
    epsilon: Annotated[str | None, Parameter(help="The base's Adam epsilon, likewise.")] = None,
    multiplier: Annotated[
        str | None,
        Parameter(
            help="The base's residual multiplier, or one a group such as embedding=10,attention=2."
        ),
    ] = None,
    base_carries_depth_factor: Annotated[
        Literal["true", "false"] | None,
        Parameter(
            help="Whether output matrices' stds hold 1/sqrt(2 L), in base and target [default: as "
            "init says]."
        ),
    ] = None,
    latex: Annotated[bool, Parameter(negative="", show_default=False, help="Print LaTeX.")] = False,
    explain: Annotated[
        str | None, Parameter(help="Say where this group's settings come from, in a few lines.")
    ] = None,
) -> int:
    """What to set in a larger network: init stds, multipliers, learning rates, weight decay and
    epsilon, each with its rule."""
    suffix = check_path(chosen.out, WAYS) if chosen.out is not None else ""
    named, parameters = inputs.chosen(name, chosen)
    if named is None:
        raise InputError(f"architecture: none given; accepted: one of {', '.join(entries())}")
    numbers = {
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "epsilon": epsilon,
        "multiplier": multiplier,
    }
    given = {key: inputs.by_group(key, text) for key, text in numbers.items()} | {
        "init": _init(init)
    }
    options = {
        "optimizer": optimizer,
        "s": inputs.number("s", s),
        "decay": decay,
        "parametrisation": parametrisation,
        "shape_factor": shape_factor,
    }
    carries = None if base_carries_depth_factor is None else base_carries_depth_factor == "true"
    from sigprop.prescriptions.prescribe import prescribe_from

    sides = (_side("base", base), _side("target", target))
    # seconds to half a minute where no law has depth and the recursion is asked
    with bar(not chosen.json, unit="") as progress:
        progress.start(1, "rates at both sizes")
        table = prescribe_from(
            named, parameters, sides, given, options=options, base_carries_depth_factor=carries
        )
        progress.advance(1)
    if chosen.out is not None:
        _write(table, chosen.out, WAYS[suffix])
    if explain is not None:
        answer(table.explain(explain))
        return 0
    answer(table.to_json() if chosen.json else table.to_latex() if latex else table)
    return 0


def _write(table: Prescription, path: str, way: str) -> None:
    """Write what the table's method ``way`` returns, and say so."""
    content = getattr(table, way)()
    write(path, content if content.endswith("\n") else content + "\n")
    remark(f"wrote {len(table)} rows to {path}")


def _side(option: str, text: str | None) -> dict[str, str] | str:
    """Read ``key=value`` items, where a comma not followed by a key belongs to the value; anything
    without = is a path."""
    if text is None:
        raise InputError(
            f"{option}: none given; accepted: sizes such as width=256,depth=8, or a TOML file of "
            f"them"
        )
    if "=" not in text:
        return text
    items: list[str] = []
    for piece in text.split(","):
        if "=" in piece or not items:
            items.append(piece)
        else:
            items[-1] += "," + piece
    return inputs.pairs(items, option, once=True)


def _init(text: str | None) -> str | float | dict[str, float] | None:
    """Read an initialisation: its name, or one std a group."""
    return inputs.by_group("init", text) if text is not None and "=" in text else text

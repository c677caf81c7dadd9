"""``sigprop train``: a description's network learns to predict the bytes of a text."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from sigprop.cli import inputs
from sigprop.cli.options import Chosen, Memory, Name, Repeated, Width, whole
from sigprop.cli.output import check_out, show
from sigprop.cli.streams import remark
from sigprop.errors import InputError
from sigprop.runtime.progress import bar

UNSAID = {"tokens": "64", "mask": "causal"}
"""Parameters of those that have them, unless they are given: descriptions are not causal."""
Count = Annotated[int, whole(1, 10**7, "an integer from 1 to 10^7")]
CountOrNone = Annotated[int, whole(0, 10**7, "an integer from 0 to 10^7")]


def train(
    name: Name = None,
    /,
    *,
    chosen: Chosen = Chosen(),  # noqa: B008 (frozen)
    data: Annotated[
        str | None,
        Parameter(help="A file or a folder [default: the source of Python's standard library]."),
    ] = None,
    width: Annotated[Width, Parameter(help="Width n.")] = 64,
    optimizer: Annotated[
        Literal["sgd", "adam", "adamw", "muon"],
        Parameter(help="What takes the steps (optax); muon: matrices in branches, else AdamW."),
    ] = "adamw",
    rate: Annotated[str, Parameter(help="Base rates, comma separated.")] = "1e-3",
    seed: Annotated[
        str, Parameter(help="Seeds, comma separated: each its own network and batches.")
    ] = "0",
    steps: Annotated[Count, Parameter(help="Steps.")] = 300,
    batch: Annotated[Count, Parameter(help="Sequences a step, of T = tokens bytes each.")] = 16,
    warmup: Annotated[CountOrNone, Parameter(help="Steps over which the rate rises.")] = 20,
    clip: Annotated[
        str | None, Parameter(help="The largest norm of a gradient [default: none is clipped].")
    ] = None,
    decay: Annotated[str, Parameter(help="Weight decay, times the rate (adamw, muon).")] = "0",
    parametrisation: Annotated[
        str,
        Parameter(
            help="constant, prescribed (check's powers), or factors such as w=2,readout=0.5."
        ),
    ] = "constant",
    dtype: Annotated[
        Literal["float32", "bfloat16"], Parameter(help="Of the computation, not the parameters.")
    ] = "float32",
    every: Annotated[
        Count | None, Parameter(help="Steps between rows [default: at most 50].")
    ] = None,
    held_out: Annotated[CountOrNone, Parameter(help="Windows of the held-out text; 0: none.")] = 64,
    observe: Annotated[
        Repeated,
        Parameter(
            negative="",
            show_default=False,
            help="Also, at every row: rms, write_cosine, ... (as measure), parameter, gradient, "
            "change; comma separated or repeated.",
        ),
    ] = (),
    checkpoint: Annotated[
        str | None,
        Parameter(help="File (.npz) of the run after every row, from which it goes on."),
    ] = None,
    memory_mib: Annotated[Memory, Parameter(help="Ceiling for networks trained at once.")] = 1024,
) -> int:
    """Train the network as a causal language model of bytes, for every rate and seed, and show its
    losses in nats a byte."""
    check_out(chosen)
    arch = inputs.architecture(name, _causal(name, chosen))
    factors = inputs.by_group(
        "parametrisation", parametrisation if "=" in parametrisation else None
    )
    rates = [inputs.number("rate", text) for text in rate.split(",")]
    import sigprop as sp

    with bar(not chosen.json, "tokens") as progress:
        table = sp.train(
            arch,
            data,
            width=width,
            optimizer=optimizer,
            rates=rates,
            seeds=[_seed(text) for text in seed.split(",")],
            steps=steps,
            batch=batch,
            warmup=warmup,
            clip=None if clip is None else inputs.number("clip", clip),
            decay=inputs.number("decay", decay),
            parametrisation=factors if isinstance(factors, dict) else parametrisation,
            dtype=dtype,
            every=every,
            held_out=held_out,
            observe=[name.strip() for text in observe for name in text.split(",")],
            checkpoint=checkpoint,
            memory_mib=memory_mib,
            progress=progress,
        )
    show(table, chosen)
    # what diverged at every rate has no best one
    return 0 if (table.notes or {}).get("best") is not None else 3


def _causal(name: str | None, chosen: Chosen) -> Chosen:
    """Return the choices with ``UNSAID`` where the architecture has such parameters, and say so."""
    from dataclasses import replace

    from sigprop.registry.entries import registered

    found, given = inputs.chosen(name, chosen)
    entry = registered().get(found or "")
    missing = {
        key: value
        for key, value in UNSAID.items()
        if entry is not None
        and key in entry.parameters
        and key not in given
        and entry.defaults.get(key) != value
    }
    if not missing or {"words", "input_gram"} & set(given):
        return chosen
    remark("with " + " ".join(f"--set {key}={value}" for key, value in missing.items()))
    return replace(chosen, set=(*(f"{key}={value}" for key, value in missing.items()), *chosen.set))


def _seed(text: str) -> int:
    """Read a seed; raise ``InputError`` for anything else."""
    if not text.strip().isdecimal() or int(text) >= 2**32:
        raise InputError(f"seed={text!r}; accepted: integers from 0 to 2^32 - 1, such as 0,1,2")
    return int(text)

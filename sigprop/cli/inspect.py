"""``sigprop inspect``: a model of torch, flax or equinox read, predicted, measured and judged."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from sigprop.cli.inputs import pairs
from sigprop.cli.options import Chosen, Error, Repeated, Samples, whole
from sigprop.cli.output import check_out, show
from sigprop.cli.verify import CODES
from sigprop.errors import InputError
from sigprop.reading.named import HF, named
from sigprop.runtime.progress import bar
from sigprop.tables.files import check_path
from sigprop.tables.plots import FORMATS

Tokens = Annotated[int, whole(2, 10**5, "an integer from 2 to 10^5")]
Networks = Annotated[int, whole(1, 10**6, "an integer from 1 to 10^6")]


def inspect(
    model: Annotated[
        str | None,
        Parameter(
            help="FILE.py:function, which builds a module of torch, flax or equinox, or a folder "
            "with config.json and trained weights, which are shown beside what was predicted at "
            "initialisation."
        ),
    ] = None,
    /,
    *,
    hf: Annotated[
        str | None,
        Parameter(help="Instead: a kind of Hugging Face configuration, as MODEL hf:gpt2 is."),
    ] = None,
    chosen: Chosen = Chosen(),  # noqa: B008 (frozen)
    tokens: Annotated[Tokens, Parameter(help="Of the example, where the file has none.")] = 32,
    seeds: Annotated[Samples, Parameter(help="Networks with fresh weights.")] = 8,
    against: Annotated[
        str | None,
        Parameter(
            help="What was meant, FILE.py:function or hf:TYPE: one network of the model beside the "
            "scatter of --seeds fresh ones of this, parameters included."
        ),
    ] = None,
    networks: Annotated[
        Networks, Parameter(help="With --against: how many networks of the model.")
    ] = 1,
    widths: Annotated[
        str | None,
        Parameter(
            help="Widths in features, such as 512,1024: the file's function takes one, and "
            "deviations are extrapolated."
        ),
    ] = None,
    plot: Annotated[
        str | None, Parameter(help="Draw theory and networks into this file (.png, .pdf, .svg).")
    ] = None,
    quantity: Annotated[
        Repeated,
        Parameter(
            negative="",
            show_default=False,
            help="Of residual_variance, write_variance, token_cosine, gradient_variance (default) "
            "and, by parameter, weight_gradient, second_moment.",
        ),
    ] = (),
    error: Error = None,
    output: Annotated[
        str | None,
        Parameter(help="Of a model that returns several, such as logits: whose stream is read."),
    ] = None,
    sampled: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Try operations without a rule on Gaussian tokens, instead of refusing them; rows "
            "behind them say so.",
        ),
    ] = False,
    scatter: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Judge one network, or trained weights, by the scatter that theory predicts for "
            "one of this width.",
        ),
    ] = False,
    prescribe: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Instead: which standard deviations of what writes to the stream keep its "
            "variance and gradients within --growth; nothing is measured.",
        ),
    ] = False,
    growth: Annotated[
        float, Parameter(help="With --prescribe: by how much both may change, above 1.")
    ] = 2.0,
) -> int:
    """Read a model, predict every sub-block, measure the model itself, and judge.

    The model needs nothing of sigprop: its graph is traced, its initialisers are recorded. --set
    changes fields of the configuration of --hf.
    """
    check_out(chosen)
    if plot is not None:
        check_path(plot, FORMATS, "plot")
    if (model is None) == (hf is None):
        raise InputError("model: accepted: FILE.py:function, a folder, or --hf TYPE")
    if against is not None and error is not None:
        raise InputError(f"error={error} at against: accepted: one of the two")
    from sigprop.inspection.inspect import inspect as inspected

    model = f"{HF}{hf}" if model is None else model
    sizes = () if widths is None else _sizes(widths)
    if sizes and (model.startswith(HF) or against is not None):
        raise InputError("widths: accepted: with FILE.py:function alone, of the width")
    found = named(model, tokens, pairs(chosen.set))
    if found.trained is not None and against is not None:
        raise InputError("against: accepted: with FILE.py:function or --hf; weights are trained")
    if scatter and against is not None:
        raise InputError("against: accepted: without --scatter; the band is predicted")
    if prescribe:
        named_too = {
            "against": against,
            "scatter": scatter,
            "plot": plot,
            "widths": widths,
            "quantity": quantity,
        }
        if others := [name for name, value in named_too.items() if value]:
            raise InputError(f"{others[0]}: accepted: without --prescribe, which measures nothing")
        from sigprop.inspection.prescribed import prescribe_model
        from sigprop.reading.read import read

        reading = read(found.build, found.example, output=output, sampled=sampled)
        show(prescribe_model(reading, growth=growth), chosen)
        return 0
    wanted = tuple(part for text in quantity for part in text.split(",")) or None
    with bar(not chosen.json) as progress:
        if against is not None:
            from sigprop.inspection.against import compare

            meant = named(against, tokens).build
            table = compare(
                found.build,
                found.example,
                against=meant,
                networks=networks,
                seeds=seeds,
                output=output,
                sampled=sampled,
                progress=progress,
            )
        else:
            table = inspected(
                found.build,
                found.example,
                seeds=seeds,
                widths=sizes,
                weights=found.trained,
                quantities=wanted,
                error=error,
                output=output,
                sampled=sampled,
                scatter=scatter,
                progress=progress,
            )
    show(table, chosen)
    if plot is not None:
        table.plot(plot)
    return CODES[table.verdict] if table.verdict else 0


def _sizes(text: str) -> tuple[int, ...]:
    """Read ``512,1024``."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"widths={text!r}; accepted: two or more widths, such as 512,1024")
    return tuple(map(int, parts))

"""Options of the commands: what each takes, checked while it is read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from sigprop.errors import InputError


def _number(read: Callable[[str], Any], accepted: str) -> Callable[[Any, Any], Any]:
    """A cyclopts converter: ``read`` gives the value or raises ValueError; ``accepted`` says
    what would do."""

    def convert(_type: Any, tokens: Any) -> Any:
        try:
            return read(tokens[0].value)
        except (ValueError, OverflowError):
            name = (tokens[0].keyword or "value").lstrip("-")
            raise InputError(f"{name}={tokens[0].value!r}; accepted: {accepted}") from None

    return convert


def whole(low: int, high: int, accepted: str) -> Parameter:
    """An integer option."""

    def read(text: str) -> int:
        number = float(text)
        if not number.is_integer() or not low <= number <= high:
            raise ValueError
        return int(text) if text.strip().isdecimal() else int(number)

    return Parameter(converter=_number(read, accepted))


def _tolerance(text: str) -> float:
    number = float(text)
    if not math.isfinite(number) or not 0 < number < 1:
        raise ValueError
    return number


Width = Annotated[int, whole(1, 10**7, "an integer from 1 to 10^7")]
Jobs = Annotated[int, whole(1, 256, "an integer from 1 to 256")]
Vocabulary = Annotated[int, whole(0, 10**7, "an integer from 0 to 10^7")]
Samples = Annotated[int, whole(2, 10**9, "an integer from 2 to 10^9")]
Seed = Annotated[int, whole(0, 2**32 - 1, "an integer from 0 to 2^32 - 1")]
Memory = Annotated[int, whole(1, 10**7, "an integer from 1 to 10^7 (MiB)")]
Tolerance = Annotated[
    float, Parameter(converter=_number(_tolerance, "a number between 0 and 1, such as 0.01"))
]
Error = Annotated[
    float | None,
    Parameter(
        converter=_number(_tolerance, "a number between 0 and 1, such as 0.005"),
        help="Sample heads until no row's error is larger (relative; of cosines absolute).",
    ),
]
Engine = Literal["auto", "dense", "matrix-free"]
Precision = Literal["float32", "float64"]
Control = Annotated[
    Literal["none", "twin", "auto"],
    Parameter(
        help="twin: sample with a control variate, as fine as many more networks; auto: where "
        "that helps."
    ),
]
Name = Annotated[
    str | None,
    Parameter(
        help="A registered architecture (`sigprop list`), or a model: FILE.py:function, hf:TYPE "
        "(with --set of its fields, and of tokens), a folder with config.json."
    ),
]
Repeated = tuple[str, ...]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Which architecture, and where the answer goes."""

    set: Annotated[
        Repeated,
        Parameter(
            negative="",
            show_default=False,
            help="A parameter as key=value; repeatable; wins over --config.",
        ),
    ] = ()
    config: Annotated[
        str | None,
        Parameter(help='TOML file of parameters, optionally with architecture = "name".'),
    ] = None
    json: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="Print one JSON document on stdout, nothing else."
        ),
    ] = False
    out: Annotated[
        str | None,
        Parameter(
            help="Also write the result to this file (.json, .csv, .md, .html; derive: .json, "
            ".tex, .txt)."
        ),
    ] = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Rows:
    """Which rows."""

    quantity: Annotated[
        Repeated,
        Parameter(
            negative="",
            show_default=False,
            help="Quantities, comma separated or repeated; default all that come unasked.",
        ),
    ] = ()
    applications: Annotated[
        str | None,
        Parameter(help="Applications such as 0,4,8..16, last, or all; 0 is the stem's output."),
    ] = None

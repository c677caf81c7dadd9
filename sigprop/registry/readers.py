"""How a parameter's value is read, from text or Python: each reader gives a checked value or
raises ``ValueError``."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Literal, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from sigprop.language.formula import formula
from sigprop.language.scores import MASKS, as_mask

Given = Any
"""What a reader is tried on: anything."""
T = TypeVar("T")
Reader = Callable[[Given], T]
"""From anything to a checked value of one type; raises ``ValueError``."""
Table = NDArray[np.float64]
Mask = str | tuple[tuple[bool, ...], ...]
TYPES: dict[Reader[object], Any] = {}
"""What Python callers pass to a reader, as a type: what ``help`` of an architecture shows."""


def of_type(given: object) -> Callable[[Reader[T]], Reader[T]]:
    """Decorate a reader: values of this type are what it is for."""

    def add(read: Reader[T]) -> Reader[T]:
        TYPES[read] = given
        return read

    return add


Scale = float | str | tuple["Scale", ...]
"""A number, text of the grammar, or one of these for each block or application."""


class Trouble(ValueError):
    """What is wrong with a value beside its not being accepted."""


def integer(low: int, high: int) -> Reader[int]:
    """Read a whole number in a range."""

    @of_type(int)
    def read(value: Given) -> int:
        number = float(value) if not isinstance(value, bool) else math.nan
        if not number.is_integer() or not low <= number <= high:
            raise ValueError
        return int(number)

    return read


def number(low: float = -math.inf, high: float = math.inf) -> Reader[float]:
    """Read a finite number in a range; one that over- or underflows says so."""

    @of_type(float)
    def read(value: Given) -> float:
        number = float(value) if not isinstance(value, bool) else math.nan
        if (
            isinstance(value, str)
            and number in (0.0, math.inf, -math.inf)
            and re.search("[1-9]", value.lower().partition("e")[0])
        ):
            raise Trouble("it underflows to 0" if number == 0 else "it overflows")
        if not math.isfinite(number) or not low <= number <= high:
            raise ValueError
        return number

    return read


def scale(name: str, low: float = -math.inf) -> Reader[Scale]:
    """Read a finite number from ``low`` on; or text of the grammar, or a list of either (kept as
    they are: their values depend on sizes and places)."""

    @of_type(float | str | Sequence[float | str])
    def read(value: Given) -> Scale:
        if _listed(value):
            entries = tuple(read(entry) for entry in value)
            formula(name, entries)  # refuses lists that say nothing
            return entries
        if not isinstance(value, str) or _names_number(value):
            return number(low)(value)
        formula(name, value)  # refuses what is not in the grammar
        return value

    return read


def _listed(value: Given) -> TypeGuard[Sequence[object]]:
    """Tell if a value is a list of values."""
    return np.ndim(value) == 1 and isinstance(value, (list, tuple, np.ndarray))


def _names_number(text: str) -> bool:
    """Tell if text is meant as a number, finite or not, rather than as an expression."""
    if text.strip().lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def optional(read: Reader[T]) -> Reader[T | None]:
    """Read ``none`` beside what another reader reads."""

    @of_type(TYPES[read] | None)
    def read_or_none(value: Given) -> T | None:
        return (
            None if value is None or (isinstance(value, str) and value == "none") else read(value)
        )

    return read_or_none


def choice(*names: str) -> Reader[str]:
    """Read one of these names."""

    @of_type(Literal[names])  # pyright: ignore[reportInvalidTypeForm]
    def read(value: Given) -> str:
        if value not in names:
            raise ValueError
        return str(value)

    return read


def text(file: IO[bytes], delimiter: str | None) -> list[list[float]]:
    """Return the numbers of a text file, line by line; # begins a comment."""
    lines = [line.split("#")[0] for line in file.read().decode("utf-8-sig").splitlines()]
    return [[float(cell) for cell in line.split(delimiter)] for line in lines if line.strip()]


def _is_path(value: Given) -> TypeGuard[str | os.PathLike[str]]:
    """Tell if a value names a file."""
    return isinstance(value, (str, os.PathLike))


@of_type(np.ndarray | str | None)
def gram(value: Given) -> Table | None:
    """Read an array, or a path to a text (.csv, .txt) or .npy file that holds one."""
    if value is None:
        return None
    entries = _loaded(os.fspath(value)) if _is_path(value) else value
    if np.iscomplexobj(np.asarray(entries)):
        raise Trouble("complex")
    return np.atleast_2d(np.asarray(entries, dtype=np.float64))


def _loaded(path: str) -> Given:
    """Return what a file holds; it is opened here, since numpy would also fetch a URL."""
    try:
        with open(path, "rb") as file:
            if path.endswith(".npy"):
                return np.load(file, allow_pickle=False)
            return text(file, "," if path.endswith(".csv") else None)
    except OSError:
        raise Trouble("no such file") from None
    except EOFError:
        raise Trouble("empty") from None


@of_type(np.ndarray | str)
def mask(value: Given) -> Mask:
    """Read the name of a mask, or a table of 0 and 1."""
    if _is_path(value) and value not in MASKS:
        value = gram(value)
    return as_mask(value)


@of_type(Sequence[int])
def words(value: Given) -> tuple[int, ...]:
    """Read whole numbers from 0 on: a list, text, or a file of them."""
    if isinstance(value, str):  # a file has a dot in its name
        value = gram(value) if "." in value else [int(word) for word in value.split(",")]
    entries = np.asarray(value, dtype=np.float64).ravel()
    whole = np.isfinite(entries) & (entries >= 0) & (entries == np.floor(entries))
    if not whole.all():
        raise Trouble("words are whole numbers from 0 on")
    return tuple(int(word) for word in entries)


@of_type(Sequence[float])
def numbers(value: Given) -> Table:
    """Read numbers: a list, text, or a file of them."""
    if isinstance(value, str):
        there = os.path.exists(value)
        value = gram(value) if there else [float(entry) for entry in value.split(",")]
    return np.asarray(value, dtype=np.float64).ravel()


@of_type(Literal["vee"] | Sequence[int])
def widths(value: Given) -> str | tuple[int, ...]:
    """Read ``vee``, or widths above 0."""
    if isinstance(value, str) and value == "vee":
        return value
    sizes = words(value)
    if not sizes or min(sizes) < 1:
        raise ValueError
    return sizes


@of_type(int | float)
def head_dim(value: Given) -> float:
    """Read a number of coordinates, or inf."""
    return math.inf if value in ("inf", math.inf) else integer(1, 4096)(value)


@of_type(Mapping[str, float])
def factors(value: Given) -> dict[str, float]:
    """Read factors from 0 on by group: a mapping, or text such as q=0.5,u=2."""
    pairs = (
        [pair.split("=") for pair in value.split(",")]
        if isinstance(value, str)
        else dict(value).items()
    )
    return {str(name).strip(): number(0)(factor) for name, factor in pairs}


@of_type(float)
def share(value: Given) -> float:
    """Read a number from 0 to below 1: a network that skips everything computes nothing."""
    part = number(0, 1)(value)
    if part == 1:
        raise ValueError
    return part


@of_type(float | Literal["learned"])
def modulator(value: Given) -> float | str:
    """Read ``learned``, or a number from 0 to 1."""
    return "learned" if value == "learned" else number(0, 1)(value)


@of_type(bool)
def boolean(value: Given) -> bool:
    """Read true or false."""
    if str(value).lower() not in ("true", "false"):
        raise ValueError
    return str(value).lower() == "true"

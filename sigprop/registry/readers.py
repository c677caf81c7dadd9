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
    @of_type(int)
    def read(value: Given) -> int:
        number = float(value) if not isinstance(value, bool) else math.nan
        if not number.is_integer() or not low <= number <= high:
            raise ValueError
        return int(number)

    return read


def number(low: float = -math.inf, high: float = math.inf) -> Reader[float]:
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
    """A finite number from ``low`` on; or text of the grammar, or a list of either (kept as they
    are: their values depend on sizes and places)."""

    @of_type(float | str | Sequence[float | str])
    def read(value: Given) -> Scale:
        if _listed(value):
            entries = tuple(read(entry) for entry in value)
            formula(name, entries)
            return entries
        if isinstance(value, str):
            try:
                return number(low)(value)
            except Trouble:
                raise
            except ValueError:
                if _numeric(value) or value.strip().lower().lstrip("+-") in (
                    "nan",
                    "inf",
                    "infinity",
                ):
                    raise
                formula(name, value)
                return value
        return number(low)(value)

    return read


def _listed(value: Given) -> TypeGuard[Sequence[object]]:
    return np.ndim(value) == 1 and isinstance(value, (list, tuple, np.ndarray))


def _numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def optional(read: Reader[T]) -> Reader[T | None]:
    @of_type(TYPES[read] | None)
    def read_or_none(value: Given) -> T | None:
        return (
            None if value is None or (isinstance(value, str) and value == "none") else read(value)
        )

    return read_or_none


def choice(*names: str) -> Reader[str]:
    @of_type(Literal[names])  # pyright: ignore[reportInvalidTypeForm]
    def read(value: Given) -> str:
        if value not in names:
            raise ValueError
        return str(value)

    return read


def text(file: IO[bytes], delimiter: str | None) -> list[list[float]]:
    lines = [line.split("#")[0] for line in file.read().decode("utf-8-sig").splitlines()]
    return [[float(cell) for cell in line.split(delimiter)] for line in lines if line.strip()]


def _is_path(value: Given) -> TypeGuard[str | os.PathLike[str]]:
    return isinstance(value, (str, os.PathLike))


@of_type(np.ndarray | str | None)
def gram(value: Given) -> Table | None:
    """An array, or a path to a text (.csv, .txt) or .npy file that holds one."""
    if value is None:
        return None
    if _is_path(value):
        path = os.fspath(value)
        try:
            with open(path, "rb") as file:  # a file of our own: numpy would also fetch a URL
                value = (
                    np.load(file, allow_pickle=False)
                    if path.endswith(".npy")
                    else text(file, "," if path.endswith(".csv") else None)
                )
        except OSError:
            raise Trouble("no such file") from None
        except EOFError:
            raise Trouble("empty") from None
    if np.iscomplexobj(np.asarray(value)):
        raise Trouble("complex")
    return np.atleast_2d(np.asarray(value, dtype=np.float64))


@of_type(np.ndarray | str)
def mask(value: Given) -> Mask:
    if _is_path(value) and value not in MASKS:
        value = gram(value)
    return as_mask(value)


@of_type(Sequence[int])
def words(value: Given) -> tuple[int, ...]:
    if isinstance(value, str):
        value = (
            [int(word) for word in value.split(",")]
            if "." not in value
            else (gram(value) if value else [])
        )
    found = np.asarray(value, dtype=np.float64).ravel()
    if not np.all(np.isfinite(found)) or (found < 0).any() or (found != np.floor(found)).any():
        raise Trouble("words are whole numbers from 0 on")
    return tuple(int(word) for word in found)


@of_type(Sequence[float])
def numbers(value: Given) -> Table:
    if isinstance(value, str):
        value = (
            [float(number) for number in value.split(",")]
            if not os.path.exists(value)
            else gram(value)
        )
    return np.asarray(value, dtype=np.float64).ravel()


@of_type(Literal["vee"] | Sequence[int])
def widths(value: Given) -> str | tuple[int, ...]:
    if isinstance(value, str) and value == "vee":
        return value
    found = words(value)
    if not found or min(found) < 1:
        raise ValueError
    return found


@of_type(int | float)
def head_dim(value: Given) -> float:
    return math.inf if value in ("inf", math.inf) else integer(1, 4096)(value)


@of_type(Mapping[str, float])
def factors(value: Given) -> dict[str, float]:
    pairs = (
        [pair.split("=") for pair in value.split(",")]
        if isinstance(value, str)
        else dict(value).items()
    )
    return {str(name).strip(): number(0)(factor) for name, factor in pairs}


@of_type(float)
def share(value: Given) -> float:
    """From 0 to below 1: a network that skips everything computes nothing."""
    found = number(0, 1)(value)
    if found == 1:
        raise ValueError
    return found


@of_type(float | Literal["learned"])
def modulator(value: Given) -> float | str:
    return "learned" if value == "learned" else number(0, 1)(value)


@of_type(bool)
def boolean(value: Given) -> bool:
    if str(value).lower() not in ("true", "false"):
        raise ValueError
    return str(value).lower() == "true"

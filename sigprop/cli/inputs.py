"""From what was typed to an architecture, its quantities and its applications. Text is only ever
compared and parsed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sigprop.architectures import entries
from sigprop.cli.options import Chosen
from sigprop.description.applications import numbered
from sigprop.description.architecture import Architecture
from sigprop.description.rows import check_quantities
from sigprop.errors import InputError
from sigprop.reading.named import built
from sigprop.registry.toml import load


def pairs(items: Sequence[str], option: str = "set", once: bool = False) -> dict[str, str]:
    """``key=value`` items as a dict; the last of a key counts, or each stands ``once``."""
    found = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise InputError(f"{option}={item!r}; accepted: key=value, such as depth=4")
        if once and key.strip() in found:
            raise InputError(f"{option}: {key.strip()!r} is given twice; accepted: each key once")
        found[key.strip()] = value.strip()
    return found


def config(path: str) -> dict[str, Any]:
    """The parameters of a TOML file."""
    return load(path, f"config={path!r}", "a TOML file of parameters, such as depth = 4")


def chosen(name: str | None, options: Chosen) -> tuple[str | None, dict[str, Any]]:
    """The architecture's name (the argument, else the file's; None when neither) and its
    parameters as given."""
    given = config(options.config) if options.config is not None else {}
    named = given.pop("architecture", None)
    if named is not None and not isinstance(named, str):
        raise InputError(
            f"architecture={named!r} in {options.config}; accepted: a name, one of "
            f"{', '.join(entries())}"
        )
    return (named if name is None else name), {**given, **pairs(options.set)}


def architecture(name: str | None, options: Chosen) -> Architecture:
    """The architecture that the command was given."""
    name, given = chosen(name, options)
    if name is None:
        raise InputError(f"architecture: none given; accepted: one of {', '.join(entries())}")
    return built(name, given)


def quantities(asked: Sequence[str]) -> tuple[str, ...] | None:
    """The asked quantities, each known; None when none was asked."""
    names = [name.strip() for text in asked for name in text.split(",")]
    return check_quantities(list(dict.fromkeys(names))) if names else None


def applications(text: str | None, depth: int) -> tuple[int, ...] | None:
    """The applications that text names; None when none was asked."""
    return None if text is None else numbered(text, depth)


def ladder(text: str | None) -> tuple[int, ...] | None:
    """``2,4,8`` as ascending sizes from 1, three or more; None when none was asked."""
    if text is None:
        return None
    sizes = tuple(
        int(part) if part.strip().isdecimal() and len(part) < 8 else 0 for part in text.split(",")
    )
    if (
        len(sizes) < 3
        or min(sizes) < 1
        or any(a >= b for a, b in zip(sizes, sizes[1:], strict=False))
    ):
        raise InputError(
            f"sizes={text!r}; accepted: three sizes or more that ascend, such as 2,4,8,16"
        )
    return sizes


def by_group(option: str, text: str | None) -> float | dict[str, float] | None:
    """Read a number, or one a group."""
    if text is None or "=" not in text:
        return None if text is None else number(option, text)
    return {
        group: number(f"{option} of {group}", value)
        for group, value in pairs(text.split(","), option, once=True).items()
    }


def number(option: str, text: str) -> float:
    """Read a finite number; raise ``InputError`` for anything else."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{option}={text!r}; accepted: a finite number")
    return number

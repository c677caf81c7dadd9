"""What a study file may hold, checked key by key, and how two of them differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sigprop.errors import InputError, near_miss, short
from sigprop.registry.toml import load

TABLES = ("parameters", "options", "grid", "random", "sobol")
KEYS = ("name", "command", "architecture", *TABLES, "list", "seeds", "described")
"""Of a study file, at its top."""
GROWS = "options.samples"
"""What may change in a file whose store is there: networks are added to those kept."""


def read(path: Path) -> dict[str, Any]:
    """Return a study file's keys, its name being the file's unless it says another; raises
    ``InputError``."""
    found = load(path, f"study={str(path)!r}", "a TOML file with a command and an architecture")
    return checked({"name": path.stem, **found})


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study's keys as plain data; raises ``InputError`` for one that it has not, or of
    another kind."""
    for key in given:
        if key not in KEYS:
            raise InputError(f"study: {key!r}{near_miss(str(key), KEYS)}")
    found = {key: value for key, value in given.items() if value is not None}
    for key in ("name", "command"):
        if not isinstance(found.get(key), str) or not found[key].strip():
            raise InputError(f"study: {key}={found.get(key)!r}; accepted: a text")
    for key in TABLES:
        if not isinstance(found.get(key, {}), Mapping):
            raise InputError(f"study: {key}={short(found[key])}; accepted: a table, [{key}]")
    for key, value in flat(found):
        _check_plain(key, value)
    return found


def _check_plain(key: str, value: Any) -> None:
    """Raise ``InputError`` for what a study cannot keep as it is."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"study: {key}={value}; accepted: a finite number")
    if isinstance(value, list):
        for each in value:
            _check_plain(key, each)
    elif not isinstance(value, str | bool | int | float | type(None)):
        raise InputError(
            f"study: {key}={short(value)} of {type(value).__name__}; accepted: text, numbers, "
            f"true, false, and lists of these"
        )


def flat(document: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value with the dotted name it stands under; a list is one value, unless its
    entries are tables."""
    for key, value in document.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            yield from flat(value, f"{name}.")
        elif isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            for number, entry in enumerate(value, 1):
                yield from flat(entry, f"{name}[{number}].")
        else:
            yield name, value


def changes(kept: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a line for everything in which two studies differ, but for numbers of networks."""
    old, new = dict(flat(kept)), dict(flat(now))
    return [
        f"{name}: {_shown(old, name)} became {_shown(new, name)}"
        for name in dict.fromkeys((*old, *new))
        if not _same(old, new, name)
    ]


def _same(old: Mapping[str, Any], new: Mapping[str, Any], name: str) -> bool:
    """Tell if a value is what it was, or a number of networks: those that are kept are never too
    many, and more are added to them."""
    before, after = old.get(name), new.get(name)
    if name == GROWS and isinstance(before, int | None) and isinstance(after, int | None):
        return True
    # 1 and 1.0 and true are three values
    return name in old and name in new and repr(before) == repr(after)


def _shown(document: Mapping[str, Any], name: str) -> str:
    """Write a value of a document, shortly."""
    return short(document[name]) if name in document else "nothing"

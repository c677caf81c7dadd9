"""Registered architectures: a name, a reference, and a builder whose keyword defaults are its parameters."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from sigprop.architecture import Architecture
from sigprop.errors import InputError, near_miss
from sigprop.parameters import read_parameters


@dataclass(frozen=True)
class Entry:
    """One registered architecture; ``build(**parameters)`` checks the parameters and returns the description."""

    name: str
    summary: str
    reference: str
    builder: Callable[..., Architecture]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def build(self, /, **given: Any) -> Architecture:
        """The architecture with these parameters (others at their defaults); raises ``InputError``."""
        return self.builder(**read_parameters(self.name, given, self.defaults))


_ENTRIES: dict[str, Entry] = {}


def register(
    name: str, reference: str, like: str | None = None, without: Collection[str] = ()
) -> Callable[[Callable[..., Architecture]], Callable[..., Architecture]]:
    """Decorator for a builder: its keyword-only defaults become the architecture's parameters; what ``**rest`` takes has the
    defaults of the architecture it is ``like``, ``without`` some.

    The decorated function checks what it is given like every other way in (command line, TOML, ``entry.build``).
    """

    def add(builder: Callable[..., Architecture]) -> Callable[..., Architecture]:
        own = {p.name: p.default for p in inspect.signature(builder).parameters.values() if p.kind is p.KEYWORD_ONLY}
        if like is not None and like not in _ENTRIES:
            importlib.import_module(f"sigprop.architectures.{like.replace('-', '_')}")
        inherited = {key: value for key, value in _ENTRIES[like].defaults.items() if key not in without} if like else {}
        defaults = {**inherited, **own}
        summary = (inspect.getdoc(builder) or "").splitlines()[0]
        entry = _ENTRIES[name] = Entry(name, summary, reference, builder, defaults)

        @functools.wraps(builder)
        def build(**given: Any) -> Architecture:
            return entry.build(**given)

        return build

    return add


def entries() -> dict[str, Entry]:
    """All registered architectures by name."""
    importlib.import_module("sigprop.architectures")
    return dict(_ENTRIES)


def entry(name: str) -> Entry:
    """The entry of that name; raises ``InputError`` with the nearest known one."""
    known = entries()
    if name not in known:
        raise InputError(f"architecture {name!r} is not registered{near_miss(name, known)}")
    return known[name]

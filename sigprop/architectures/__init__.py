"""Registered architectures as functions: ``sp.architectures.looped_mlp(depth=2, loops=4)``. One
file each, found by existing."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable

from sigprop.description.architecture import Architecture
from sigprop.errors import InputError, near_miss
from sigprop.registry.entries import Entry, functions, registered
from sigprop.registry.entries import register as register

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

# A builder has the name of its file; here the name means the builder.
globals().update({name.replace("-", "_"): function for name, function in functions().items()})

__all__ = sorted(name.replace("-", "_") for name in registered())  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Callable[..., Architecture]:
    """Builders that were registered later, from outside the package."""
    builder = functions().get(name.replace("_", "-"))
    if builder is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return builder


@functools.cache
def installed() -> None:
    """Import the modules that installed packages name in their entry-point group
    ``sigprop.architectures``, which register what they hold. Raises ``InputError`` for one that
    cannot be imported."""
    for point in importlib.metadata.entry_points(group=__name__):
        try:
            point.load()
        except (ImportError, AttributeError) as error:
            raise InputError(
                f"entry point {point.name}={point.value!r}: {error}; accepted in the group "
                f"{__name__}: modules that can be imported"
            ) from None


def entries() -> dict[str, Entry]:
    """Return all registered architectures by name, those of users and of installed packages
    included."""
    installed()
    return registered()


def entry(name: str) -> Entry:
    """Return the entry of that name; raises ``InputError`` with the nearest known one."""
    known = registered()
    if name not in known:
        known = entries()
    if name not in known:
        raise InputError(f"architecture {name!r} is not registered{near_miss(name, known)}")
    return known[name]

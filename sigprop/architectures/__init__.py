"""Registered architectures as functions: ``sp.architectures.looped_mlp(depth=2, loops=4)``. One file each, found by existing."""

from __future__ import annotations

import importlib
import pkgutil

from sigprop.registry import entries

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

# A builder has the name of its file; here the name means the builder.
globals().update({name.replace("-", "_"): entry.build for name, entry in entries().items()})

__all__ = sorted(name.replace("-", "_") for name in entries())  # pyright: ignore[reportUnsupportedDunderAll]

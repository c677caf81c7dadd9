"""Packages that reading needs and sigprop does not: asked for by name, refused in one line."""

from __future__ import annotations

import importlib
import os
from typing import Any

from sigprop.errors import InputError

EXTRAS = {"torch": "torch", "transformers": "hf", "flax": "flax", "equinox": "equinox"}
"""Package to the extra that installs it."""


def require(package: str) -> Any:
    """Import a package; raises ``InputError`` where it is not installed. Nothing is downloaded by
    it from then on."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            f"{package} is not installed; accepted: pip install 'sigprop[{EXTRAS[package]}]'"
        ) from error

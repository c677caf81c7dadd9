"""What a network of the user's own is, as text: equal texts, equal numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields

from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.runtime import fingerprint

UNSAID = ("family", "parameters")
"""Fields that change no number."""


def content(arch: Architecture) -> str:
    """Return everything that a network is; raises ``InputError`` for a function of the user's own
    in it, of which nothing says what it does."""
    parts = {part.name: getattr(arch, part.name) for part in fields(arch)}
    try:
        return fingerprint.described({k: v for k, v in parts.items() if k not in UNSAID})
    except fingerprint.Unknown as error:
        raise InputError(
            f"architecture {arch.name!r} holds {error}; accepted: what is made of the package's "
            f"own parts, so that its numbers can be kept by what it is"
        ) from None


def digests(described: Mapping[str, Architecture]) -> dict[str, str]:
    """Return a short digest of every network, by its name; raises ``InputError``."""
    return {
        name: hashlib.sha256(content(arch).encode()).hexdigest()[:16]
        for name, arch in described.items()
    }

"""Architectures by NAME, as a command or a study takes them: registered ones, a file of the user's,
a Hugging Face configuration, a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sigprop.architectures import entry
from sigprop.description.architecture import Architecture
from sigprop.errors import InputError

if TYPE_CHECKING:
    from sigprop.reading.sources import Named

HF, TOKENS = "hf:", 32
"""Before a kind of Hugging Face configuration; of the example, where nothing says."""
ACCEPTED = "a registered architecture, FILE.py:function, hf:TYPE (such as hf:gpt2), or a folder"


def built(name: str, given: Mapping[str, Any]) -> Architecture:
    """Build the registered architecture of that name, or read the model that it names, with these
    parameters. Raises ``InputError``."""
    if names_a_model(name):
        return described(name, given)
    return entry(name).build(**given)


def names_a_model(name: str) -> bool:
    """Tell whether a NAME is none of the registered ones'."""
    return name.startswith(HF) or ".py:" in name or "/" in name or Path(name).is_dir()


def named(name: str, tokens: int = TOKENS, changes: Mapping[str, str] = {}) -> Named:
    """Find what builds a model, and its example. changes: of fields of a configuration. Raises
    ``InputError``."""
    from sigprop.reading import sources

    if name.startswith(HF):
        return sources.from_config(name.removeprefix(HF), tokens=tokens, changes=changes)
    if changes:
        raise InputError(
            f"set: {next(iter(changes))!r}; accepted: fields of {HF}TYPE; a file, or a folder, "
            f"says what it builds"
        )
    if Path(name).is_dir():
        return sources.from_folder(name, tokens=tokens)
    return sources.from_file(name, tokens)


def described(name: str, given: Mapping[str, Any]) -> Architecture:
    """Read a model that NAME says, or take the description that a function of a file returns.

    given: parameters as text: tokens, and fields of a configuration. Raises ``InputError``.
    """
    from sigprop.reading.read import read

    changes = {key: str(value) for key, value in given.items()}
    tokens = changes.pop("tokens", str(TOKENS))
    if not tokens.isdecimal() or not 2 <= int(tokens) <= 10**5:
        raise InputError(f"tokens={tokens!r}; accepted: an integer from 2 to 10^5")
    found = named(name, int(tokens), changes)
    if found.example is None:
        made = found.build()
        if isinstance(made, Architecture):
            return made
        raise InputError(
            f"{name}: returns {type(made).__name__}; accepted: a function that returns a module of "
            f"torch, flax or equinox, or an sp.Architecture"
        )
    return read(found.build, found.example).architecture

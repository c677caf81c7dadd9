"""A TOML file as a dict, with one line for whatever is wrong with it."""

from __future__ import annotations

import os
import tomllib
from typing import Any

from sigprop.errors import InputError


def load(path: str | os.PathLike[str], shown: str, accepted: str) -> dict[str, Any]:
    """The file's keys. shown: how a message names what was given; accepted: what would do.
    Raises ``InputError``."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise InputError(f"{shown}: {error.strerror}; accepted: {accepted}") from None
    # TOMLDecodeError and UnicodeDecodeError are ValueErrors
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{shown} is not TOML: {error or 'nested too deep'}; accepted: {accepted}"
        ) from None

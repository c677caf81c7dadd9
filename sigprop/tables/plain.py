"""Plain data: anything a row or a parameter may hold, as what JSON can write (strict JSON: NaN
and infinity are null)."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, TypeGuard


def is_collection(value: object) -> TypeGuard[Collection[object]]:
    """Whether a value is several: a list, a tuple, a set or a range."""
    return isinstance(value, (list, tuple, set, frozenset, range))


def is_mapping(value: object) -> TypeGuard[Mapping[object, object]]:
    """Whether a value is a mapping, whatever its keys."""
    return isinstance(value, Mapping)


def plain(value: object) -> Any:
    """Return ``value`` as dicts, lists, strings, bools, ints, finite floats and None."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if is_mapping(value):
        return {str(key): plain(entry) for key, entry in value.items()}
    if is_collection(value):
        return [plain(entry) for entry in value]
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if (tolist := getattr(value, "tolist", None)) is not None:  # of numpy and jax
        found: object = tolist()
        # a long double has no Python number: its list is itself
        return plain(float(value) if type(found) is type(value) else found)  # type: ignore[arg-type]
    return str(getattr(value, "name", value))

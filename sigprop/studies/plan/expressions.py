"""Expressions of a study file, such as width = "64*depth": arithmetic in the cell's own
parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from sigprop.errors import InputError
from sigprop.language.grammar import finite, parse

RANGE = re.compile(r"\s*(-?[0-9]{1,9})\.\.(-?[0-9]{1,9})(?:\s+(by|times)\s+([0-9]{1,9}))?\s*")
MOST = 10**6  # entries of a range


def number(text: str, name: str, at: Mapping[str, Any]) -> float | int:
    """Return the number that an expression has at a cell; raises ``InputError`` for a name that the
    cell has not, or no finite number.

    text: of the grammar of formulas, in the cell's numbers; name: the parameter's; at: the cell's
    values.
    """
    numbers = {
        key: float(value)
        for key, value in at.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and key != name
    }
    value = finite(parse(text, name, tuple(numbers)), numbers)
    if value is None:
        raise InputError(f"{name}={text!r}: no finite number at this cell; accepted: one that is")
    found = float(value)
    return int(found) if found.is_integer() else found


def is_range(value: object) -> TypeGuard[str]:
    """Tell if a value is text such as 4..64."""
    return isinstance(value, str) and RANGE.fullmatch(value) is not None


def spread(name: str, text: str) -> list[int]:
    """Return the whole numbers of ``1..5``, ``4..20 by 4`` or ``4..64 times 2``; raises
    ``InputError`` for an empty or endless one."""
    match = RANGE.fullmatch(text)
    assert match is not None
    first, last, how, step = int(match[1]), int(match[2]), match[3] or "by", int(match[4] or 1)
    endless = (how == "by" and step < 1) or (how == "times" and (step < 2 or first < 1))
    if endless or first > last or (how == "by" and (last - first) // step >= MOST):
        raise InputError(
            f"{name}={text!r}; accepted: ascending, such as 1..5, 4..20 by 4 or 4..64 times 2"
        )
    if how == "by":
        return list(range(first, last + 1, step))
    found = [first]
    while found[-1] * step <= last:
        found.append(found[-1] * step)
    return found

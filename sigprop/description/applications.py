"""Applications as text."""

from __future__ import annotations

import re

from sigprop.errors import InputError

_ITEM = re.compile(r"\s*(?:(all)|(last)|([0-9]{1,9})(?:\.\.([0-9]{1,9}))?)\s*")


def numbered(text: str, depth: int) -> tuple[int, ...]:
    """Return ``0,4,8..16``, ``last`` or ``all`` as numbers from 0 (the stem's output) to ``depth``
    (the last state); raises ``InputError``."""
    found: set[int] = set()
    for item in text.split(","):
        first, last = _range(item, depth)
        if not 0 <= first <= last <= depth:
            raise InputError(
                f"applications={text!r}: {item.strip()!r}; accepted: numbers and ranges a..b from "
                f"0 to {depth}, such as 0,{depth}, last, or all"
            )
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def _range(item: str, depth: int) -> tuple[int, int]:
    """Return the first and the last application of an item; an empty range for what is none."""
    match = _ITEM.fullmatch(item)
    if match is None:
        return 1, 0
    if match[1]:
        return 0, depth
    return (depth, depth) if match[2] else (int(match[3]), int(match[4] or match[3]))

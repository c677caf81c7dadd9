"""Long formulas in short lines: broken where fewest brackets are open."""

from __future__ import annotations

import re

INDENT = "    "
PLACES = re.compile(r" (?=[+=-] )|(?<=[^*]\*)(?!\*)|(?<=, )")
"""Where a line may end: before a sum's sign, after a product's, after a comma."""


def labelled(label: str, formula: str, size: int, width: int | None) -> list[str]:
    """A formula beside its label of ``size`` characters, or below it where the line has no room
    for both."""
    line = f"{label:<{size}}  {formula}"
    if width is None or len(line) <= width:
        return [line]
    return [label, *(INDENT + part for part in broken(formula, width - len(INDENT)))]


def broken(text: str, width: int) -> list[str]:
    """``text`` in lines of at most ``width`` characters, indented from the second on; no line
    ends within a name or a number."""
    lines: list[str] = []
    left, first = text, 0
    while len(left) > width and (at := _place(left, width, first)):
        lines.append(left[:at].rstrip())
        left, first = INDENT + left[at:].lstrip(), len(INDENT)
    return [*lines, left]


def _place(text: str, width: int, first: int) -> int | None:
    """The place at which fewest brackets are open, before a sum's sign rather than within a
    product, the last of those, in the line's second half where there is one."""
    depth = [0]
    for letter in text[: width + 1]:
        depth.append(depth[-1] + (letter in "([") - (letter in ")]"))
    places = [found.start() for found in PLACES.finditer(text) if found.start() > first]
    ends = [at for at in places if at <= width]
    if not ends:  # longer than the width, up to the next place
        return next(iter(places), None)
    late = [end for end in ends if end > width // 2] or ends
    return min(late, key=lambda end: (depth[end], text[end] != " ", -end))

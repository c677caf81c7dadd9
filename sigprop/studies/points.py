"""A row of any command as a point with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Z = 1.6448536269514722
"""Standard errors of a 90 % interval."""


class Point(NamedTuple):
    """What a row says: the value that was found, the bounds of its 90 % interval, and theory's."""

    value: float | None
    lower: float | None
    upper: float | None
    theory: float | None


def point(row: Mapping[str, Any]) -> Point:
    """Return a row of predict (theory's alone), of measure, verify, exponents or check as a point.

    A verdict's bounds are of its deviation, over the row's scale; an exponent is the recursion's
    limit with its stated error, and its law's value as theory; a check's slope has the bounds of
    its distance from the reference.
    """
    if "measured" in row:
        theory, scale = row.get("theory"), row.get("scale")
        bounds = [row.get("lower"), row.get("upper")]
        if theory is None or scale is None or None in bounds:
            return Point(row["measured"], None, None, theory)
        lower, upper = (theory + scale * bound for bound in bounds if bound is not None)
        return Point(row["measured"], lower, upper, theory)
    if "slope" in row:
        reference, bounds = row.get("reference"), [row.get("lower"), row.get("upper")]
        if reference is None or None in bounds:
            return Point(row["slope"], None, None, reference)
        lower, upper = (reference + bound for bound in bounds if bound is not None)
        return Point(row["slope"], lower, upper, reference)
    if "exponent" in row:
        limit, error = row.get("limit"), row.get("limit_error")
        if limit is None or error is None:
            return Point(limit, None, None, row.get("leading"))
        return Point(limit, limit - error, limit + error, row.get("leading"))
    value, se = row.get("value"), row.get("se")
    if "se" not in row:
        return Point(None, None, None, value)
    if value is None or se is None:
        return Point(value, None, None, row.get("theory"))
    return Point(value, value - Z * se, value + Z * se, row.get("theory"))


def mean(points: Sequence[Point]) -> Point:
    """Return the mean of points that are not independent: its interval is no wider than theirs on
    average; None where one of them has no number."""

    def of(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if len(known) == len(points) else None

    return Point(*(of(column) for column in zip(*points, strict=True)))

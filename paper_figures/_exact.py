"""Is a published number what the theory gives, to every printed digit? Recomputed from the rows
alone.

A row is against its line when |published - theory| is above half a unit of the last printed digit
(column 'unit'; and rounding of float64). A row would show a relative shift of 'unit' over |theory|;
every curve must have one that would show SHIFT.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from sigprop.paper_figures._judge import SHIFT, Judged, Rows, curve_of, finite, label

ROUNDING = 1e-9


def exact(tables: Mapping[str, Rows]) -> Judged:
    """The verdict of all tables that have a 'published' column."""
    rows = [
        (name, row)
        for name, own in tables.items()
        for row in own
        if row.get("published") is not None
    ]
    if not rows:
        return Judged("inconclusive", 0, reason="no published number")
    off, seen = {}, dict[str, float]()
    for name, row in rows:
        theory = row["theory"]
        key = f"{name}: {label({k: v for k, v in row.items() if k not in ('published', 'unit')})}"
        off[key] = (
            math.inf
            if theory is None
            else abs(row["published"] - theory) / (row["unit"] / 2 + ROUNDING * abs(theory))
        )
        shift = row["unit"] / abs(theory) if theory else math.inf
        seen[curve_of(name, row)] = min(seen.get(curve_of(name, row), math.inf), shift)
    worst, far = max(off.items(), key=lambda one: one[1])
    against = sum(value > 1 for value in off.values())
    curve, detects = max(seen.items(), key=lambda one: one[1])
    blind = (
        f"{curve}: a shift of less than {detects:.1%} would not be seen" if detects > SHIFT else ""
    )
    verdict = "rejected" if against else "inconclusive" if blind else "confirmed"
    reason = f"{worst} is not what was published" if against else blind
    return Judged(verdict, len(rows), against, worst, finite(far), 1.0, finite(detects), reason)

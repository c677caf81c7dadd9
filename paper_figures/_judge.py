"""Do the points support the line? Recomputed from the rows of the tables alone.

A point is one number (all columns but those of the measurement alike) at its widths n_1 < ... <
n_k. With d = (measured - theory)/scale and the finite-width law d = a + b/n + c/n^2, the two ends
of the ladder give

    a = (n_k d_k - n_1 d_1)/(n_k - n_1),    allowance = |b|/n_k = |d_1 - d_k|/(n_k/n_1 - 1),

which covers the c/n^2 left in a, -c/(n_1 n_k), as long as that term is no larger than b/n where it
is largest, at n_1. A point is against the line when |a| > t se(a) + allowance + the theory's own
error, t being Student's quantile at FALSE_ALARM/(2 m) for the figure's m points (a union bound, so
correlations between points do not matter): a true line fails with probability FALSE_ALARM at most.
Widths between the two ends are points as well, of the distance from the line in 1/n through the
ends. A number beside a closed form (column 'reference') has to be that.

A point would show a shift, in units of its scale, of t se + allowance + error + 1.645 se with
probability 0.95, and every curve must have a point for which that is at most SHIFT: a figure whose
bars are too wide to contradict anything is inconclusive, not confirmed. What has no scatter at any
width is an identity of the networks; where a curve has other points, those decide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

FALSE_ALARM, SHIFT, POWER = 0.01, 0.03, 1.645
ROUNDING = 1e-6  # over scale: networks are float32
OF_A_MEASUREMENT = (
    "width",
    "samples",
    "seed",
    "engine",
    "measured",
    "se",
    "theory",
    "theory_error",
    "scale",
    "reference",
)
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Judged:
    """A figure's verdict.

    verdict   confirmed, rejected or inconclusive
    points    judged points; against: those that contradict their line
    worst     the point with the largest |a| next to what is allowed, its a and that allowance
    detects   the shift of theory that would have been seen, of the curve where that is largest
    reason    why it is not confirmed
    """

    verdict: str
    points: int
    against: int = 0
    worst: str = ""
    deviation: float | None = None
    allowed: float | None = None
    detects: float | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Point:
    """One number: a in the limit of width, its standard error, what a true line may deviate by
    besides; aside: not what its curve shows a shift by, where that has other points."""

    curve: str
    label: str
    a: float
    se: float
    allowance: float
    samples: int
    aside: bool = False

    def half(self, m: int) -> float:
        """t se + allowance."""
        return quantile(m, self.samples) * self.se + self.allowance


@cache
def quantile(m: int, samples: int) -> float:
    """Student's t at FALSE_ALARM/(2 m)."""
    from scipy.stats import t

    return float(t.ppf(1 - FALSE_ALARM / (2 * m), samples - 1))


def points(tables: Mapping[str, Rows], shift: float = SHIFT) -> Judged:
    """The verdict of all tables that have a 'theory' and a 'measured' column; shift: what every
    curve must be able to show."""
    every, missing = [], []
    for name, rows in tables.items():
        for number in gathered(rows).values():
            if (lack := lacking(number)) is not None:
                missing.append(f"{name}: {label(number[0])} {lack}")
            else:
                ladder = sorted(number, key=lambda row: row["width"])
                every += [point(name, ladder), *between(name, ladder)]
        every += [closed(name, row) for row in rows if row.get("reference") is not None]
    if missing or not every:
        reason = missing[0] if missing else "no measured point"
        return Judged("inconclusive", len(every), reason=reason)
    m = len(every)
    worst = max(every, key=lambda p: abs(p.a) / max(p.half(m), 1e-300))
    against = sum(abs(p.a) > p.half(m) for p in every)
    curve, detects = detected(every)
    blind = (
        f"{curve}: a shift of less than {detects:.1%} would not be seen" if detects > shift else ""
    )
    verdict = "rejected" if against else "inconclusive" if blind else "confirmed"
    return Judged(
        verdict,
        m,
        against,
        worst.label,
        finite(worst.a),
        finite(worst.half(m)),
        finite(detects),
        f"{worst.label} is off its line" if against else blind,
    )


def lacking(number: Rows) -> str | None:
    """Say what a number lacks that a verdict needs; None: nothing."""
    if any(row.get("measured") is None or not row.get("se", 0) >= 0 for row in number):
        return "was lost"
    widths = {row["width"] for row in number}
    if len(widths) < 2 or len(widths) < len(number):
        return "is not measured once at each of two widths"
    return None


def detected(every: Sequence[Point]) -> tuple[str, float]:
    """(curve, shift that its best point shows), of the curve where that shift is largest."""
    m = len(every)
    shifts: dict[str, tuple[bool, float]] = {}
    for p in every:
        shift = p.half(m) + POWER * p.se
        shifts[p.curve] = min(shifts.get(p.curve, (True, math.inf)), (p.aside, shift))
    return max(((curve, shift) for curve, (_, shift) in shifts.items()), key=lambda pair: pair[1])


def finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None


def gathered(rows: Rows) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
    """Gather the rows of each measured number, at its widths."""
    numbers: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row.get("width") is not None and "theory" in row:
            numbers.setdefault(
                tuple((k, v) for k, v in row.items() if k not in OF_A_MEASUREMENT), []
            ).append(row)
    return numbers


def point(table: str, ladder: Rows) -> Point:
    """The extrapolation over the ladder's ends."""
    first, last = ladder[0], ladder[-1]
    # nothing to measure by: what is zero must be zero, in every network
    if last["theory"] is None or not last["scale"]:
        same = all(row["measured"] == row["theory"] and row["se"] == 0 for row in ladder)
        # no shift shows
        return Point(
            curve_of(table, last),
            f"{table}: {label(last)}",
            0.0 if same else math.inf,
            0.0,
            math.inf if same else 0.0,
            2,
            True,
        )
    d, e = relative(first), relative(last)
    a, se = extrapolated(first["width"], d, last["width"], e)
    allowance = (
        abs(d[0] - e[0]) / (last["width"] / first["width"] - 1)
        + abs(last.get("theory_error") or 0.0) / abs(last["scale"])
        + ROUNDING
    )
    samples = int(min(row["samples"] for row in ladder))
    return Point(
        curve_of(table, last), f"{table}: {label(last)}", a, se, allowance, samples, se < ROUNDING
    )


def extrapolated(
    n: int, first: tuple[float, float], m: int, last: tuple[float, float]
) -> tuple[float, float]:
    """(value, standard error) at 1/n = 0 of the line through (value, standard error) at two
    widths: a of the law above."""
    (d, s), (e, t) = first, last
    return (m * e - n * d) / (m - n), math.hypot(m * t, n * s) / (m - n)


def relative(row: Mapping[str, Any]) -> tuple[float, float]:
    """(measured - theory)/scale and its standard error; a row's theory may be one of its own
    width."""
    return (row["measured"] - row["theory"]) / abs(row["scale"]), row["se"] / abs(row["scale"])


def between(table: str, ladder: Rows) -> list[Point]:
    """Each width but the ends: its distance from the line in 1/n through them, which c/n^2 bends
    by a quarter of its rise at most."""
    first, last, points = ladder[0], ladder[-1], []
    for row in ladder[1:-1] if last["theory"] is not None and last["scale"] else ():
        (d, s), (mid, u), (e, t) = map(relative, (first, row, last))
        # of the first, in the line's value here
        share = (1 / row["width"] - 1 / last["width"]) / (1 / first["width"] - 1 / last["width"])
        samples = int(min(r["samples"] for r in (first, row, last)))
        name = f"{table}: {label(row)} width={row['width']}"
        se = math.hypot(u, share * s, (1 - share) * t)
        points.append(
            Point(
                curve_of(table, row),
                name,
                mid - share * d - (1 - share) * e,
                se,
                abs(d - e) / 4 + ROUNDING,
                samples,
                True,
            )
        )
    return points


def closed(table: str, row: Mapping[str, Any]) -> Point:
    """Compare the theory with what it has to be, to rounding."""
    off = (
        math.inf
        if row["theory"] is None
        else (row["theory"] - row["reference"]) / (abs(row["reference"]) or 1.0)
    )
    return Point(curve_of(table, row), f"{table}: {label(row)}", off, 0.0, ROUNDING, 2, True)


def curve_of(table: str, row: Mapping[str, Any]) -> str:
    """Return the curve that a row belongs to."""
    return " ".join(
        [f"{table}:", *(str(row[k]) for k in ("panel", "curve") if row.get(k) is not None)]
    )


def label(row: Mapping[str, Any]) -> str:
    """Name a row's number in words."""
    skipped = (*OF_A_MEASUREMENT, "quantity")
    return " ".join(
        str(v) if k in ("panel", "curve") else f"{k}={v}"
        for k, v in row.items()
        if k not in skipped and v is not None
    )

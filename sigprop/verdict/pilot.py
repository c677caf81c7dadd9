"""The pilot: raise the smallest width until finite networks are close enough to the limit to be
extrapolated. On every row under test

    |b|/n1 <= sqrt(tolerance)/2 * max(1, u),     sd at n1 <= 0.5 u,     max share <= 5 %,

u = mean |x|/scale (``Moments.size``), so a theory that is far too small is not held to its own
scale: its row may be as noisy, relative to itself, as a right one. |b| counts by its 97.5 % lower
confidence bound and sd with 5 % slack: noise does not raise n1, and the quadratic fit forgives
|b|/n1 up to several times the limit. b: the linear fit's slope over the whole ladder, so it
contains the curvature at these widths. Source: docs/verdict.md, step 4.

Where every row's scatter is predicted, the pilot is a few networks that check it: within a factor
of two on every rung, or as many more are drawn as would have measured it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sigprop.verdict.fit import fit, weights
from sigprop.verdict.moments import Booleans, Floats, Moments
from sigprop.verdict.sampling import Source

SPREAD_LIMIT = 0.5  # relative standard deviation of one network at n1
SHARE_LIMIT = 0.05  # part of a row's sum that one network may carry
SLACK = 1.05  # of the spread: its own sampling error must not double n1
TINY = 1e-18  # variance floor for rows that hardly fluctuate
FEW = 200  # networks of the narrowest rungs that check a predicted scatter
AGREES = 2.0  # times more, or less, than predicted: at n1 the next order in 1/n shows


@dataclass(frozen=True)
class Pilot:
    """n1, the ladder's pilot moments (all rows); at the ceiling the row (index) that kept it from
    passing, and why; foretold: if predicted scatter stands in the place of its own."""

    n1: int
    rungs: tuple[Moments, ...]
    row: int | None = None
    reason: str = ""
    foretold: bool = False


def pilot_samples(factor: float, tolerance: float, few: bool = False) -> int:
    """Return the networks for the rung of width factor * n1: 1000 * (1 %/tolerance) within
    200..4000 (few: 200), divided by factor, at least 100."""
    base = FEW if few else float(np.clip(1000 * 0.01 / tolerance, 200, 4000))
    return int(max(100, np.ceil(base / max(factor, 1.0))))


@dataclass
class _Networks:
    """The pilot's networks by width; what was sampled once is kept."""

    source: Source
    tolerance: float
    few: bool = False
    by_width: dict[int, Moments] = field(default_factory=dict[int, Moments])

    def rung(self, width: int, factor: float) -> Moments:
        """Return the moments of the rung of width factor * n1, sampling what is missing."""
        before = self.by_width.get(width)
        wanted = pilot_samples(factor, self.tolerance, self.few)
        missing = wanted - (0 if before is None else before.count)
        if missing > 0:
            fresh = self.source.draw("pilot", width, missing)
            self.by_width[width] = fresh if before is None else before + fresh
        return self.by_width[width]


def climb(
    source: Source,
    ladder: Sequence[float],
    start: int,
    *,
    ceiling: int,
    tolerance: float,
    keep: Booleans,
    leap: bool = False,
    scatter: Floats | None = None,
) -> Pilot:
    """Double n1 from ``start`` (``leap``: at once to where its spread, falling as n^-1/2, would do)
    until every row of ``keep`` ([R] boolean) can be extrapolated, as this module says.

    ladder: factors of n1. ceiling: largest width that may be sampled; there the worst row is
    named. scatter: predicted n Var of d [R], NaN where there is none. Widths sampled once are kept.
    """
    rows, n1 = np.flatnonzero(keep), start
    networks = _Networks(source, tolerance, scatter is not None and _all_told(scatter[rows]))
    factors = np.array(ladder, dtype=float)
    while True:
        last = 2 * n1 * max(ladder) > ceiling
        row, reason, jump = _noisy(networks.rung(n1, 1.0).rows(rows))
        if row is None or last:
            rungs = tuple(networks.rung(round(factor * n1), factor) for factor in ladder)
            kept = [r.rows(rows) for r in rungs]
            if scatter is not None and networks.few:
                networks.few = _agrees(kept, scatter[rows], factors * n1)
                if not networks.few:
                    continue
            if row is None:
                row, reason = _steep(kept, factors, tolerance)
            if row is None:
                return Pilot(n1, rungs, foretold=networks.few)
            if last:
                reason = f"{reason} at n1 = {n1}, the widest that the ceiling {ceiling} allows"
                return Pilot(n1, rungs, int(rows[row]), reason)
        n1 *= min(jump, 2 ** int(np.log2(ceiling / (n1 * max(ladder))))) if leap else 2


def _all_told(scatter: Floats) -> bool:
    """Tell if every row has a prediction."""
    return bool(np.isfinite(scatter).all())


def foretold(rungs: Sequence[Moments], scatter: Floats, widths: Floats) -> list[Moments]:
    """Return the pilot's moments with predicted variances in the place of their own."""
    return [r.with_variance(scatter / n) for r, n in zip(rungs, widths, strict=True)]


def _agrees(rungs: Sequence[Moments], scatter: Floats, widths: Floats) -> bool:
    """Tell if every row of every rung has about the variance that is predicted."""
    own = np.stack([np.maximum(r.variance, TINY) for r in rungs])
    said = np.maximum(scatter / widths[:, None], TINY)
    return bool((np.abs(np.log(own / said)) <= np.log(AGREES)).all())


def _noisy(moments: Moments) -> tuple[int | None, str, int]:
    """Return the row whose single networks fluctuate too much, if any, and how many times as wide
    they would not: sd falls as n^-1/2."""
    spread = np.sqrt(moments.variance) / np.where(moments.size > 0, moments.size, 1.0)
    row = int(np.argmax(spread))
    over = float(spread[row]) / (SPREAD_LIMIT * SLACK)
    if over > 1:
        return (
            row,
            f"relative standard deviation {spread[row]:.2g} > {SPREAD_LIMIT}",
            2 ** int(np.ceil(2 * np.log2(over))),
        )
    return (*_carried(moments), 2)


def _carried(moments: Moments) -> tuple[int | None, str]:
    """Return the row that one network carries too much of, if any."""
    row = int(np.argmax(moments.share))
    if moments.share[row] > SHARE_LIMIT:
        return row, f"one network carries {moments.share[row]:.0%} of the row's sum"
    return None, ""


def _steep(rungs: Sequence[Moments], ladder: Floats, tolerance: float) -> tuple[int | None, str]:
    """Return the row whose 1/n term is too large for the ladder, or that one network of another
    rung carries, if any."""
    for moments in rungs:
        row, reason = _carried(moments)
        if row is not None:
            return row, reason
    variance = np.stack([np.maximum(r.variance, TINY) / r.count for r in rungs])
    line = fit(rungs, weights(1 / ladder, variance, 1))
    size = np.maximum(1.0, rungs[int(np.argmin(abs(ladder - 1)))].size)
    low = np.maximum(0.0, abs(line.coefficients[1]) - 2 * line.errors[1]) / size
    row = int(np.argmax(low))
    if low[row] > np.sqrt(tolerance) / 2:
        return (
            row,
            f"1/n term |b|/n1 >= {low[row]:.2g} > sqrt(tolerance)/2 = {np.sqrt(tolerance) / 2:.2g}",
        )
    return None, ""

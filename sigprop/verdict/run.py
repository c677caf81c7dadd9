"""One judgement in the making: pilot, main run, at most one extension; every number noted, then
the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sigprop.verdict.decide import Evidence, deciding, weigh_up
from sigprop.verdict.fit import weights
from sigprop.verdict.judgement import (
    CONFIRMED,
    IDENTITY,
    INCONCLUSIVE,
    REJECTED,
    Judgement,
    Verdicts,
    empty,
)
from sigprop.verdict.moments import Booleans, Floats, Moments
from sigprop.verdict.pilot import TINY, climb
from sigprop.verdict.sampling import Source
from sigprop.verdict.sizing import DEGREE, FLOOR, Plan, plan

LUCK = 5  # standard errors that a mean may be off by


@dataclass
class Run:
    """The arguments of ``judge``, checked (error: [R], over scale; factors: [k], n1/2 included),
    and what is known so far."""

    source: Source
    error: Floats
    tolerance: float
    factors: Floats
    ceiling: int
    fixed: Booleans
    average: Booleans
    rounding: float
    budget: float
    samples: Sequence[int] | None
    widths: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.keep = np.flatnonzero(~self.fixed)
        self.arrays = empty(len(self.fixed))
        self.verdicts: Verdicts = np.full(len(self.fixed), INCONCLUSIVE, dtype=object)

    def go(self, n1: int) -> Judgement:
        """Pilot, main run (again at twice the width if the fit fails), extension."""
        if not len(self.keep):
            self.note(n1, [self.source.draw("main", n1, FLOOR)])
            return self.answer(None, None)
        evidence: Evidence | None = None
        rungs: list[Moments] = []
        while True:
            pilot = climb(
                self.source,
                list(self.factors),
                n1,
                self.ceiling,
                self.tolerance,
                ~self.fixed,
                self.factors[0] == 1,
            )
            if pilot.row is not None:
                return self.stop(pilot.n1, pilot.rungs, pilot.reason, pilot.row)
            try:
                design = self.plan(pilot.n1, pilot.rungs)
            except ValueError as bad:
                return self.stop(pilot.n1, pilot.rungs, str(bad), None)
            again, n1 = evidence is not None, pilot.n1
            rungs = self.draw("main", n1, design)
            evidence = self.weigh(n1, rungs, design)
            if again or not evidence.misfits.any() or 2 * n1 * self.factors[-1] > self.ceiling:
                break
            n1 *= 2
        if deciding(evidence, self.tolerance)[0] == INCONCLUSIVE:
            more = self.draw("extension", n1, design)
            rungs = [a + b for a, b in zip(rungs, more, strict=True)]
            evidence = self.weigh(n1, rungs, design)
        return self.answer(evidence, rungs)

    def stop(self, n1: int, pilot: Sequence[Moments], reason: str, row: int | None) -> Judgement:
        """Inconclusive after the pilot; its own fit is what is reported."""
        self.weigh(n1, pilot, preliminary(pilot, self.factors, self.keep))
        self.verdicts[self.keep] = INCONCLUSIVE
        return self.report(INCONCLUSIVE, reason, row)

    def plan(self, n1: int, pilot: Sequence[Moments]) -> Plan:
        kept = [r.rows(self.keep) for r in pilot]
        # A row that is far off has room in proportion to its own size; its noise (under 10 %) does
        # not count.
        size = np.maximum(1.0, kept[int(np.argmin(abs(self.factors - 1)))].size / 1.1)
        room = (self.tolerance - np.minimum(self.error[self.keep], self.tolerance / 2)) * size
        cost = np.array([self.source.cost(round(f * n1)) for f in self.factors])
        return plan(
            kept,
            self.factors,
            cost,
            room,
            samples=self.samples,
            budget=self.budget - self.source.spent,
        )

    def draw(self, phase: str, n1: int, design: Plan) -> list[Moments]:
        return [
            self.source.draw(phase, round(f * n1), m)
            for f, m in zip(self.factors, design.counts, strict=True)
        ]

    def weigh(self, n1: int, rungs: Sequence[Moments], design: Plan) -> Evidence:
        """Judge the rows under test from these rungs and note the rest."""
        kept = [r.rows(self.keep) for r in rungs]
        evidence = weigh_up(kept, design, n1, self.factors, self.error[self.keep], self.tolerance)
        for name, values in evidence.arrays.items():
            self.arrays[name][self.keep] = values
        self.verdicts[self.keep] = evidence.verdicts
        self.note(n1, rungs)
        return evidence

    def note(self, n1: int, rungs: Sequence[Moments]) -> None:
        """Widths, counts, and the identity rows: their range over these networks against
        rounding, or their mean's."""
        fixed, arrays = self.fixed, self.arrays
        average, allowed = self.average[fixed], self.rounding + self.error[fixed]
        count = sum(r.count for r in rungs)
        mean = np.sum([r.mean * r.count for r in rungs], axis=0)[fixed] / count
        se = np.where(
            average,
            np.sqrt(np.sum([r.variance * r.count for r in rungs], axis=0)[fixed]) / count,
            0.0,
        )
        lowest: Floats = np.stack([r.low for r in rungs]).min(axis=0)[fixed]
        highest: Floats = np.stack([r.high for r in rungs]).max(axis=0)[fixed]
        low: Floats = np.where(average, mean - LUCK * se, lowest)
        high: Floats = np.where(average, mean + LUCK * se, highest)
        arrays["deviation"][fixed], arrays["se"][fixed] = mean, se
        arrays["lower"][fixed] = arrays["simultaneous_lower"][fixed] = low
        arrays["upper"][fixed] = arrays["simultaneous_upper"][fixed] = high
        arrays["slope"][fixed] = arrays["slope_se"][fixed] = 0.0
        arrays["detectable"][fixed] = allowed + LUCK * se
        off: Floats = np.where(average, np.maximum(low, -high), np.maximum(high, -low))
        self.verdicts[fixed] = np.where(off <= allowed, IDENTITY, REJECTED)
        ladder = self.factors if len(rungs) > 1 else np.ones(1)
        self.widths = tuple(round(f * n1) for f in ladder)
        self.counts = tuple(r.count for r in rungs)

    def answer(self, evidence: Evidence | None, rungs: Sequence[Moments] | None) -> Judgement:
        """The overall verdict of the rows under test, its row and one line of reason."""
        arrays, tolerance = self.arrays, self.tolerance
        if evidence is None or rungs is None:
            reason = (
                f"every row is an identity within rounding ({self.rounding:g}): nothing "
                f"could have failed"
            )
            return self.report(INCONCLUSIVE, reason, None)
        verdict, index = deciding(evidence, tolerance)
        row = int(self.keep[index])
        interval = (
            f"a = {arrays['deviation'][row]:.3g}, 90 % interval ["
            f"{arrays['lower'][row]:.3g}, {arrays['upper'][row]:.3g}]"
        )
        if verdict == REJECTED:
            both = (
                f"[{arrays['simultaneous_lower'][row]:.3g}, "
                f"{arrays['simultaneous_upper'][row]:.3g}]"
            )
            return self.report(
                verdict,
                f"a = {arrays['deviation'][row]:.3g}, simultaneous 99 % interval {both} outside "
                f"+-{tolerance:g}",
                row,
            )
        if verdict == CONFIRMED:
            return self.report(verdict, f"nearest row: {interval} inside +-{tolerance:g}", row)
        if evidence.troubled[index]:
            return self.report(verdict, f"{evidence.trouble[index]}; {interval}", row)
        factor = evidence.factor[index]
        if not np.isfinite(factor) or factor > 1e6:
            return self.report(
                verdict,
                f"{interval}: within the theory's own error or too close to +-{tolerance:g} to be "
                f"decided",
                row,
            )
        more = tuple(int(np.ceil(r.count * max(factor, 1.0))) for r in rungs)
        return self.report(
            verdict, f"{interval}; about {factor:.2g} times the networks would decide it", row, more
        )

    def report(
        self, verdict: str, reason: str, row: int | None, needed: tuple[int, ...] | None = None
    ) -> Judgement:
        """The Judgement; an identity that fails overrules whatever the others say."""
        source = self.source
        self.arrays["measured"] = source.theory + source.scale * self.arrays["deviation"]
        looks = (
            2
            if any(d.phase == "extension" for d in source.log)
            else 1
            if any(d.phase == "main" for d in source.log)
            else 0
        )
        broken = np.flatnonzero(self.fixed & (self.verdicts == REJECTED))
        if len(broken):
            reach: Floats = np.maximum(self.arrays["upper"], -self.arrays["lower"])[broken]
            verdict, row, needed = REJECTED, int(broken[np.argmax(reach)]), None
            reason = (
                f"an identity is off by up to {reach.max():.2g}, more than rounding ("
                f"{self.rounding:g})"
            )
        return Judgement(
            verdict=verdict,
            reason=reason,
            row=row,
            tolerance=self.tolerance,
            rows=tuple(self.verdicts),
            looks=looks,
            needed=needed,
            cost=source.spent,
            draws=tuple(source.log),
            **self.arrays,
            widths=self.widths,
            samples=self.counts,
        )


def preliminary(pilot: Sequence[Moments], factors: Floats, keep: NDArray[np.intp]) -> Plan:
    """The pilot's own fit, for what is reported when the run stops there."""
    variance = np.stack([np.maximum(r.variance[keep], TINY) / r.count for r in pilot])
    return Plan(tuple(r.count for r in pilot), weights(1 / factors, variance, DEGREE), 2)

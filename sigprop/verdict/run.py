"""One judgement in the making: pilot, main run, at most one extension; every number noted, then
the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sigprop.errors import Diverged
from sigprop.verdict.decide import Evidence, deciding, weigh_slopes, weigh_up
from sigprop.verdict.fit import Known
from sigprop.verdict.judgement import (
    CONFIRMED,
    IDENTITY,
    INCONCLUSIVE,
    REJECTED,
    Judgement,
    Terms,
    Tested,
    Verdicts,
    empty,
)
from sigprop.verdict.moments import Floats, Moments
from sigprop.verdict.pilot import TINY, Pilot, climb, foretold
from sigprop.verdict.sampling import Source
from sigprop.verdict.sizing import FLOOR, Plan, plan

LUCK = 5  # standard errors that a mean may be off by
MOST_TIMES = 1e6  # the networks: more of them than anybody will sample


@dataclass
class Run:
    """Hold what is judged and on which terms, and what is known so far."""

    source: Source
    tested: Tested
    terms: Terms
    widths: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.keep = np.flatnonzero(~self.tested.identities)
        rows = len(self.tested.identities)
        self.arrays = empty(rows)
        self.verdicts: Verdicts = np.full(rows, INCONCLUSIVE, dtype=object)
        self.slopes: Verdicts = np.full(rows, "", dtype=object)

    def judge(self) -> Judgement:
        """Decide; inconclusive where a network diverges."""
        try:
            return self.go(self.terms.start_width)
        except Diverged as bad:
            return self.report(INCONCLUSIVE, str(bad), None)

    def go(self, n1: int) -> Judgement:
        """Run the pilot, the main run (again at twice the width if the fit fails), and the
        extension."""
        factors, ceiling, tolerance = self.terms.factors, self.terms.ceiling, self.terms.tolerance
        if not len(self.keep):
            self.note(n1, [self.source.draw("main", n1, FLOOR)])
            return self.answer(None, None)
        evidence: Evidence | None = None
        rungs: list[Moments] = []
        while True:
            pilot = climb(
                self.source,
                list(factors),
                n1,
                ceiling=ceiling,
                tolerance=tolerance,
                keep=~self.tested.identities,
                leap=factors[0] == 1,
                scatter=None if self.tested.predicted is None else self.tested.predicted.scatter,
            )
            if pilot.row is not None:
                return self.stop(pilot, pilot.reason)
            try:
                design = self.plan(pilot)
            except ValueError as bad:
                return self.stop(pilot, str(bad))
            again, n1 = evidence is not None, pilot.n1
            rungs = self.draw("main", n1, design)
            evidence = self.weigh(n1, rungs, design)
            if again or not evidence.misfits.any() or 2 * n1 * factors[-1] > ceiling:
                break
            n1 *= 2
        if deciding(evidence, tolerance)[0] == INCONCLUSIVE:
            more = self.draw("extension", n1, design)
            rungs = [a + b for a, b in zip(rungs, more, strict=True)]
            evidence = self.weigh(n1, rungs, design)
        return self.answer(evidence, rungs)

    def stop(self, pilot: Pilot, reason: str) -> Judgement:
        """Answer inconclusive after the pilot; its own fit is what is reported."""
        self.weigh(pilot.n1, pilot.rungs, preliminary(pilot.rungs, self.terms.factors, self.keep))
        self.verdicts[self.keep] = INCONCLUSIVE
        self.slopes[self.slopes != ""] = INCONCLUSIVE
        return self.report(INCONCLUSIVE, reason, pilot.row)

    def plan(self, pilot: Pilot) -> Plan:
        """Size the main run; raises ``ValueError`` where the budget does not allow one."""
        factors, tolerance, error = self.terms.factors, self.terms.tolerance, self.tested.error
        kept, n1 = [r.rows(self.keep) for r in pilot.rungs], pilot.n1
        said = self.tested.predicted and self.tested.predicted.rows(self.keep).scatter
        if pilot.foretold and said is not None:
            kept = foretold(kept, said, factors * n1)
        # A row that is far off has room in proportion to its own size; its noise (under 10 %) does
        # not count.
        size = np.maximum(1.0, kept[int(np.argmin(abs(factors - 1)))].size / 1.1)
        room = (tolerance - np.minimum(error[self.keep], tolerance / 2)) * size
        cost = np.array([self.source.cost(round(f * n1)) for f in factors])
        budget = np.inf if self.terms.max_cost is None else self.terms.max_cost
        left = budget - self.source.spent
        return plan(kept, factors, cost, room, samples=self.terms.counts, budget=left)

    def draw(self, phase: str, n1: int, design: Plan) -> list[Moments]:
        """Sample every rung's share of the design."""
        return [
            self.source.draw(phase, round(f * n1), m)
            for f, m in zip(self.terms.factors, design.counts, strict=True)
        ]

    def weigh(self, n1: int, rungs: Sequence[Moments], design: Plan) -> Evidence:
        """Judge the rows under test from these rungs and note the rest."""
        kept = [r.rows(self.keep) for r in rungs]
        evidence = weigh_up(
            kept,
            design,
            self.terms.factors,
            n1=n1,
            error=self.tested.error[self.keep],
            tolerance=self.terms.tolerance,
            known=self.known(n1, kept, design),
        )
        for name, values in evidence.arrays.items():
            self.arrays[name][self.keep] = values
        self.verdicts[self.keep] = evidence.verdicts
        self.note(n1, rungs)
        return evidence

    def known(self, n1: int, rungs: Sequence[Moments], design: Plan) -> Known | None:
        """Judge the predicted slopes and note what is said of them; those that the fit of a takes
        as they are."""
        if self.tested.predicted is None:
            return None
        predicted = self.tested.predicted.rows(self.keep)
        found = weigh_slopes(
            rungs,
            design,
            self.terms.factors,
            predicted=predicted,
            n1=n1,
            tolerance=self.terms.tolerance,
        )
        for name, values in found.arrays.items():
            self.arrays[name][self.keep] = values
        self.slopes[self.keep] = found.verdicts
        return found.known if predicted.use else None

    def note(self, n1: int, rungs: Sequence[Moments]) -> None:
        """Note widths, counts, and the identity rows: their range over these networks against
        rounding, or their mean's."""
        fixed, arrays = self.tested.identities, self.arrays
        average = self.tested.on_average[fixed]
        allowed = self.terms.rounding + self.tested.error[fixed]
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
        ladder = self.terms.factors if len(rungs) > 1 else np.ones(1)
        self.widths = tuple(round(f * n1) for f in ladder)
        self.counts = tuple(r.count for r in rungs)

    def answer(self, evidence: Evidence | None, rungs: Sequence[Moments] | None) -> Judgement:
        """Return the overall verdict of the rows under test, its row and one line of reason."""
        tolerance = self.terms.tolerance
        if evidence is None or rungs is None:
            reason = (
                f"every row is an identity within rounding ({self.terms.rounding:g}): nothing "
                f"could have failed"
            )
            return self.report(INCONCLUSIVE, reason, None)
        verdict, index = deciding(evidence, tolerance)
        wrong = np.flatnonzero(self.slopes == REJECTED)
        if verdict != REJECTED and len(wrong):
            return self.wrong_slope(wrong)
        row = int(self.keep[index])
        a = f"a = {self.arrays['deviation'][row]:.3g}"
        interval = f"{a}, 90 % interval {self.bounds(row, 'lower', 'upper')}"
        if verdict == REJECTED:
            both = self.bounds(row, "simultaneous_lower", "simultaneous_upper")
            reason = f"{a}, simultaneous 99 % interval {both} outside +-{tolerance:g}"
            return self.report(verdict, reason, row)
        if verdict == CONFIRMED:
            return self.report(verdict, f"nearest row: {interval} inside +-{tolerance:g}", row)
        if evidence.troubled[index]:
            return self.report(verdict, f"{evidence.trouble[index]}; {interval}", row)
        factor = evidence.factor[index]
        if not np.isfinite(factor) or factor > MOST_TIMES:
            reason = (
                f"{interval}: within the theory's own error or too close to +-{tolerance:g} to be "
                f"decided"
            )
            return self.report(verdict, reason, row)
        more = tuple(int(np.ceil(r.count * max(factor, 1.0))) for r in rungs)
        reason = f"{interval}; about {factor:.2g} times the networks would decide it"
        return self.report(verdict, reason, row, more)

    def wrong_slope(self, wrong: NDArray[np.intp]) -> Judgement:
        """Reject for the slope that is furthest beyond its margin."""
        arrays = self.arrays
        off = (
            abs(arrays["slope"] - arrays["predicted_slope"])[wrong] / arrays["slope_margin"][wrong]
        )
        row = int(wrong[np.argmax(off)])
        b, said, margin = (
            arrays[name][row] for name in ("slope", "predicted_slope", "slope_margin")
        )
        return self.report(
            REJECTED,
            f"slope b = {b:.3g}, predicted {said:.3g}: simultaneous 99 % interval of their "
            f"difference outside +-{margin:.3g}",
            row,
        )

    def bounds(self, row: int, lower: str, upper: str) -> str:
        """Write a row's interval."""
        return f"[{self.arrays[lower][row]:.3g}, {self.arrays[upper][row]:.3g}]"

    def report(
        self, verdict: str, reason: str, row: int | None, needed: tuple[int, ...] | None = None
    ) -> Judgement:
        """Return the Judgement; an identity that fails overrules whatever the others say."""
        source = self.source
        self.arrays["measured"] = source.theory + source.scale * self.arrays["deviation"]
        phases = {draw.phase for draw in source.log}
        looks = 2 if "extension" in phases else int("main" in phases)
        broken = np.flatnonzero(self.tested.identities & (self.verdicts == REJECTED))
        if len(broken):
            reach: Floats = np.maximum(self.arrays["upper"], -self.arrays["lower"])[broken]
            verdict, row, needed = REJECTED, int(broken[np.argmax(reach)]), None
            reason = (
                f"an identity is off by up to {reach.max():.2g}, more than rounding ("
                f"{self.terms.rounding:g})"
            )
        return Judgement(
            verdict=verdict,
            reason=reason,
            row=row,
            tolerance=self.terms.tolerance,
            rows=tuple(self.verdicts),
            slopes=tuple(self.slopes),
            looks=looks,
            needed=needed,
            cost=source.spent,
            draws=tuple(source.log),
            **self.arrays,
            widths=self.widths,
            samples=self.counts,
        )


def preliminary(pilot: Sequence[Moments], factors: Floats, keep: NDArray[np.intp]) -> Plan:
    """Return the pilot's own fit, for what is reported when the run stops there."""
    variance = np.stack([np.maximum(r.variance[keep], TINY) for r in pilot])
    return Plan.of(1 / factors, variance, np.array([float(r.count) for r in pilot]), 2)

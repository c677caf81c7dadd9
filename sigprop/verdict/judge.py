"""The one function that decides: pilot, main run, at most one extension, verdict (DESIGN section 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sigprop.errors import Diverged
from sigprop.verdict.decide import Evidence, deciding, weigh_up
from sigprop.verdict.fit import weights as fixed_weights
from sigprop.verdict.judgement import CONFIRMED, INCONCLUSIVE, REJECTED, Judgement, empty
from sigprop.verdict.moments import Moments
from sigprop.verdict.pilot import TINY, climb
from sigprop.verdict.sampling import Sampler, Source
from sigprop.verdict.sizing import DEGREE, FLOOR, Plan, plan


def judge(
    sampler: Sampler,
    theory: np.ndarray,
    scale: np.ndarray,
    error: np.ndarray | float = 0.0,
    *,
    tolerance: float = 0.01,
    widths: Sequence[int] = (1, 2, 4, 8),
    start_width: int | None = None,
    half_rung: bool = True,
    ceiling: int = 1024,
    cost: Callable[[int], float] | None = None,
    samples: int | Sequence[int] | None = None,
    max_cost: float | None = None,
    identities: np.ndarray | None = None,
    rounding: float = 1e-4,
    progress: Callable[[str, int, int], None] | None = None,
) -> Judgement:
    """Is |lim (mean - theory)/scale| <= tolerance on every row? confirmed, rejected or inconclusive.

    Per row d = a + b/n + c/n^2 over the widths n1/2, n1 x widths; a +- 90 % inside +-tolerance on all rows confirms
    (false confirmation <= 5 %), a simultaneous 99 % interval outside +-tolerance on some row rejects (false rejection
    <= 1 %). A true theory is confirmed with probability 0.95, one that is 2 x tolerance off in one row rejected with 0.9.

    sampler: (width, samples, stream) -> [samples, R], may raise ``Diverged``. theory, scale: [R], scale > 0. error:
    [R] absolute numerical error of the theory. widths: ascending factors of n1. start_width: first n1 (default 32,
    must be even; n1 only doubles). half_rung: also sample n1/2, where curvature is cheap to see; without it the same
    precision costs about twice as much and needs at least three widths. ceiling: largest width ever sampled. cost:
    of a network of a width (default n^2). samples: networks a rung and look instead of planned ones (one number or
    one a rung, smallest width first). max_cost: limit on the sum of cost over everything sampled. identities: [R]
    boolean, rows that hold in every network, compared to ``rounding`` (in d) and to nothing else. progress: (phase
    and width, done, of how many). Raises ``ValueError`` naming an argument that cannot be used.
    """
    theory, scale = np.asarray(theory, dtype=float), np.asarray(scale, dtype=float)
    rows = len(theory)
    relative = np.broadcast_to(np.asarray(error, dtype=float), (rows,)) / scale
    fixed = np.zeros(rows, dtype=bool) if identities is None else np.asarray(identities, dtype=bool)
    n1 = 32 if start_width is None else int(start_width)
    factors = np.array(([0.5] if half_rung else []) + [float(w) for w in widths])
    _check(theory, scale, relative, fixed, tolerance, factors, n1, half_rung, ceiling)
    source = Source(sampler, theory, scale, cost or (lambda n: float(n) ** 2), progress)
    run = _Run(source, relative, tolerance, factors, ceiling, fixed, rounding, np.inf if max_cost is None else max_cost, samples)
    try:
        return run.go(n1)
    except Diverged as bad:
        return run.report(INCONCLUSIVE, str(bad), None)


def _check(
    theory: np.ndarray,
    scale: np.ndarray,
    error: np.ndarray,
    fixed: np.ndarray,
    tolerance: float,
    factors: np.ndarray,
    n1: int,
    half: bool,
    ceiling: int,
) -> None:
    if theory.ndim != 1 or scale.shape != theory.shape or fixed.shape != theory.shape or not len(theory):
        raise ValueError(f"theory, scale, identities: shapes {theory.shape}, {scale.shape}, {fixed.shape}; accepted: one row or more each")
    if not (np.isfinite(theory).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError("theory, scale: accepted: finite, scale > 0")
    if not (np.isfinite(error).all() and (error >= 0).all()):
        raise ValueError("error: accepted: finite, not negative")
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance={tolerance}; accepted: between 0 and 1")
    if len(factors) < DEGREE + 1 or (np.diff(factors) <= 0).any() or 1.0 not in factors:
        raise ValueError(f"widths={list(factors)}; accepted: ascending factors from 1, {DEGREE + 1} rungs or more with n1/2")
    if n1 < 1 or (half and n1 % 2) or n1 * factors[-1] > ceiling:
        raise ValueError(f"start_width={n1}; accepted: even, and {factors[-1]:g} times it at most ceiling={ceiling}")


class _Run:
    """One judgement in the making."""

    def __init__(
        self,
        source: Source,
        error: np.ndarray,
        tolerance: float,
        factors: np.ndarray,
        ceiling: int,
        fixed: np.ndarray,
        rounding: float,
        budget: float,
        samples: int | Sequence[int] | None,
    ) -> None:
        self.source, self.error, self.tolerance, self.factors = source, error, tolerance, factors
        self.ceiling, self.fixed, self.rounding, self.budget, self.samples = ceiling, fixed, rounding, budget, samples
        self.keep = np.flatnonzero(~fixed)
        self.arrays = empty(len(fixed))
        self.verdicts = np.full(len(fixed), INCONCLUSIVE, dtype=object)
        self.about: dict[str, object] = {}

    def go(self, n1: int) -> Judgement:
        """Pilot, main run (again at twice the width if the fit fails), extension."""
        if not len(self.keep):
            self.note(n1, [self.source.draw("main", n1, FLOOR)])
            return self.answer(None, None)
        for again in (False, True):
            pilot = climb(self.source, list(self.factors), n1, self.ceiling, self.tolerance, ~self.fixed)
            n1 = pilot.n1
            if pilot.row is not None:
                self.weigh(n1, pilot.rungs, _preliminary(pilot.rungs, self.factors, self.keep))
                self.verdicts[self.keep] = INCONCLUSIVE
                return self.report(INCONCLUSIVE, pilot.reason, pilot.row)
            try:
                design = self.plan(n1, pilot.rungs)
            except ValueError as bad:
                self.weigh(n1, pilot.rungs, _preliminary(pilot.rungs, self.factors, self.keep))
                self.verdicts[self.keep] = INCONCLUSIVE
                return self.report(INCONCLUSIVE, str(bad), None)
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

    def plan(self, n1: int, pilot: Sequence[Moments]) -> Plan:
        kept = [r.rows(self.keep) for r in pilot]
        # A row that is far off has room in proportion to its own size; its noise (under 10 %) does not count.
        size = np.maximum(1.0, kept[int(np.argmin(abs(self.factors - 1)))].size / 1.1)
        room = (self.tolerance - np.minimum(self.error[self.keep], self.tolerance / 2)) * size
        cost = np.array([self.source.cost(round(f * n1)) for f in self.factors])
        samples = [self.samples] * len(cost) if isinstance(self.samples, int) else self.samples
        return plan(kept, self.factors, cost, room, samples=samples, budget=self.budget - self.source.spent)

    def draw(self, phase: str, n1: int, design: Plan) -> list[Moments]:
        return [self.source.draw(phase, round(f * n1), m) for f, m in zip(self.factors, design.counts, strict=True)]

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
        """Widths, counts, and the identity rows: their range over these networks against rounding."""
        fixed, arrays = self.fixed, self.arrays
        low, high = np.min([r.low for r in rungs], axis=0)[fixed], np.max([r.high for r in rungs], axis=0)[fixed]
        arrays["deviation"][fixed] = sum(r.mean * r.count for r in rungs)[fixed] / sum(r.count for r in rungs)
        arrays["lower"][fixed] = arrays["simultaneous_lower"][fixed] = low
        arrays["upper"][fixed] = arrays["simultaneous_upper"][fixed] = high
        arrays["se"][fixed] = arrays["slope"][fixed] = arrays["slope_se"][fixed] = 0.0
        arrays["detectable"][fixed] = self.rounding + self.error[fixed]
        self.verdicts[fixed] = np.where(np.maximum(high, -low) <= self.rounding + self.error[fixed], CONFIRMED, REJECTED)
        ladder = self.factors if len(rungs) > 1 else np.ones(1)
        self.about = {"widths": tuple(round(f * n1) for f in ladder), "samples": tuple(r.count for r in rungs)}

    def answer(self, evidence: Evidence | None, rungs: Sequence[Moments] | None) -> Judgement:
        """The overall verdict, its row and one line of reason."""
        arrays, tolerance = self.arrays, self.tolerance
        broken = np.flatnonzero(self.fixed & (self.verdicts == REJECTED))
        if len(broken):
            row = int(broken[np.argmax(np.maximum(arrays["upper"], -arrays["lower"])[broken])])
            return self.report(REJECTED, f"an identity is off by up to {max(arrays['upper'][row], -arrays['lower'][row]):.2g}", row)
        if evidence is None or rungs is None:
            return self.report(CONFIRMED, f"all identities hold to {self.rounding:g}", None)
        verdict, index = deciding(evidence, tolerance)
        row = int(self.keep[index])
        interval = f"a = {arrays['deviation'][row]:.3g}, 90 % interval [{arrays['lower'][row]:.3g}, {arrays['upper'][row]:.3g}]"
        if verdict == REJECTED:
            both = f"[{arrays['simultaneous_lower'][row]:.3g}, {arrays['simultaneous_upper'][row]:.3g}]"
            return self.report(verdict, f"a = {arrays['deviation'][row]:.3g}, simultaneous 99 % interval {both} outside +-{tolerance:g}", row)
        if verdict == CONFIRMED:
            return self.report(verdict, f"nearest row: {interval} inside +-{tolerance:g}", row)
        if evidence.troubled[index]:
            return self.report(verdict, f"{evidence.trouble[index]}; {interval}", row)
        factor = evidence.factor[index]
        if not np.isfinite(factor) or factor > 1e6:
            return self.report(verdict, f"{interval}: within the theory's own error or too close to +-{tolerance:g} to be decided", row)
        more = tuple(int(np.ceil(r.count * max(factor, 1.0))) for r in rungs)
        return self.report(verdict, f"{interval}; about {factor:.2g} times the networks would decide it", row, more)

    def report(self, verdict: str, reason: str, row: int | None, needed: tuple[int, ...] | None = None) -> Judgement:
        source = self.source
        self.arrays["measured"] = source.theory + source.scale * self.arrays["deviation"]
        looks = 2 if any(d.phase == "extension" for d in source.log) else 1 if any(d.phase == "main" for d in source.log) else 0
        if verdict == INCONCLUSIVE and (self.fixed & (self.verdicts == REJECTED)).any():
            verdict, row = REJECTED, int(np.flatnonzero(self.fixed & (self.verdicts == REJECTED))[0])
            reason = f"an identity is off by up to {max(self.arrays['upper'][row], -self.arrays['lower'][row]):.2g}"
        return Judgement(
            verdict=verdict, reason=reason, row=row, tolerance=self.tolerance, rows=tuple(self.verdicts),
            looks=looks, needed=needed, cost=source.spent, draws=tuple(source.log), **self.arrays, **self.about,
        )  # fmt: skip


def _preliminary(pilot: Sequence[Moments], factors: np.ndarray, keep: np.ndarray) -> Plan:
    """The pilot's own fit, for what is reported when the run stops there."""
    variance = np.stack([np.maximum(r.variance[keep], TINY) / r.count for r in pilot])
    return Plan(tuple(r.count for r in pilot), fixed_weights(1 / factors, variance, DEGREE), 2)

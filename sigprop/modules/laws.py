"""The law of a parameter's entries: what an initialiser draws them from, as mean and variance.

Closed under c x + b, so that ``randn(...) * 0.02`` is a law as ``normal_(std=0.02)`` is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

SQRT2 = math.sqrt(2.0)
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Law:
    """Independent entries of this mean and variance. kind: 'normal', 'uniform', ..., or 'unknown';
    low, high: the ends of a uniform law; source: what is not known about, or what was measured."""

    kind: str
    mean: float = 0.0
    variance: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    source: str = ""

    @property
    def known(self) -> bool:
        """Tell whether the law is one that is understood."""
        return self.kind != UNKNOWN

    @property
    def second(self) -> float:
        """E w^2 of an entry."""
        return self.variance + self.mean**2

    def affine(self, scale: float, shift: float = 0.0) -> Law:
        """Return the law of scale w + shift."""
        ends = (self.low * scale + shift, self.high * scale + shift) if scale else (shift, shift)
        return replace(
            self,
            mean=self.mean * scale + shift,
            variance=self.variance * scale**2,
            low=min(ends),
            high=max(ends),
        )

    def __str__(self) -> str:
        if not self.known:
            return f"{self.kind} ({self.source})"
        if self.kind == "constant":
            return f"{self.mean:.4g}"
        mean = f"mean {self.mean:.3g}, " if self.mean else ""
        return f"{self.kind}, {mean}sd {math.sqrt(self.variance):.4g}"


def unknown(source: str) -> Law:
    """The law of what an operation without a rule left behind."""
    return Law(UNKNOWN, math.nan, math.nan, source=source)


def constant(value: float) -> Law:
    """Every entry is ``value``."""
    return Law("constant", float(value), 0.0, float(value), float(value))


def normal(mean: float, sd: float) -> Law:
    """N(mean, sd^2)."""
    return Law("normal", float(mean), float(sd) ** 2)


def uniform(low: float, high: float) -> Law:
    """U(low, high)."""
    return Law("uniform", (low + high) / 2, (high - low) ** 2 / 12, float(low), float(high))


def truncated_normal(mean: float, sd: float, low: float, high: float) -> Law:
    """N(mean, sd^2) given that it lies in [low, high]."""
    standard = NormalDist()
    a, b = ((end - mean) / sd for end in (low, high))
    near, far = (a, b) if a + b >= 0 else (-b, -a)  # above 0, where erfc keeps its digits
    mass = (math.erfc(near / SQRT2) - math.erfc(far / SQRT2)) / 2
    if mass <= 0:
        return unknown(f"a normal truncated to [{low:g}, {high:g}], {near:.0f} deviations away")
    first, last = standard.pdf(a), standard.pdf(b)
    shift = (first - last) / mass
    edges = (a * first if math.isfinite(a) else 0.0) - (b * last if math.isfinite(b) else 0.0)
    variance = 1 + edges / mass - shift**2
    return Law("truncated normal", mean + sd * shift, sd**2 * variance, low, high)


def erfinv_of(law: Law) -> Law:
    """The law of erfinv(u), u uniform on (low, high): a truncated normal over sqrt 2."""
    if law.kind != "uniform" or law.low < -1 or law.high > 1:
        return unknown("erfinv of what is not uniform in (-1, 1)")
    standard = NormalDist()
    ends = [
        math.copysign(math.inf, end) if abs(end) == 1 else standard.inv_cdf((end + 1) / 2)
        for end in (law.low, law.high)
    ]
    return truncated_normal(0.0, 1.0, *ends).affine(1 / SQRT2)

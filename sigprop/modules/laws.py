"""The law of a parameter's entries: what an initialiser draws them from, as mean and variance; the
parameters of a module.

Closed under c x + b, so that ``randn(...) * 0.02`` is a law as ``normal_(std=0.02)`` is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sigprop.errors import InputError

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


def measured(name: str, entries: NDArray[np.float64], reason: str = "") -> Law:
    """The law of entries that are there: their mean (0 where it is within scatter) and variance.

    name: of the parameter; reason: why no more is known of them. Raises ``InputError`` for entries
    that are not finite.
    """
    if not np.isfinite(entries).all():
        raise InputError(f"{name}: holds what is not a number; accepted: finite entries")
    if entries.size == 0 or np.ptp(entries) == 0:
        return constant(entries.flat[0] if entries.size else 0.0)
    mean, variance = float(entries.mean()), float(entries.var())
    centred = abs(mean) < 4 * (variance / entries.size) ** 0.5
    source = f"{entries.size} entries" + (f" of one draw: {reason}" if reason else "")
    return Law("measured", 0.0 if centred else mean, variance, source=source)


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


Box = tuple[tuple[int, int], ...]
"""Of every axis, from where up to where."""


@dataclass(frozen=True)
class Parameter:
    """One parameter's shape and what its entries are drawn from; pieces: rectangles that were
    filled on their own."""

    name: str
    shape: tuple[int, ...]
    law: Law
    pieces: tuple[tuple[int, tuple[int, ...], tuple[int, ...], Law], ...] = ()

    def law_of(self, start: int, stop: int, axis: int) -> Law:
        """Return the law of the entries from ``start`` to ``stop`` along an axis.

        The last fill that covers them counts; one that covers a part of them leaves an unknown law
        (a single row of an embedding, for padding, is passed over).
        """
        law, boxes = self.law, [_box(self.shape, *piece[:3]) for piece in self.pieces]
        alone = self._alone(boxes)
        for box, (*_, filled) in zip(boxes, self.pieces, strict=True):
            first, last = (0, self.shape[axis]) if box is None else box[axis]
            if last <= start or first >= stop or (box is not None and box == alone):
                continue
            across = box is not None and all(
                ends == (0, size)
                for k, (ends, size) in enumerate(zip(box, self.shape, strict=True))
                if k != axis
            )
            covered = across and first <= start and last >= stop
            law = filled if covered else unknown("filled in pieces")
        return law

    @property
    def known(self) -> bool:
        """Tell whether all that filled it is understood."""
        return self.law.known and all(filled.known for *_, filled in self.pieces)

    @property
    def padding(self) -> int | None:
        """The one row that was filled on its own."""
        alone = self._alone([_box(self.shape, *piece[:3]) for piece in self.pieces])
        return None if alone is None else alone[0][0]

    def _alone(self, boxes: Sequence[Box | None]) -> Box | None:
        """The box of one row among many, where it is the only one."""
        single = {box for box in boxes if box and box[0][1] - box[0][0] == 1 and self.shape[0] > 8}
        return single.pop() if len(single) == 1 else None


@dataclass(frozen=True)
class Built:
    """A module, the name of its class, its parameters by every name they go by, the first name of
    every tensor, and the first parameter that each starts as a copy of."""

    module: Any
    name: str
    parameters: dict[str, Parameter]
    same: dict[str, str]
    copies: dict[str, str]


def _box(
    shape: tuple[int, ...], offset: int, piece: tuple[int, ...], strides: tuple[int, ...]
) -> Box | None:
    """Which indices of every axis a piece of a row-major tensor covers, from and up to; None
    where it is no box of neighbours."""
    inner = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    firsts = [offset // size % length for size, length in zip(inner, shape, strict=True)]
    extents = [1] * len(shape)
    for count, stride in zip(piece, strides, strict=True):
        axis = next((k for k, size in enumerate(inner) if size <= stride), len(shape) - 1)
        extents[axis] += (count - 1) * stride // inner[axis]
    for axis in range(len(shape) - 1, 0, -1):  # axes that a view runs together
        if extents[axis] > shape[axis] and not extents[axis] % shape[axis]:
            extents[axis - 1] *= extents[axis] // shape[axis]
            extents[axis] = shape[axis]
    box = tuple((first, first + n) for first, n in zip(firsts, extents, strict=True))
    inside = all(last <= length for (_, last), length in zip(box, shape, strict=True))
    return box if inside and np.prod(extents) == np.prod(piece) else None

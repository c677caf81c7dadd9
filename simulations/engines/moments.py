"""Moments of networks' rows that more networks are added to: Welford's update over batches, and
plain data that a store can keep.

Networks are those of indices 0, 1, ... of one stream, so a run that asks for more of them goes on
where another ended. Its last batch may be a part of one, and sums over a part and the rest are not
rounded as sums over the whole: the moments before that batch are kept too, and a run that goes on
takes that batch again, whole. So where all runs have the same batch size, what they leave is to the
bit what one run would, wherever they stopped. Source: Welford 1962; Chan, Golub, LeVeque 1983.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Integer

from sigprop.errors import InputError, short

NOT_FINITE = ("nan", "inf", "-inf")  # of JSON data, which has no such numbers
MOST = 2**32 - 1  # networks of a stream


class Sums(NamedTuple):
    """How many networks there are; the mean [C] of each column; the sum [C] of squared deviations
    from it."""

    count: int
    mean: Float64[np.ndarray, " C"]
    scatter: Float64[np.ndarray, " C"]

    @staticmethod
    def none(columns: int) -> Sums:
        """Return those of no networks."""
        return Sums(0, np.zeros(columns), np.zeros(columns))

    def and_of(self, rows: Float64[np.ndarray, "chunk C"]) -> Sums:
        """Return those of these networks and further ones."""
        count, more = self.count, len(rows)
        own = rows.mean(axis=0)
        shift = own - self.mean
        apart = ((rows - own) ** 2).sum(axis=0) + shift**2 * count * more / (count + more)
        mean = self.mean + shift * more / (count + more)
        return Sums(count + more, mean, self.scatter + apart)


class Moments(NamedTuple):
    """What is kept of networks.

    engine: the name of what they were sampled by; unit [C]: powers of two that each column is
    counted in, so that squares of 1e160 stay finite; every: the sums over all of them; whole: over
    the whole batches among them; diverged: the first application at which one was not finite, or
    None.
    """

    engine: str
    unit: Float64[np.ndarray, " C"]
    every: Sums
    whole: Sums
    diverged: int | None

    @staticmethod
    def none(engine: str, columns: int) -> Moments:
        """Return those of no networks."""
        return Moments(engine, np.ones(columns), Sums.none(columns), Sums.none(columns), None)

    @property
    def count(self) -> int:
        """How many networks there are: those of indices below it."""
        return self.every.count

    @property
    def columns(self) -> int:
        """How many numbers a network gives."""
        return len(self.unit)

    def before(self, size: int) -> Moments:
        """Return what a run with batches of that size goes on from: the whole batches, or, where
        these were of another size, all there is."""
        part = self.count - self.whole.count
        same = self.whole.count % size == 0 and part < size
        return self._replace(every=self.whole) if same else self

    def and_of(
        self,
        rows: Float64[np.ndarray, "chunk C"],
        diverged: Integer[np.ndarray, " chunk"],
        *,
        size: int,
        depth: int,
    ) -> Moments:
        """Return those of these networks and the next ones.

        rows, diverged: as of ``chunks``; size: networks of a whole batch; depth: what ``diverged``
        is beyond where a network was finite throughout.
        """
        unit = self.unit if self.count else _unit(rows[0])
        with np.errstate(invalid="ignore", over="ignore"):  # a diverged row is reported as such
            every = self.every.and_of(rows / unit)
        whole = every if every.count % size == 0 else self.whole
        first = int(diverged.min())
        if self.diverged is not None:
            first = min(first, self.diverged)
        return Moments(self.engine, unit, every, whole, first if first <= depth else None)

    def statistics(self) -> dict[str, Any]:
        """Return the mean and standard error [C] of every column ('mean', 'error'), and the first
        application that ``diverged``."""
        count, mean, scatter = self.every
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.sqrt(scatter / (count - 1) / count) * self.unit
            return {"mean": mean * self.unit, "error": error, "diverged": self.diverged}

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data that ``from_dict`` reads back to the bit: floats as they are,
        those that are not finite as text; whole: None where it is ``every``."""
        same = self.whole.count == self.count
        return {
            "engine": self.engine,
            "unit": _plain(self.unit),
            "every": _plain_sums(self.every),
            "whole": None if same else _plain_sums(self.whole),
            "diverged": self.diverged,
        }

    @staticmethod
    def from_dict(data: object) -> Moments:
        """Return what ``to_dict`` wrote. Raises ``InputError`` for data that it did not."""
        given = _record(data, "moments", Moments._fields)
        engine, diverged = given["engine"], given["diverged"]
        _require(isinstance(engine, str), "engine", engine, "a name")
        _require(
            diverged is None or _whole_number(diverged, 0), "diverged", diverged, "an application"
        )
        unit = _numbers(given["unit"], "unit", None)
        powers = np.isfinite(unit) & (np.frexp(unit)[0] == 0.5)
        _require(len(unit) > 0 and bool(powers.all()), "unit", given["unit"], "powers of two")
        every = _sums(given["every"], "every", len(unit), least=1)
        if given["whole"] is None:
            return Moments(engine, unit, every, every, diverged)
        whole = _sums(given["whole"], "whole", len(unit), least=0)
        _require(whole.count < every.count, "whole.count", whole.count, f"below {every.count}")
        return Moments(engine, unit, every, whole, diverged)


def check_kept(kept: Moments, engine: str, columns: int) -> None:
    """Raise ``InputError`` for moments of another engine's networks, or of other columns."""
    if kept.columns != columns:
        raise InputError(f"kept: moments of {kept.columns} columns; accepted: of {columns}")
    if kept.engine != engine:
        raise InputError(
            f"kept: networks of engine={short(kept.engine)}; accepted: of engine={engine}"
        )


def _unit(values: Float64[np.ndarray, " C"]) -> Float64[np.ndarray, " C"]:
    """The powers of two at or below these values, 1 for zero and for what is not finite:
    dividing by them rounds nothing."""
    usable = np.isfinite(values) & (values != 0)
    return np.ldexp(1.0, np.where(usable, np.frexp(np.where(usable, values, 1.0))[1] - 1, 0))


def _plain(values: Float64[np.ndarray, " C"]) -> list[float | str]:
    return [x if math.isfinite(x) else str(x) for x in values.tolist()]


def _plain_sums(sums: Sums) -> dict[str, Any]:
    return {"count": sums.count, "mean": _plain(sums.mean), "scatter": _plain(sums.scatter)}


def _sums(data: object, name: str, columns: int, *, least: int) -> Sums:
    """Return sums over at least so many networks."""
    given = _record(data, name, Sums._fields)
    count = given["count"]
    _require(_whole_number(count, least), f"{name}.count", count, f"a count from {least}")
    mean, scatter = (_numbers(given[of], f"{name}.{of}", columns) for of in ("mean", "scatter"))
    _require(not np.any(scatter < 0), f"{name}.scatter", given["scatter"], "no number below 0")
    # deviations from what is not finite are not, either
    lost = ~np.isfinite(mean) & np.isfinite(scatter)
    _require(not np.any(lost), f"{name}.mean", given["mean"], "finite where its scatter is")
    moved = count == 0 and bool(np.any(mean) or np.any(scatter))
    _require(not moved, f"{name}.count", count, "0 where all sums are 0")
    return Sums(count, mean, scatter)


def _record(data: object, name: str, fields: tuple[str, ...]) -> Mapping[str, Any]:
    _require(
        isinstance(data, Mapping) and set(data) == set(fields), name, data, f"{', '.join(fields)}"
    )
    assert isinstance(data, Mapping)
    return data


def _whole_number(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MOST


def _numbers(data: object, name: str, count: int | None) -> Float64[np.ndarray, " C"]:
    """Return numbers, as many as are wanted if that is known."""
    fits = isinstance(data, list) and (count is None or len(data) == count)
    _require(fits, name, data, "a list of numbers" if count is None else f"{count} numbers")
    assert isinstance(data, list)
    return np.array([_number(x, name) for x in data], dtype=np.float64)


def _number(value: object, name: str) -> float:
    usable = value in NOT_FINITE if isinstance(value, str) else isinstance(value, int | float)
    _require(usable and not isinstance(value, bool), name, value, "numbers")
    assert isinstance(value, str | int | float)
    try:
        return float(value)
    except OverflowError:
        raise InputError(f"moments.{name}={short(value)}; accepted: numbers") from None


def _require(good: bool, name: str, value: object, accepted: str) -> None:
    """Raise ``InputError`` unless it is good."""
    if not good:
        where = name if name == "moments" else f"moments.{name}"
        raise InputError(f"{where}={short(value)}; accepted: {accepted}")

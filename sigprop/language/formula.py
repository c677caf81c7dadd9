"""Formulas of numbers that may depend on size and on place: what a description keeps for every
number, and evaluates.

    N  loops      L  blocks      S  sub-blocks (L s)      n  the parameter model_width
    l  the application's block, from 1      a  the application, from 1

A list has one entry for each block, or for each application. Whoever asks how size enters reads the
formula (``sigprop.scaling``); nobody reads it off the parameter's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sigprop.errors import InputError, short
from sigprop.language.grammar import PLACES, Floats, finite, parse
from sigprop.language.scalar import Scalar, as_scalar, evaluate, names

Places = NDArray[np.intp]
WITHIN = 100.0
"""A factor that numbers of one order stay within."""


@dataclass(frozen=True)
class Formula:
    """entries: one scalar in N, L, S, n, l, a; or several, one for each block or application;
    order: of numbers that were computed for these sizes, what they stay within constant factors
    of at every size, where whoever computed them knows that (``Family.checked`` compares); text:
    as it was written."""

    name: str
    entries: tuple[Scalar, ...]
    order: Scalar | None = None
    text: str = field(default="", compare=False)

    @property
    def used(self) -> frozenset[str]:
        """The sizes and places that it names."""
        return frozenset(number.name for entry in self.entries for number in names(entry))

    @property
    def placed(self) -> bool:
        """Whether its value may differ between applications."""
        return len(self.entries) > 1 or bool(self.used & set(PLACES))

    @property
    def scalar(self) -> Scalar:
        """The one expression, or what a list is of the order of; raises ``InputError`` for a
        list that says nothing of other sizes."""
        if self.order is not None:
            return self.order
        if len(self.entries) != 1:
            raise InputError(
                f"{self.name}: a list of {len(self.entries)} values; accepted here: an "
                f"expression, which says what it is at other sizes"
            )
        return self.entries[0]

    def at(self, sizes: Mapping[str, int], depth: int) -> float | Floats:
        """Its value at these sizes: a float, or [depth] where applications may differ. Raises
        ``InputError`` where it has no finite value."""
        if not self.used <= sizes.keys() | set(PLACES):
            missing = sorted(self.used - sizes.keys() - set(PLACES))[0]
            what = (
                "model_width, which was not given" if missing == "n" else "no size of this network"
            )
            raise InputError(
                f"{self}: {missing} is {what}; accepted: {', '.join(sorted({*sizes, *PLACES}))}"
            )
        at = {name: float(size) for name, size in sizes.items()}
        if not self.placed:
            return float(self._value(self.entries[0], at))
        block, application = places(sizes, depth, self.name)
        if len(self.entries) == 1:
            values = self._value(
                self.entries[0],
                {**at, "l": block.astype(np.float64), "a": application.astype(np.float64)},
            )
            return np.array(np.broadcast_to(values, depth))
        index = {sizes.get("L", depth): block, depth: application}.get(len(self.entries))
        if index is None or self.used & set(PLACES):
            counts = f"{sizes.get('L', depth)} blocks, {depth} applications"
            raise InputError(
                f"{self.name}: {len(self.entries)} values at {counts}; accepted: one (without l "
                f"and a) for each block, or for each application"
            )
        return np.array([self._value(entry, at) for entry in self.entries])[index - 1]

    def _value(self, entry: Scalar, at: Mapping[str, float | Floats]) -> float | Floats:
        value, used = finite(entry, at), names(entry)
        where = (
            ", ".join(
                f"{name}={at[name]:g}"
                for name in at
                if name in {number.name for number in used} and np.ndim(at[name]) == 0
            )
            or "any size"
        )
        if value is None:
            raise InputError(
                f"{self} has no finite value at {where}; accepted: an expression that is a finite "
                f"number"
            )
        if used and np.any(np.asarray(value) == 0) and underflows(entry, at, np.asarray(value)):
            raise InputError(
                f"{self} underflows to 0 at {where}; accepted: numbers of at least 1e-308"
            )
        return value

    def __str__(self) -> str:
        return f"{self.name}={short(self.text or ', '.join(map(str, self.entries)), 60)!r}"


def underflows(entry: Scalar, at: Mapping[str, float | Floats], value: Floats) -> bool:
    """Whether an expression whose float is 0 (at the first such place) is not 0."""
    import mpmath

    first = int(np.flatnonzero(value == 0)[0])
    exact = {
        name: mpmath.mpf(float(np.ravel(size)[first] if np.ndim(size) else size))
        for name, size in at.items()
    }

    def read(x: int | float | Fraction) -> mpmath.mpf:
        return mpmath.mpf(x.numerator) / x.denominator if isinstance(x, Fraction) else mpmath.mpf(x)

    return bool(evaluate(entry, exact, read) != 0)


def places(sizes: Mapping[str, int], depth: int, name: str) -> tuple[Places, Places]:
    """(l, a) of every application, from 1: N loops of L blocks of S/L sub-blocks. Raises
    ``InputError`` for a network of no such sizes."""
    loops, blocks = sizes.get("N", 1), sizes.get("L", depth)
    each = sizes.get("S", blocks) // blocks
    if loops * blocks * each != depth:
        raise InputError(
            f"{name}: l and a need sizes N, L, S with N S = {depth} applications; accepted: "
            f"sizes={{'N': ..., 'L': ..., 'S': ...}}"
        )
    application = np.arange(depth)
    return application // each % blocks + 1, application + 1


def formula(name: str, given: object) -> Formula:
    """The formula that a number, text of the grammar, a scalar, or a sequence of these writes.
    Raises ``InputError``."""
    if isinstance(given, Formula):
        return Formula(name, given.entries, given.order, given.text)
    if isinstance(given, str):
        parts = given.strip()
        parts = parts[1:-1] if parts.startswith("[") and parts.endswith("]") else parts
        return Formula(name, tuple(parse(part, name) for part in parts.split(",")), text=given)
    if _listed(given):
        return Formula(name, tuple(formula(name, entry).scalar for entry in given))
    value: object = given.item() if _numpy(given) and given.ndim == 0 else given
    try:
        return Formula(name, (as_scalar(value),))
    except TypeError:
        raise InputError(
            f"{name}={short(repr(given), 60)}; accepted: a number, an expression in N, L, S, l, "
            f"a, n, or a list of these"
        ) from None


def _listed(given: object) -> TypeGuard[Sequence[object]]:
    """Whether it is several values in a row, one or more."""
    row = isinstance(given, (Sequence, np.ndarray)) and not isinstance(given, str)
    shape = np.asarray(given, dtype=object).shape if row else ()
    return len(shape) == 1 and shape[0] > 0


def _numpy(given: object) -> TypeGuard[NDArray[np.generic]]:
    return isinstance(given, (np.generic, np.ndarray))


def _plain(given: object) -> TypeGuard[float | Floats]:
    """Whether it is numbers, and not how they are computed."""
    return isinstance(given, (int, float, np.number, np.ndarray)) and not isinstance(given, bool)


class Resolved(NamedTuple):
    """values: what every number is, as floats or arrays [depth]; formulas: of every number;
    changed: those that are no longer what they were."""

    values: dict[str, float | Floats]
    formulas: dict[str, Formula]
    changed: tuple[str, ...]


def resolved(
    numbers: Mapping[str, object],
    known: Mapping[str, Formula],
    sizes: Mapping[str, int],
    depth: int,
) -> Resolved:
    """Numbers as they were given, with the formulas known of them: a formula stays where its value
    is the number given, else the number is its own.

    So ``dataclasses.replace`` with other numbers changes what everybody reads. Raises
    ``InputError`` as ``Formula.at``.
    """
    values: dict[str, float | Floats] = {}
    formulas: dict[str, Formula] = {}
    changed: list[str] = []
    for name, given in numbers.items():
        if _plain(given) and name in known and agrees(known[name], given, sizes, depth):
            formulas[name] = known[name]
        else:
            formulas[name] = formula(name, given)
            changed += [name] if name in known and formulas[name] != known[name] else []
        found = formulas[name].at(sizes, depth)
        # as given, whatever rounding
        values[name] = (
            float(given)
            if _plain(given) and np.ndim(given) == 0 and formulas[name] is known.get(name)
            else found
        )
    return Resolved(values, formulas, tuple(changed))


def agrees(known: Formula, given: ArrayLike, sizes: Mapping[str, int], depth: int) -> bool:
    """Whether a formula's value at these sizes is the number (within rounding)."""
    try:
        value = known.at(sizes, depth)
    except InputError:
        return False
    return np.shape(value) == np.shape(given) and bool(
        np.allclose(value, given, rtol=1e-12, atol=0)
    )


def of_its_order(known: Formula, given: ArrayLike, sizes: Mapping[str, int], depth: int) -> bool:
    """Whether numbers lie within a factor ``WITHIN`` of what a list says that it is of the order
    of (where it says so)."""
    if known.order is None:
        return True
    ratio = np.asarray(given, dtype=np.float64) / np.asarray(
        Formula(known.name, (known.order,)).at(sizes, depth)
    )
    return bool(np.all((ratio > 1 / WITHIN) & (ratio < WITHIN)))

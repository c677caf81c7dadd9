"""Networks measured with a twin: what theory knows of a network's own averages, taken off its
rows.

The twin runs a network's own normals through the averages of the wide limit. Its deviation from
what is expected there, times how rows follow averages, is what rows scatter by to first order; the
mean of that deviation is measured too, on units of its own, so that a theory that is off moves
nothing (docs/finite-width.md, "The twin").
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from sigprop.description.architecture import Architecture
from sigprop.description.shapes import Row
from sigprop.errors import InputError, NoRule
from sigprop.simulations.engines.population import SCRAMBLES
from sigprop.simulations.network.twin import Twin
from sigprop.theory.fluctuations.averages.controls import CONTROLLED, controls, has_control
from sigprop.theory.fluctuations.forms import FORMS, check, having_forms
from sigprop.theory.predictions.evaluate import half_width


def twin_of(arch: Architecture, rows: Sequence[Row], required: bool = True) -> Twin | None:
    """Return the twin of networks, which leaves rows that have no form as they are; None where no
    row has one, which where it is ``required`` raises ``InputError``."""
    if required:
        check(arch, False)
    having = [k for k, row in enumerate(rows) if has_form(arch, row)]
    if not having:
        if required:
            raise InputError(f"control=twin: no row has a form; accepted: {', '.join(CONTROLLED)}")
        return None
    try:
        found = controls(arch, [rows[k] for k in having])
    except (InputError, NoRule):
        if required:
            raise
        return None
    every = np.zeros((len(rows), found.rows.shape[1]))
    every[having] = found.rows
    whole = found._replace(rows=every)
    return Twin(**{name: getattr(whole, name) for name in Twin._fields})


def has_form(arch: Architecture, row: Row) -> bool:
    """Tell if a twin has something to say of a row."""
    forms = _forms(arch)
    either = row.quantity in forms or bool(forms) and row.quantity not in FORMS
    return either and has_control(arch, row)


@functools.lru_cache(maxsize=8)
def _forms(arch: Architecture) -> frozenset[str]:
    """Return the quantities that have a form; none where the architecture has none."""
    try:
        return frozenset(having_forms(arch))
    except InputError:
        return frozenset()


class Beside(NamedTuple):
    """A twin beside a verdict's networks. mean, error [R]: its own mean deviation from what was
    expected, on every row, and that one's standard error; used [R]: rows that it is taken off."""

    twin: Twin
    mean: Float[np.ndarray, " R"]
    error: Float[np.ndarray, " R"]
    used: Bool[np.ndarray, " R"]

    @property
    def half_width(self) -> Float[np.ndarray, " R"]:
        """Half a 99 % interval of the twin's own mean [R], 0 of rows that it says nothing of."""
        errors = half_width(SCRAMBLES) * SCRAMBLES**0.5
        return np.where(self.used, errors * self.error, 0.0)

    def taken_off(self, values: Float[np.ndarray, "samples RR"]) -> Float[np.ndarray, "samples R"]:
        """Return rows with the twin's deviation taken off and its mean put back. values: plain
        rows, then those without the deviation, as engines give them."""
        plain, without = np.split(values, 2, axis=1)
        return np.where(self.used, without + self.mean, plain)

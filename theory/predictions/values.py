"""Rows read off the kernels, as mantissa and logarithm."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.checks import BAND, EMBEDDING
from sigprop.description.quantities import QUANTITIES
from sigprop.description.shapes import Row
from sigprop.description.structure import READOUT
from sigprop.theory.predictions.logits import check_contact, cross_entropy
from sigprop.theory.recursion.kernels import Kernels

Scaled = tuple[float, float]
"""(mantissa, log): the value mantissa * exp(log)."""

LOST = 340.0  # e^-2 of it is the square that floats still hold
TINY = 1e-300  # a gradient of zero has this exponent's logarithm


class Values:
    """Rows read off the kernels; nudge: what is added to 1 - cos^2 where it is read from rounded
    Grams."""

    def __init__(self, arch: Architecture, k: Kernels, nudge: float = 0.0):
        self.arch, self.k, self.nudge = arch, k, nudge
        self.steps = np.flatnonzero(~k.program.taps)  # application -> step
        self.column = {a: c for c, a in enumerate(k.columns)}
        self.largest_log = float(np.abs(k.state_log).max())

    def value(self, row: Row) -> Scaled:
        """(mantissa, log) of a row; NaN where it is no number (0/0, or what has overflowed)."""
        with np.errstate(all="ignore"):
            try:
                return PREDICTED[row.quantity](self, row)
            except (ValueError, ArithmeticError):
                return math.nan, 0.0

    def scale(self, row: Row, value: Scaled) -> Scaled:
        """|value| for variances, sqrt of the two diagonals for covariances, 1 for cosines."""
        kind = QUANTITIES[row.quantity].scale
        if kind == "one":
            return 1.0, 0.0
        if kind == "value" or row.token == row.token_2:
            return abs(value[0]), value[1]
        ends = [
            self.value(Row(row.quantity, row.application, token=t, token_2=t, group=row.group))
            for t in (row.token, row.token_2)
        ]
        # of sampled heads a variance that is zero may come out below
        return math.sqrt(max(ends[0][0], 0.0)) * math.sqrt(max(ends[1][0], 0.0)), (
            ends[0][1] + ends[1][1]
        ) / 2

    def magnitude(self, row: Row, value: Scaled) -> Scaled:
        """What rounding is relative to: the scale, and of sums whose terms can cancel the sum of
        their sizes."""
        with np.errstate(all="ignore"):
            if row.quantity == "weight_gradient":
                return self._weight_gradient(row.group or "", row.application or 0, np.abs)
            if row.quantity in ("logit_variance", "logit_contact"):
                mantissa, log = self._outputs(row.token or 0, np.abs)
                size, log = mantissa, log + 2 * self._temperature(row.token or 0)
                if row.quantity == "logit_variance":
                    return self.arch.head.variance * size, log
                part = self.arch.stem_parts[EMBEDDING]
                return math.sqrt(
                    size * part.variance * float(part.gram[row.token or 0, row.token or 0])
                ), log / 2
            return self.scale(row, value)

    @staticmethod
    def _entry(gram: np.ndarray, log: np.ndarray, at: tuple[int, ...], t: int, s: int) -> Scaled:
        return float(gram[*at, t, s]), float(log[*at, t] + log[*at, s])

    def _token_cosine(self, a: int, t: int, s: int) -> float:
        gram = self.k.states[a]  # (the logarithms of the two sizes cancel)
        return float(gram[t, s] / math.sqrt(gram[t, t] * gram[s, s]))

    def _state_cosine(self, a: int, b: int, t: int) -> float:
        early, late = min(a, b), max(a, b)
        cross = self.k.crossed[late, self.column[early], t, t]
        return float(cross / math.sqrt(self.k.states[a, t, t] * self.k.states[b, t, t]))

    def _write_cosine(self, a: int, b: int, t: int) -> float:
        early, late = self.steps[min(a, b)], self.steps[max(a, b)]
        found = np.flatnonzero(self.k.program.partners[late] == early)
        if not len(found) or self.k.write_pairs is None:
            return 0.0  # no weight in common: the writes are independent
        return float(
            self.k.write_pairs[late, found[0], t, t]
            / math.sqrt(self.k.writes[early, t, t] * self.k.writes[late, t, t])
        )

    def _weight_gradient(
        self, group: str, a: int, of: Callable[[np.ndarray], np.ndarray] = np.asarray
    ) -> Scaled:
        """Of the slot whose first application is a, of the terms as they are or of their sizes.

        The read-out's taps are one slot, a part of the stem another.
        """
        if group in self.arch.stem_parts:
            gram, own = self.k.stem
            mantissa, log = (gram * self.arch.stem_parts[group].gram)[None], own[None]
        else:
            slot = (
                []
                if group == READOUT
                else next(u for u in self.arch.applications_of(group).values() if u[0] == a)
            )
            used = np.flatnonzero(self.k.program.taps) if group == READOUT else self.steps[slot]
            mantissa, log = (table[used] for table in self.k.groups[group])
        found = _sum(of(mantissa.ravel()), (log[:, :, None] + log[:, None, :]).ravel())
        return (math.nan, 0.0) if found[0] == 0 and self._lost(group) else found

    def _lost(self, group: str) -> bool:
        """Whether the state outgrows an update of the group's by more than a float holds, and
        its gradient with it."""
        if group not in self.arch.weights:
            return False
        used = [a for slot in self.arch.applications_of(group).values() for a in slot]
        apart = self.k.state_log[[a + 1 for a in used]] - self.k.write_log[self.steps[used]]
        return bool((apart > LOST).any())

    def _entropy(self, a: int) -> float:
        """-sum p log p / log T over the spectrum p of the read coordinates' Gram, of trace 1."""
        own = np.cumsum(self.arch.bands) <= self.arch.owned[a] + BAND
        log = self.k.state_log[a] - self.k.state_log[a].max()
        gram = np.tensordot(np.array(self.arch.bands) * own, self.k.bands[a], 1) * np.exp(
            log[:, None] + log
        )
        p = np.clip(np.linalg.eigvalsh(gram / np.trace(gram)), TINY, None)
        return float(-(p * np.log(p)).sum() / math.log(len(p)))

    def _apart(self, a: int, t: int, s: int) -> float:
        """1 - cos of two tokens at state a; where no gap is carried, at least the rounding of a
        cosine."""
        cosine = self._token_cosine(a, t, s)
        if self.k.gaps is not None and cosine > 0:
            return max(float(self.k.gaps[a, t, s]) / (1 + cosine), TINY)
        return max(1 - cosine, 2.0**-53) + self.nudge / 2

    def _angle(self, a: int, t: int) -> float:
        """Degrees between h_a and h_{a+1}."""
        x, y, cross = (
            self.k.states[a, t, t],
            self.k.states[a + 1, t, t],
            self.k.crossed[a + 1, self.column[a], t, t],
        )
        return math.degrees(
            math.atan2(math.sqrt(max(x * y - cross * cross, 0.0) + self.nudge * x * y), cross)
        )

    def _total(self, a: int) -> Scaled:
        """sum over tokens of <g_a, g_a>."""
        return _sum(np.diag(self.k.gradients[a]), 2 * self.k.gradient_log[a])

    def _outputs(self, t: int, of: Callable[[np.ndarray], np.ndarray] = np.asarray) -> Scaled:
        """<o_t, o_t> of the read-out's output (of: as ``_weight_gradient``): each tap's with
        itself and twice with every later one."""
        k, taps = self.k, np.flatnonzero(self.k.program.taps)
        found = [(k.writes[p, t, t], 2 * k.write_log[p, t]) for p in taps]
        if k.write_pairs is not None:
            for p in taps:
                for u, q in enumerate(k.program.partners[p]):
                    if q in taps:
                        found.append(
                            (2 * k.write_pairs[p, u, t, t], k.write_log[p, t] + k.write_log[q, t])
                        )
        mantissa, log = np.array(found).T
        return _sum(of(mantissa), log)

    def _temperature(self, t: int) -> float:
        """log of what the head multiplies token t's logits by."""
        return (
            float(self.k.log_norm[self.arch.depth, t])
            if self.arch.head.inverse_temperature
            else 0.0
        )

    def _contact(self, t: int) -> Scaled:
        """The embedding's coefficient in o_t, which is what w_0 has, times its variance."""
        check_contact(self.arch)
        part, (output, log) = self.arch.stem_parts[EMBEDDING], self._outputs(t)
        last, log_last = self._entry(self.k.states, self.k.state_log, (self.arch.depth,), t, t)
        cross = self.k.crossed[self.arch.depth, self.column[0], t, t] / self.arch.input_gram[t, t]
        own_log = (
            self.k.state_log[self.arch.depth, t]
            + self.k.state_log[0, t]
            + (log - log_last) / 2
            + self._temperature(t)
        )
        return float(math.sqrt(output / last) * cross * part.variance * part.gram[t, t]), float(
            own_log
        )

    def _ntk(self, group: str | None, t: int, s: int) -> Scaled:
        if group is None:
            parts = [self._ntk(g, t, s) for g in self.arch.groups]
            return _sum(np.array([p[0] for p in parts]), np.array([p[1] for p in parts]))
        mantissa, log = self.k.ntk[group]
        rows = float(self.arch.weights[group].rows) if group in self.arch.weights else 1.0
        if mantissa[t, s] == 0 and self._lost(group):
            return math.nan, 0.0
        return self.arch.sgd_factors.get(group, 1.0) * rows * float(mantissa[t, s]), float(
            log[t, s]
        )


def _sum(mantissa: np.ndarray, log: np.ndarray) -> Scaled:
    """sum mantissa exp(log), on the largest log of what is not zero."""
    mantissa, log = mantissa[mantissa != 0], log[mantissa != 0]
    if not len(mantissa):
        return 0.0, 0.0
    top = float(log.max())
    return float(np.sum(mantissa * np.exp(log - top))), top


def _tokens(row: Row) -> tuple[int, int]:
    """(t, s): the row's tokens, twice the same where it names one or none."""
    t = row.token or 0
    return t, t if row.token_2 is None else row.token_2


def _state(values: Values, row: Row) -> Scaled:
    return values._entry(
        values.k.states, values.k.state_log, (row.application or 0,), *_tokens(row)
    )


def _rms(values: Values, row: Row) -> Scaled:
    value, log = _state(values, row)
    return math.sqrt(value), log / 2


def _gradient(values: Values, row: Row) -> Scaled:
    at = (row.application or 0,)
    return values._entry(values.k.gradients, values.k.gradient_log, at, *_tokens(row))


def _band_state(values: Values, row: Row) -> Scaled:
    bands = values.k.bands[:, values.arch.band_names.index(row.group or "")]
    return values._entry(bands, values.k.state_log, (row.application or 0,), *_tokens(row))


def _band_gradient(values: Values, row: Row) -> Scaled:
    bands = values.k.gradient_bands[:, values.arch.band_names.index(row.group or "")]
    return values._entry(bands, values.k.gradient_log, (row.application or 0,), *_tokens(row))


def _token_cosine(values: Values, row: Row) -> Scaled:
    return values._token_cosine(row.application or 0, *_tokens(row)), 0.0


def _state_cosine(values: Values, row: Row) -> Scaled:
    a, b = row.application or 0, row.application_2 or 0
    return values._state_cosine(a, b, row.token or 0), 0.0


def _write(values: Values, row: Row) -> Scaled:
    at = (values.steps[(row.application or 1) - 1],)
    return values._entry(values.k.writes, values.k.write_log, at, *_tokens(row))


def _write_cosine(values: Values, row: Row) -> Scaled:
    a, b = row.application or 0, row.application_2 or 0
    return values._write_cosine(a - 1, b - 1, row.token or 0), 0.0


def _slot(values: Values, row: Row) -> Scaled:
    return values._weight_gradient(row.group or "", row.application or 0)


def _participation(values: Values, row: Row) -> Scaled:
    return float(values.k.participation[values.steps[row.application or 0], row.token or 0]), 0.0


def _log_norm(values: Values, row: Row) -> Scaled:
    return float(values.k.log_norm[row.application or 0, row.token or 0]), 0.0


def _modulator(values: Values, row: Row) -> Scaled:
    return float(values.k.modulators[values.steps[row.application or 0], row.token or 0]), 0.0


def _skip_rate(values: Values, row: Row) -> Scaled:
    return float(_modulator(values, row)[0] == 0), 0.0


def _rotation(values: Values, row: Row) -> Scaled:
    return sum(values._angle(a, row.token or 0) for a in range(row.application or 0)), 0.0


def _angle_exponent(values: Values, row: Row) -> Scaled:
    a, (t, s) = row.application or 0, _tokens(row)
    return math.log(values._apart(a + 1, t, s) / values._apart(a, t, s)), 0.0


def _gradient_exponent(values: Values, row: Row) -> Scaled:
    (first, log), (last, log_last) = (values._total(at) for at in (0, values.arch.depth))
    return (math.log(max(first, TINY) / last) + log - log_last) / values.arch.depth, 0.0


def _logit_variance(values: Values, row: Row) -> Scaled:
    value, log = values._outputs(row.token or 0)
    return values.arch.head.variance * value, log + 2 * values._temperature(row.token or 0)


def _cross_entropy(values: Values, row: Row) -> Scaled:
    value, log = _logit_variance(values, row)
    return cross_entropy(value * math.exp(log), values.arch.head.vocabulary or 0), 0.0


PREDICTED: dict[str, Callable[[Values, Row], Scaled]] = {
    "residual_variance": _state,
    "rms": _rms,
    "token_covariance": _state,
    "token_cosine": _token_cosine,
    "state_cosine": _state_cosine,
    "write_variance": _write,
    "write_cosine": _write_cosine,
    "log_norm": _log_norm,
    "rotation": _rotation,
    "band_variance": _band_state,
    "band_covariance": _band_state,
    "matrix_entropy": lambda values, row: (values._entropy(row.application or 0), 0.0),
    "modulator": _modulator,
    "skip_rate": _skip_rate,
    "gradient_variance": _gradient,
    "gradient_covariance": _gradient,
    "band_gradient": _band_gradient,
    "logit_variance": _logit_variance,
    "logit_contact": lambda values, row: values._contact(row.token or 0),
    "cross_entropy": _cross_entropy,
    "participation": _participation,
    "angle_exponent": _angle_exponent,
    "gradient_exponent": _gradient_exponent,
    "weight_gradient": _slot,
    "ntk": lambda values, row: values._ntk(row.group, *_tokens(row)),
}
"""(values, row) -> (mantissa, log) of every quantity that theory has."""

"""A real module held against the theory of its own graph: predicted beside measured, row by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sigprop.errors import InputError, near_miss
from sigprop.inspection.compared import COMPARED, Row, Value, numbers, predictions, unasked
from sigprop.inspection.scattered import one_network
from sigprop.reading.read import Reading, read
from sigprop.reading.sources import called
from sigprop.runtime.progress import Progress, Silent
from sigprop.tables.table import Table
from sigprop.verdict import fit
from sigprop.verdict.decide import Interval
from sigprop.verdict.judgement import CONFIRMED, INCONCLUSIVE, REJECTED, overall
from sigprop.verdict.moments import Moments

Floats = NDArray[np.float64]
ENDS = ("lower", "upper", "simultaneous_lower", "simultaneous_upper")


def inspect(
    model: Any,
    example: Any = None,
    *,
    seeds: int = 4,
    widths: int | Sequence[int] = (),
    weights: Any = None,
    quantities: str | Sequence[str] | None = None,
    tolerances: dict[str, float] | None = None,
    error: float | None = None,
    output: str | int | None = None,
    sampled: bool = False,
    scatter: bool = False,
    progress: Progress | None = None,
) -> Table:
    """Measure a module at every application and judge it against its own prediction.

    model, example: as of ``read`` (a ``Reading`` is taken as it is); seeds: how many networks with
    fresh weights (a module is taken as it is, once: no verdict); widths: two or more, in features:
    ``model`` builds a network of each (and ``example`` may be a function of it), and deviations are
    extrapolated, a + b/n; weights: a module that is measured instead, once (trained, beside what
    was predicted at initialisation: no verdict); quantities: of 'residual_variance',
    'write_variance', 'token_cosine', 'gradient_variance', each the mean over tokens, or pairs of
    them (None: those of these four that theory has), and 'weight_gradient', 'second_moment', over a
    parameter's entries; tolerances: by quantity, relative, of cosines absolute; error: of theory's
    rows, as of ``predict``; output, sampled: as of ``read``; scatter: judge one network instead, by
    the scatter that theory predicts for networks of this width (rejected outside of what all rows
    lie within at once with 99 %, else inconclusive). Returns a ``Table``, a row an
    application and quantity, of the widest network, with a verdict (confirmed: every 90 % interval
    inside its tolerance; rejected: an interval that covers all rows at once with 99 % outside).
    Raises ``InputError`` as ``read`` does. Source: docs/verdict.md (tests/inspection).
    """
    given = (quantities,) if isinstance(quantities, str) else quantities
    widths = (widths,) if isinstance(widths, int) else (*widths,)
    _check(given, seeds, widths)
    if scatter and (widths or tolerances):
        raise InputError(
            f"{'widths' if widths else 'tolerances'}: accepted: without scatter, which judges one "
            f"network by what one may scatter"
        )
    limits = {name: of.tolerance for name, of in COMPARED.items()} | _checked(tolerances or {})
    readings = _readings(model, example, widths, {"output": output, "sampled": sampled})
    if weights is not None:
        readings = [_with(found, weights) for found in readings]
    if scatter:
        rows, verdict, remarks = one_network(readings[-1], given, error, progress or Silent())
        return table(readings[-1], rows, verdict, {"samples": 1, "remarks": remarks})
    quantities, left_out = unasked(readings[-1]) if given is None else ((*given,), [])
    reported = Silent() if progress is None else progress
    reported.start(seeds * len(readings) if readings[0].make else 1, "networks")
    rungs = [_rung(found, quantities, seeds, error, reported) for found in readings]
    count = rungs[-1].values.shape[0]
    interval = _interval(rungs) if count > 1 else None
    rows = _rows(rungs, limits, interval)
    verdict = overall([row["verdict"] for row in rows]) if count > 1 else None
    tolerated = {quantity: limits[quantity] for quantity in quantities}
    more: dict[str, Any] = (
        {"widths": [found.width for found in readings]} if len(readings) > 1 else {}
    )
    more["remarks"] = _needed(rows, interval, limits, count) + list(
        dict.fromkeys([*left_out, *(remark for rung in rungs for remark in rung.remarks)])
    )
    return table(readings[-1], rows, verdict, {"samples": count, "tolerances": tolerated} | more)


def table(
    found: Reading, rows: list[dict[str, Any]], verdict: str | None, notes: dict[str, Any]
) -> Table:
    """Return rows about a module as a table, with what stands out in it as remarks."""
    remarks = [*notes.pop("remarks", ()), *found.findings]
    return Table(
        found.architecture.name,
        dict(found.architecture.parameters),
        rows,
        "inspect",
        verdict=verdict,
        notes={"width": found.width, **notes, "remarks": remarks},
    )


def _check(quantities: Sequence[str] | None, seeds: int, widths: Sequence[int]) -> None:
    unknown = [quantity for quantity in quantities or () if quantity not in COMPARED]
    if unknown or (quantities is not None and not quantities):
        said = repr(unknown[0]) if unknown else "none"
        raise InputError(f"quantities={said}; accepted: {', '.join(COMPARED)}")
    if seeds < 2:
        raise InputError(f"seeds={seeds}; accepted: 2 or more")
    if widths and (len(set(widths)) < 2 or min(widths) < 1):
        raise InputError(
            f"widths={', '.join(map(str, widths))}; accepted: two or more that differ, in features"
        )


def _checked(tolerances: dict[str, float]) -> dict[str, float]:
    """Return tolerances; raises ``InputError`` for a name that is none, or a number that is not
    positive."""
    for quantity, value in tolerances.items():
        if quantity not in COMPARED:
            raise InputError(f"tolerances: {quantity!r}{near_miss(quantity, COMPARED)}")
        if not 0 < value < math.inf:
            raise InputError(f"tolerances: {quantity}={value!r}; accepted: a number > 0")
    return tolerances


def _readings(
    model: Any, example: Any, widths: Sequence[int], how: dict[str, Any]
) -> list[Reading]:
    """Read the module, or the one of every width, narrowest first. how: as ``read`` takes it by
    name."""
    if isinstance(model, Reading):
        if widths:
            raise InputError("widths: accepted: with a function of the width, not a reading")
        if given := [name for name, value in how.items() if value not in (None, False)]:
            raise InputError(
                f"{given[0]}={how[given[0]]!r}: accepted: with a module, not a reading"
            )
        return [model]
    if not widths:
        return [read(model, example, **how)]
    found: list[Reading] = []
    for width in sorted(set(widths)):
        found.append(read(_at(model, width), called(example, width), **how))
        if len(found[-1].paths) != len(found[0].paths):
            raise InputError(
                f"widths={width}: {len(found[-1].paths)} applications, {len(found[0].paths)} at "
                f"{found[0].width}; accepted: networks that differ in width alone"
            )
    if len({reading.width for reading in found}) < len(found):
        raise InputError(
            f"widths: networks of width {', '.join(str(r.width) for r in found)}; accepted: a "
            f"function of the width"
        )
    return found


def _with(found: Reading, module: Any) -> Reading:
    """What was read of a builder, with one module's weights to measure."""
    return replace(found, make=None, built=replace(found.built, module=module))


def _at(model: Any, width: int) -> Callable[[], Any]:
    """The builder of one width; raises ``InputError`` for what is no function of it."""
    if not callable(model):
        raise InputError("model: accepted: with widths, a function of the width")

    def build() -> Any:
        try:
            return model(width)
        except TypeError as error:
            raise InputError(
                f"model: {error}; accepted: with widths, a function of the width"
            ) from error

    return build


class _Rung(NamedTuple):
    """Networks of one width: values [S, R] of the rows, what theory says of these, and of it."""

    reading: Reading
    rows: list[Row]
    values: Floats
    theory: list[Value]
    remarks: list[str]

    @property
    def scale(self) -> Floats:
        """What deviations are divided by, [R]: the prediction, 1 of cosines; of what is predicted
        to be zero, the largest of its quantity that is predicted, else measured."""
        met = abs(self.values).max(axis=0)
        sizes: dict[str, tuple[float, float]] = {}
        for row, theory, value in zip(self.rows, self.theory, met, strict=True):
            predicted, measured = sizes.get(row.quantity, (0.0, 0.0))
            sizes[row.quantity] = max(predicted, abs(theory.value)), max(measured, float(value))
        return np.array(
            [
                1.0
                if COMPARED[row.quantity].absolute
                else next((x for x in (abs(theory.value), *sizes[row.quantity]) if x), 1.0)
                for row, theory in zip(self.rows, self.theory, strict=True)
            ]
        )

    @property
    def deviations(self) -> Floats:
        """[S, R]."""
        return (self.values - np.array([of.value for of in self.theory])) / self.scale

    @property
    def error(self) -> Floats:
        """Theory's own, of a deviation [R]."""
        return np.array([of.error for of in self.theory]) / self.scale


def _rung(
    found: Reading,
    quantities: tuple[str, ...],
    seeds: int,
    error: float | None,
    progress: Progress,
) -> _Rung:
    """Predict and measure the networks of one width."""
    from sigprop.inspection.networks import networks

    predicted, remarks = predictions(found, quantities, error)
    ran = networks(found, range(seeds if found.make is not None else 1), progress.advance)
    each = [numbers(network, found, quantities) for network in ran]
    rows = [row for row in each[0] if row in predicted]
    lacking = set(quantities) - {row.quantity for row in rows}
    if lacking:
        raise InputError(
            f"quantities={sorted(lacking)[0]!r}: the description has no row of it; accepted: "
            f"{', '.join(name for name in COMPARED if name not in lacking)}"
        )
    values = np.array([[one[row] for row in rows] for one in each])
    return _Rung(found, rows, values, [predicted[row] for row in rows], remarks)


def _rows(
    rungs: Sequence[_Rung], limits: dict[str, float], interval: Interval | None
) -> list[dict[str, Any]]:
    """Every row of the widest networks, with its verdict where there is more than one network."""
    last = rungs[-1]
    deviation = last.deviations.mean(axis=0) if interval is None else interval.a
    mean = last.values.mean(axis=0)
    if len(rungs) > 1:
        mean = np.array([of.value for of in last.theory]) + deviation * last.scale
    found: list[dict[str, Any]] = []
    for r, (row, theory) in enumerate(zip(last.rows, last.theory, strict=True)):
        shown: dict[str, Any] = {
            "module": row.module,
            "quantity": row.quantity,
            "application": row.application,
            "measured": float(mean[r]),
            "se": None if interval is None else float(interval.se[r] * last.scale[r]),
            "theory": theory.value,
            "error": theory.error,
            "deviation": float(deviation[r]),
        }
        if interval is not None:
            shown |= {name: float(interval.arrays[name][r]) for name in ENDS}
            shown["tolerance"] = limits[row.quantity]
            shown["verdict"] = _verdict(interval, r, limits[row.quantity])
        found.append(shown)
    return found


def _interval(rungs: Sequence[_Rung]) -> Interval:
    """Of the mean deviation [R], wider by theory's error: at one width, or of a in a + b/n."""
    moments = [Moments.of(rung.deviations, np.ones_like(rung.values)) for rung in rungs]
    if len(rungs) == 1:
        return Interval.at_one_width(moments[0], rungs[0].error)
    x = rungs[0].reading.width / np.array([rung.reading.width for rung in rungs], dtype=float)
    variance = np.stack([np.maximum(m.variance, 1e-30) / m.count for m in moments])
    weight = fit.weights(x, variance, 1)
    wide = sum(abs(w) * rung.error for w, rung in zip(weight[0], rungs, strict=True))
    return Interval.of(fit.fit(moments, weight), np.asarray(wide), 1)


def _needed(
    rows: Sequence[dict[str, Any]], interval: Interval | None, limits: dict[str, float], count: int
) -> list[str]:
    """How many networks would decide the inconclusive row that takes most, if it stays where it
    is."""
    open_rows = [r for r, row in enumerate(rows) if row.get("verdict") == INCONCLUSIVE]
    if not open_rows or interval is None:
        return []
    factors = {r: interval.factor(limits[rows[r]["quantity"]])[r] for r in open_rows}
    worst = max(factors, key=lambda r: factors[r])
    row, place = rows[worst], rows[worst]["module"] or "the stem"
    if not math.isfinite(factors[worst]):
        return [f"inconclusive: no number of networks decides {row['quantity']} at {place}"]
    seeds = math.ceil(count * max(factors[worst], 1.0)) + 1
    return [f"inconclusive: about {seeds} seeds would decide {row['quantity']} at {place}"]


def _verdict(interval: Interval, row: int, tolerance: float) -> str:
    if interval.inside(tolerance)[row]:
        return CONFIRMED
    return REJECTED if interval.outside(tolerance)[row] else INCONCLUSIVE

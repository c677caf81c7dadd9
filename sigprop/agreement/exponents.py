"""``verify --exponents``: slopes of finite networks over a ladder of depths or loops, against
the recursion's slopes on that same ladder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from sigprop.description.architecture import Architecture
from sigprop.description.family import Family
from sigprop.description.growth_rows import COSINE, FIRST, LANE, LAST, Key, growth_rows
from sigprop.description.shapes import Row
from sigprop.errors import InputError
from sigprop.simulations.engines.monte_carlo import engine_for, sample
from sigprop.simulations.measure import check_sizes
from sigprop.simulations.network.precision import SINGLE
from sigprop.tables.table import Table
from sigprop.theory.exponents.table import default_ladder, exponents, sized
from sigprop.verdict.judgement import CONFIRMED, INCONCLUSIVE, REJECTED, overall
from sigprop.verdict.slope import Point, fit

FIRST_LOOK, MOST = 128, 2048  # networks a size: at first, and at most
CONFIRM, REJECT = 0.90, 0.99


def verify_exponents(
    arch: Architecture,
    tolerance: float = 0.05,
    width: int = 256,
    seed: int = 0,
    engine: str = "auto",
    variables: Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
    memory_mib: int = 1024,
    progress: Any = None,
    family: Family | None = None,
    dtype: str = SINGLE,
) -> Table:
    """Is abs(fitted - effective) <= tolerance for every quantity? Rows of ``exponents`` with
    fitted, fitted_se, lower, upper (90 %), verdict.

    fitted: slope of ln(mean over networks) in ln(size), weighted by the means' own errors;
    effective: the recursion's with the same weights. width: of all networks, whose own 1/width the
    tolerance has to cover; dtype: their precision; networks are added, 128 to 2048 a size, until
    the interval is within tolerance/2. rejected: the 99 % interval, Bonferroni over rows, lies
    outside. Raises ``InputError``. Source: docs/exponents.md.
    """
    check_sizes(width=width, seed=seed, memory_mib=memory_mib)
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance={tolerance}; accepted: a number between 0 and 1")
    family = family or arch.family
    for name in variables or ():
        if name not in ("depth", "loops"):
            raise InputError(
                f"variable={name!r}: networks are compared over depth and loops; accepted: depth, "
                f"loops"
            )
    theory = exponents(arch, variables, sizes, family)
    assert family is not None  # ``exponents`` refuses
    rows: list[dict[str, Any]] = []
    for variable in dict.fromkeys(row["variable"] for row in theory):
        own = [
            row
            for row in theory
            if row["variable"] == variable and _measured((row["quantity"], row["group"]))
        ]
        ladder = tuple(sizes or default_ladder(arch))
        measured = _ladder(
            arch,
            family,
            variable,
            ladder,
            width,
            seed,
            engine,
            dtype,
            memory_mib,
            tolerance,
            progress,
        )
        rows += [
            row
            | _judged(row, *measured[row["quantity"], row["group"]], ladder, tolerance, len(own))
            for row in own
            if row["logs"] is not None
        ]
    rows = [{key: value for key, value in row.items() if key != "logs"} for row in rows]
    verdict = overall([row["verdict"] for row in rows])
    notes = {"seed": seed, "engine": engine, "dtype": dtype, "width": width, **(theory.notes or {})}
    return Table(arch.name, dict(arch.parameters), rows, "verify", verdict, notes)


def _measured(key: Key) -> bool:
    """Not first steps (``check`` takes them), nor single groups of the tangent kernel, which are
    weight gradients again."""
    return not key[0].startswith("output_change") and (key[0] != "ntk" or key[1] is None)


def _ladder(
    arch: Architecture,
    family: Family,
    variable: str,
    ladder: Sequence[int],
    width: int,
    seed: int,
    engine: str,
    dtype: str,
    memory: int,
    tolerance: float,
    progress: Any,
) -> dict[Key, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """quantity and group -> (ln mean, its standard error, networks) at every size."""
    found: dict[Key, list[tuple[float, float, int]]] = {}
    x = np.log(np.array(ladder, dtype=float))
    # of each size's ln mean
    allowed = float(
        tolerance / 2 / stats.norm.ppf((1 + CONFIRM) / 2) * math.sqrt(((x - x.mean()) ** 2).sum())
    )
    for size in ladder:
        member = sized(arch, family, variable, size)
        wanted = {key: rows for key, rows in growth_rows(member).items() if _measured(key)}
        every = tuple(row for rows in wanted.values() for row in rows)
        one = engine_for(engine, member, every, width, memory, dtype=dtype)
        for key, value in _enough(
            one, wanted, seed, allowed, progress, f"{variable} {size}"
        ).items():
            found.setdefault(key, []).append(value)
    columns = {
        key: [np.array(column) for column in zip(*v, strict=True)] for key, v in found.items()
    }
    return {key: (mean, se, networks) for key, (mean, se, networks) in columns.items()}


def _enough(
    engine: Any, wanted: dict[Key, list[Row]], seed: int, allowed: float, progress: Any, label: str
) -> dict[Key, tuple[float, float, int]]:
    """ln mean and its error of every quantity, from as many networks as it takes."""
    count = FIRST_LOOK
    while True:
        if progress is not None:
            progress.start(count, label)
        values = sample(engine, count, seed, 0, progress.advance if progress is not None else None)
        found = {
            key: _log_mean(numbers, key) for key, numbers in _quantities(wanted, values).items()
        }
        if count >= MOST or all(error <= allowed for _, error, _ in found.values()):
            return found
        count = min(4 * count, MOST)


def _quantities(wanted: dict[Key, list[Row]], values: np.ndarray) -> dict[Key, np.ndarray]:
    """[networks] of each quantity: sums over tokens and slots network by network."""
    ends = np.cumsum([len(rows) for rows in wanted.values()])
    parts = {
        key: values[:, end - len(rows) : end].sum(axis=1)
        for (key, rows), end in zip(wanted.items(), ends, strict=True)
    }
    found = {key: part for key, part in parts.items() if key[0] not in (LAST, FIRST, COSINE, LANE)}
    if (LANE, None) in parts:
        return {("residual_rms", None): np.exp(2 * parts[LANE, None])} | found
    last, first, cosine = (parts[name, None] for name in (LAST, FIRST, COSINE))
    return {
        ("residual_rms", None): last,
        ("update", None): last + first - 2 * cosine * np.sqrt(last * first),
    } | found


def _log_mean(numbers: np.ndarray, key: Key) -> tuple[float, float, int]:
    """ln of the mean (half of it for rms values) and its standard error."""
    power = 0.5 if key[0] in ("residual_rms", "update") else 1.0
    mean = float(numbers.mean())
    if mean <= 0:
        return -math.inf, 0.0, len(numbers)
    return (
        power * math.log(mean),
        power * float(numbers.std(ddof=1)) / math.sqrt(len(numbers)) / mean,
        len(numbers),
    )


def _judged(
    row: dict[str, Any],
    logs: np.ndarray,
    errors: np.ndarray,
    counts: np.ndarray,
    ladder: Sequence[int],
    tolerance: float,
    rows: int,
) -> dict[str, Any]:
    """fitted beside effective, both with the weights of the networks' errors, and what their
    difference says."""
    found = fit(
        ladder, [Point(*one) for one in zip(logs, errors, counts, strict=True)], row["logs"]
    )
    half, far = (
        float(stats.norm.ppf(1 - (1 - level) / 2)) * found.se
        for level in (CONFIRM, 1 - (1 - REJECT) / rows)
    )
    off = found.slope - found.reference
    verdict = (
        CONFIRMED
        if abs(off) + half <= tolerance
        else REJECTED
        if abs(off) - far > tolerance
        else INCONCLUSIVE
    )
    said = {
        "fitted": found.slope,
        "fitted_se": found.se,
        "deviation": off,
        "lower": off - half,
        "upper": off + half,
    }
    return (
        {"effective": found.reference}
        | said
        | {"tolerance": tolerance, "samples": int(counts.max()), "verdict": verdict}
    )

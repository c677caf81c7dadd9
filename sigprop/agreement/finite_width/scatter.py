"""Predicted scatter and shift of finite networks (``sp.fluctuations``) against networks.

n Var and n (mean - value) of networks at three widths, extrapolated to 1/n = 0 by the parabola
through the three: a + b/n + c/n^2, whose weights are fixed, so that a is unbiased up to n^-3. The
next order is visible: rows of n_variance = 12 value^2 are a fifth off at n = 64, and the square of
that is what a straight line leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sigprop.description.architecture import Architecture
from sigprop.description.shapes import Row
from sigprop.simulations.engines.monte_carlo import engine_for, sample
from sigprop.theory.fluctuations.fluctuations import SETS, UNITS, fluctuations
from sigprop.theory.predictions.evaluate import half_width

NETWORKS = {64: 16000, 128: 48000, 256: 64000}
"""Width to networks: a Gaussian row's n Var to 2 %, its n (mean - value) to 0.2 standard deviations
of sqrt(n) times one network."""
CERTAIN = 1e-9  # n Var over scale^2 below which every network has the row alike, within rounding
ROUNDING = 1e-6  # of a float32 network's row, relative to its scale
BOUND = 2.576  # half a 99 % interval, in standard errors of a normal
MEMORY_MIB = 1024
Vector = Float[np.ndarray, " R"]


class Found(NamedTuple):
    """What networks have at 1/n = 0, [R] each, with standard errors."""

    variance: Vector
    variance_se: Vector
    shift: Vector
    shift_se: Vector


def against_networks(
    arch: Architecture,
    networks: Mapping[int, int] = NETWORKS,
    *,
    seed: int = 0,
    units: int = UNITS,
    quantities: Sequence[str] | None = None,
    applications: Sequence[int] | None = None,
    said: Architecture | None = None,
) -> list[dict[str, Any]]:
    """Compare every row of ``fluctuations`` with networks.

    arch: what is sampled; networks: three widths, and how many of each; seed: of the networks;
    units, quantities, applications: as of ``fluctuations``; said: whose prediction it is compared
    with, of the same rows (default: arch's own). Returns the predicted rows with networks_variance,
    networks_shift, their errors ``_se``, ``variance_off`` (relative), ``variance_z`` and
    ``shift_z``: the deviation over its standard error, that of the theory included, None for a row
    that every network has alike in theory and in fact. Raises ``InputError`` as ``fluctuations``
    does. Source: docs/finite-width.md, "Against networks";
    tests/agreement/finite_width/test_scatter.py.
    """
    predicted = fluctuations(said or arch, quantities, applications, units=units)
    table = [dict(row) for row in predicted]
    rows = tuple(
        Row(**{key: row[key] for key in Row.__dataclass_fields__ if key in row}) for row in table
    )
    scale = np.array([row["scale"] for row in table])
    value = np.array([row["value"] for row in table])
    parts = {}
    for n, count in networks.items():
        engine = engine_for("auto", arch, rows, n, MEMORY_MIB, typical=count)
        parts[n] = sample(engine, count, seed)
    found = at_infinity(parts, value)
    return [
        _compared(row, found, k, float(scale[k]), tuple(networks)) for k, row in enumerate(table)
    ]


def weights(widths: tuple[int, ...]) -> Float[np.ndarray, " k"]:
    """Return what values at widths are multiplied by for the value at 1/n = 0 of the polynomial in
    1/n through all of them (Lagrange)."""
    x = 1 / np.array(widths, dtype=float)
    return np.array([np.prod([b / (b - a) for b in x if b != a]) for a in x])


def at_infinity(networks: Mapping[int, Float[np.ndarray, "m R"]], value: Vector) -> Found:
    """Extrapolate n Var and n (mean - value) of networks' rows by width; value: the wide limit."""
    w, n = weights(tuple(networks)), np.array(list(networks), dtype=float)
    each = [variance(rows) for rows in networks.values()]
    factor = (w * n)[:, None]
    scatter, error = (np.stack([part[i] for part in each]) for i in (0, 1))
    count = np.array([len(rows) for rows in networks.values()])[:, None]
    mean = np.stack([rows.mean(axis=0) for rows in networks.values()])
    return Found(
        (factor * scatter).sum(axis=0),
        np.sqrt((factor**2 * error).sum(axis=0)),
        (factor * (mean - value)).sum(axis=0),
        np.sqrt((factor**2 * scatter / count).sum(axis=0)),
    )


def variance(rows: Float[np.ndarray, "m R"]) -> tuple[Vector, Vector]:
    """Return the unbiased variance of each column, and the unbiased estimate of that estimate's own
    variance, (2 m k2^2 + (m - 1) k4)/(m (m + 1)) with Fisher's k-statistics (Kendall and Stuart,
    section 12.16); the latter floored at a hundredth of a Gaussian's, which chance can undercut."""
    m = len(rows)
    centred = rows - rows.mean(axis=0)
    m2, m4 = (centred**2).mean(axis=0), (centred**4).mean(axis=0)
    k2 = m2 * m / (m - 1)
    k4 = m**2 * ((m + 1) * m4 - 3 * (m - 1) * m2**2) / ((m - 1) * (m - 2) * (m - 3))
    own = (2 * m * k2**2 + (m - 1) * k4) / (m * (m + 1))
    return k2, np.maximum(own, 0.01 * 2 * k2**2 / m)


def _compared(
    row: dict[str, Any], found: Found, k: int, scale: float, widths: tuple[int, ...]
) -> dict[str, Any]:
    """Return a predicted row with what networks have, and how far apart the two are."""
    measured, shift = float(found.variance[k]), float(found.shift[k])
    factor = weights(widths) * np.array(widths)
    numbers: dict[str, Any] = {
        "networks_variance": measured,
        "networks_variance_se": float(found.variance_se[k]),
        "networks_shift": shift,
        "networks_shift_se": float(found.shift_se[k]),
    }
    limit = CERTAIN * scale**2
    if row["n_variance"] <= limit and measured <= limit:  # 0, of a row that is 0 in every network
        return row | numbers | {"variance_off": None, "variance_z": None, "shift_z": None}
    # the limit's own error is the same at all widths
    known = abs(factor).sum() * ROUNDING * scale, abs(factor.sum()) * row["error"] / BOUND
    return (
        row
        | numbers
        | {
            "variance_off": measured / row["n_variance"] - 1 if row["n_variance"] else np.inf,
            "variance_z": _z(
                measured - row["n_variance"],
                (float(found.variance_se[k]),),
                row["n_variance_error"],
            ),
            "shift_z": _z(
                shift - row["n_shift"], (float(found.shift_se[k]), *known), row["n_shift_error"]
            ),
        }
    )


def _z(deviation: float, errors: tuple[float, ...], half: float) -> float:
    """Return the normal's quantile at which a deviation's tail probability lies.

    errors: standard errors known from many networks; half: half of the theory's 99 % interval, over
    ``SETS`` sets, hence Student's t with Welch and Satterthwaite's degrees of freedom.
    """
    from scipy.special import ndtri, stdtr

    own = half / (half_width(SETS) * SETS**0.5)
    total = sum(error**2 for error in errors) + own**2
    freedom = (SETS - 1) * (total / own**2) ** 2 if own else np.inf
    t = abs(deviation) / total**0.5
    # beyond what a double tells from 0 the tail is not inverted
    tail = stdtr(freedom, -t) if np.isfinite(freedom) and freedom < 1e6 else None
    size = t if tail is None or tail < 1e-300 else -float(ndtri(tail))
    return float(np.copysign(size, deviation))

"""The one function that decides: pilot, main run, at most one extension, verdict
(docs/verdict.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from sigprop.errors import Diverged
from sigprop.verdict.judgement import INCONCLUSIVE, Judgement
from sigprop.verdict.moments import Booleans, Floats
from sigprop.verdict.run import Run
from sigprop.verdict.sampling import Sampler, Source
from sigprop.verdict.sizing import DEGREE


def judge(
    sampler: Sampler,
    theory: ArrayLike,
    scale: ArrayLike,
    error: ArrayLike = 0.0,
    *,
    tolerance: float = 0.01,
    widths: Sequence[int] = (1, 2, 4, 8),
    start_width: int | None = None,
    half_rung: bool = True,
    ceiling: int = 1024,
    cost: Callable[[int], float] | None = None,
    samples: int | Sequence[int] | None = None,
    max_cost: float | None = None,
    identities: ArrayLike | None = None,
    on_average: ArrayLike | None = None,
    rounding: float = 1e-4,
    progress: Callable[[str, int, int], None] | None = None,
) -> Judgement:
    """Is |lim (mean - theory)/scale| <= tolerance on every row? confirmed, rejected or
    inconclusive.

    Per row d = a + b/n + c/n^2 over the widths n1/2, n1 x widths; a +- 90 % inside +-tolerance on
    all rows confirms (false confirmation <= 5 %), a simultaneous 99 % interval outside +-tolerance
    on some row rejects (false rejection <= 1 %). A true theory is confirmed with probability 0.95,
    one that is 2 x tolerance off in one row rejected with 0.9.

    sampler: (width, samples, stream) -> [samples, R], may raise ``Diverged``. theory, scale: [R],
    scale > 0. error: [R] absolute numerical error of the theory. widths: ascending factors of n1.
    start_width: first n1 (default 32, must be even; n1 only doubles). half_rung: also sample n1/2,
    where curvature is cheap to see; without it n1 may leap (``pilot.climb``) and the same precision
    costs about twice as much and needs at least three widths. ceiling: largest width ever sampled.
    cost: of a network of a width (default n^2). samples: networks a rung and look instead of
    planned ones (one number or one a rung, smallest width first). max_cost: limit on the sum of
    cost over everything sampled; a run that would exceed it shrinks, down to 200 networks a rung
    (the pilot, at 1 % the cost of some 20,000 networks of width n1, is never cut). identities: [R]
    boolean, rows that hold in every network, compared to ``rounding`` (in d) and to nothing else:
    they reject, and never confirm (with no other row the verdict is inconclusive); on_average: [R]
    boolean, those of them whose mean is compared, not every network. progress: (phase and width,
    done, of how many). Raises ``ValueError`` naming an argument that cannot be used.
    """
    theory, scale = np.asarray(theory, dtype=float), np.asarray(scale, dtype=float)
    rows = len(theory)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.broadcast_to(np.asarray(error, dtype=float), (rows,)) / (
            scale if scale.shape == theory.shape else 1.0
        )
    fixed = np.zeros(rows, dtype=bool) if identities is None else np.asarray(identities, dtype=bool)
    average = fixed & (False if on_average is None else np.asarray(on_average, dtype=bool))
    n1 = 32 if start_width is None else int(start_width)
    factors = np.array(([0.5] if half_rung else []) + [float(w) for w in widths])
    counts = [samples] * len(factors) if isinstance(samples, int) else samples
    _check(theory, scale, relative, fixed, tolerance, factors, n1, half_rung, ceiling)
    if counts is not None and (len(counts) != len(factors) or min(counts) < 2):
        raise ValueError(
            f"samples={samples}; accepted: one number or {len(factors)}, each 2 or more"
        )
    source = Source(sampler, theory, scale, cost or (lambda n: float(n) ** 2), progress)
    run = Run(
        source,
        relative,
        tolerance,
        factors,
        ceiling,
        fixed,
        average,
        rounding,
        np.inf if max_cost is None else max_cost,
        counts,
    )
    try:
        return run.go(n1)
    except Diverged as bad:
        return run.report(INCONCLUSIVE, str(bad), None)


def _check(
    theory: Floats,
    scale: Floats,
    error: Floats,
    fixed: Booleans,
    tolerance: float,
    factors: Floats,
    n1: int,
    half: bool,
    ceiling: int,
) -> None:
    if (
        theory.ndim != 1
        or scale.shape != theory.shape
        or fixed.shape != theory.shape
        or not len(theory)
    ):
        raise ValueError(
            f"theory, scale, identities: shapes {theory.shape}, {scale.shape}, {fixed.shape}; "
            f"accepted: one row or more each"
        )
    if not (np.isfinite(theory).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError("theory, scale: accepted: finite, scale > 0")
    if not (np.isfinite(error).all() and (error >= 0).all()):
        raise ValueError("error: accepted: finite, not negative")
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance={tolerance}; accepted: between 0 and 1")
    if len(factors) < DEGREE + 1 or (np.diff(factors) <= 0).any() or 1.0 not in factors:
        raise ValueError(
            f"widths={list(factors)}; accepted: ascending factors from 1, {DEGREE + 1} rungs or "
            f"more with n1/2"
        )
    if n1 < 1 or (half and n1 % 2) or n1 * factors[-1] > ceiling:
        raise ValueError(
            f"start_width={n1}; accepted: even, and {factors[-1]:g} times it at most "
            f"ceiling={ceiling}"
        )

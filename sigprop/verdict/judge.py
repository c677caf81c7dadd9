"""The one function that decides: pilot, main run, at most one extension, verdict
(docs/verdict.md).

Per row d = a + b/n + c/n^2 over the widths n1/2, n1 x widths; a +- 90 % inside +-tolerance on all
rows confirms (false confirmation <= 5 %), a simultaneous 99 % interval outside +-tolerance on some
row rejects (false rejection <= 1 %). A true theory is confirmed with probability 0.95, one that is
2 x tolerance off in one row rejected with 0.9.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from sigprop.verdict.judgement import Judgement, Predicted, Terms, Tested
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
    predicted: Predicted | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Judgement:
    """Test if |lim (mean - theory)/scale| <= tolerance on every row: confirmed, rejected or
    inconclusive.

    theory, scale, error, identities, on_average, predicted: of ``Tested``; the others of ``Terms``;
    sampler: a ``Sampler``, may raise ``Diverged``; progress: (phase and width, done, of how many).
    Raises ``ValueError`` naming an argument that cannot be used.
    """
    tested = _tested(theory, scale, error, identities=identities, on_average=on_average)
    tested = replace(tested, predicted=predicted)
    terms = Terms(
        tolerance=tolerance,
        rounding=rounding,
        widths=widths,
        half_rung=half_rung,
        start_width=32 if start_width is None else int(start_width),
        ceiling=ceiling,
        samples=samples,
        max_cost=max_cost,
    )
    _check(tested, terms)
    source = Source(sampler, tested.theory, tested.scale, cost or _square, progress)
    return Run(source, tested, terms).judge()


def _square(width: int) -> float:
    """Return what a network of this width costs, where nothing better is known."""
    return float(width) ** 2


def _tested(
    theory: ArrayLike,
    scale: ArrayLike,
    error: ArrayLike,
    *,
    identities: ArrayLike | None,
    on_average: ArrayLike | None,
) -> Tested:
    """Return the rows as arrays, unchecked."""
    theory, scale = np.asarray(theory, dtype=float), np.asarray(scale, dtype=float)
    count = len(theory)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.broadcast_to(np.asarray(error, dtype=float), (count,)) / (
            scale if scale.shape == theory.shape else 1.0
        )
    fixed = np.zeros(count, dtype=bool) if identities is None else np.asarray(identities, bool)
    average = fixed & (False if on_average is None else np.asarray(on_average, dtype=bool))
    return Tested(theory, scale, relative, fixed, average)


def _check(tested: Tested, terms: Terms) -> None:
    """Raise ``ValueError`` for an argument that cannot be used."""
    _check_rows(tested)
    factors, n1, ceiling = terms.factors, terms.start_width, terms.ceiling
    if not 0 < terms.tolerance < 1:
        raise ValueError(f"tolerance={terms.tolerance}; accepted: between 0 and 1")
    if len(factors) < DEGREE + 1 or (np.diff(factors) <= 0).any() or 1.0 not in factors:
        raise ValueError(
            f"widths={list(factors)}; accepted: ascending factors from 1, {DEGREE + 1} rungs or "
            f"more with n1/2"
        )
    if n1 < 1 or (terms.half_rung and n1 % 2) or n1 * factors[-1] > ceiling:
        raise ValueError(
            f"start_width={n1}; accepted: even, and {factors[-1]:g} times it at most "
            f"ceiling={ceiling}"
        )
    counts = terms.counts
    if counts is not None and (len(counts) != len(factors) or min(counts) < 2):
        raise ValueError(
            f"samples={terms.samples}; accepted: one number or {len(factors)}, each 2 or more"
        )


def _check_rows(tested: Tested) -> None:
    """Raise ``ValueError`` for rows that cannot be judged."""
    theory, scale, fixed, error = tested.theory, tested.scale, tested.identities, tested.error
    alike = theory.shape == scale.shape == fixed.shape
    if tested.predicted is not None:
        alike &= tested.predicted.slope.shape == tested.predicted.error.shape == theory.shape
    if theory.ndim != 1 or not alike or not len(theory):
        raise ValueError(
            f"theory, scale, identities: shapes {theory.shape}, {scale.shape}, {fixed.shape}; "
            f"accepted: one row or more each"
        )
    if not (np.isfinite(theory).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError("theory, scale: accepted: finite, scale > 0")
    if not (np.isfinite(error).all() and (error >= 0).all()):
        raise ValueError("error: accepted: finite, not negative")

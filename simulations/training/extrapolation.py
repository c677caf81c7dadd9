"""Responses at infinite width, from those at several widths.

Every number is fitted by a + b/n, or a + b/n + c/n^2 from four widths on: least squares weighted by
1/se^2, whose standard error of a is that of the widths' standard errors (no misfit is added).
Derived: tests/simulations/training/test_extrapolation.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from sigprop.errors import InputError
from sigprop.simulations.training.response import Estimate, Response

CURVED = 4  # widths from which on 1/n^2 is fitted too
ROUNDING = 1e-7
"""Of a value: a standard error is taken to be no less, where every network gives the same."""


def extrapolated(responses: Sequence[Response]) -> Response:
    """Return the responses' limit at infinite width, with standard errors; width is infinite,
    samples are those of all, the seed is the first's.

    responses: of one description and optimiser, at two or more widths, each once. Raises
    ``InputError``.
    """
    widths = [float(r.width) for r in responses]
    names = {(r.settings, r.weights, r.state.value.shape) for r in responses}
    if len(set(widths)) < 2 or len(set(widths)) < len(widths) or len(names) > 1:
        raise InputError(
            f"responses: widths {widths} of {len(names)} description(s); accepted: two or more "
            f"different widths of one description"
        )
    first = responses[0]
    limits = {
        name: _limit(np.array(widths), [getattr(r, name) for r in responses])
        for name in ("output", "state", "effective", "propagating")
    }
    samples = sum(r.samples for r in responses)
    return first._replace(**limits, width=math.inf, samples=samples)


def _limit(widths: Float[np.ndarray, " N"], estimates: list[Estimate]) -> Estimate:
    """Fit every number, and return the constants."""
    powers = 3 if len(widths) >= CURVED else 2
    scaled = widths.min() / widths
    columns = np.stack([scaled**k for k in range(powers)], axis=-1)  # [N, powers]
    values = np.stack([e.value for e in estimates], axis=-1)  # [..., N]
    size = np.abs(values).max(axis=-1, keepdims=True)
    errors = np.stack([e.se for e in estimates], axis=-1)
    errors = np.maximum(errors, np.where(size > 0, ROUNDING * size, 1.0))
    there = np.asarray(np.isfinite(values).all(axis=-1, keepdims=True))
    # where there is no number: any, which is taken out below
    values, errors = (np.where(there, x, 1.0) for x in (values, errors))
    # relative to the least error, so that the normal equations neither over- nor underflow
    unit = errors.min(axis=-1, keepdims=True)
    weighted = columns * (unit / errors)[..., None]  # [..., N, powers]
    inverse = np.linalg.pinv(weighted)  # [..., powers, N]
    constant = (inverse[..., 0, :] * values * unit / errors).sum(axis=-1)
    error = unit[..., 0] * np.sqrt((inverse[..., 0, :] ** 2).sum(axis=-1))
    error = np.where(size[..., 0] == 0, 0.0, error)  # zero at every width is zero
    return Estimate(*(np.where(there[..., 0], x, np.nan) for x in (constant, error)))

"""Rows about directions: angles between one network's vectors, and the numbers of each token
that come with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.shapes import Row
from sigprop.simulations.network.inner import dot
from sigprop.simulations.network.trace import Trace

# squared distance of unit vectors: below it, rounding
LEAST_APART = {"float32": 1e-12, "float64": 1e-30}


def _cosines(rows: Sequence[Row], vectors: Any, offset: int) -> Any:
    """cos(x_a[t], x_b[t]) of vectors [A, T, n], row by row; 0 with a zero vector (every unit of
    a narrow relu layer may be off)."""
    t = np.array([row.token for row in rows])
    x = vectors[np.array([(row.application or 0) - offset for row in rows]), t]
    y = vectors[np.array([(row.application_2 or 0) - offset for row in rows]), t]

    # (one by one: their product may overflow)
    def unit(u, size):
        return u / jnp.where(size == 0, jnp.ones_like(size), size)[:, None]

    return (unit(x, jnp.sqrt((x * x).sum(-1))) * unit(y, jnp.sqrt((y * y).sum(-1)))).sum(-1)


def token_cosine(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    """From the states' Grams; 0 with a zero vector, as ``_cosines``."""
    a, t, s = (
        np.array([getattr(row, key) for row in rows]) for key in ("application", "token", "token_2")
    )

    def size(at):
        found = jnp.sqrt(trace.grams[a, at, at])
        return jnp.where(found == 0, jnp.ones_like(found), found)

    return trace.grams[a, t, s] / size(t) / size(s)


def state_cosine(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    return _cosines(rows, trace.lanes[0], 0)


def write_cosine(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    return _cosines(rows, trace.writes, 1)


def participation(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    return trace.participation[
        np.array([row.application for row in rows]), np.array([row.token for row in rows])
    ]


def log_norm(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    return trace.log_norm[
        np.array([row.application for row in rows]), np.array([row.token for row in rows])
    ]


def modulator(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    return trace.modulators[
        np.array([row.application for row in rows]), np.array([row.token for row in rows])
    ]


def skip_rate(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    m = modulator(rows, arch, shapes, trace, gradients, tables)
    return (m == 0).astype(m.dtype)


def rotation(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    """Degrees, each angle from its sine and cosine (no cancellation)."""
    unit = trace.lanes[0] / jnp.sqrt((trace.lanes[0] ** 2).sum(-1, keepdims=True))
    cosine = (unit[:-1] * unit[1:]).sum(-1)
    sine = jnp.sqrt(((unit[1:] - cosine[..., None] * unit[:-1]) ** 2).sum(-1))
    turned = jnp.cumsum(jnp.rad2deg(jnp.arctan2(sine, cosine)), axis=0)
    return turned[
        np.array([(row.application or 1) - 1 for row in rows]),
        np.array([row.token for row in rows]),
    ]


def angle_exponent(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    """log of (1 - cos)/(1 - cos), 1 - cos as half the squared distance of unit vectors (no
    cancellation)."""
    a, t, s = (
        np.array([getattr(row, key) for row in rows]) for key in ("application", "token", "token_2")
    )
    unit = trace.lanes[0] / jnp.sqrt((trace.lanes[0] ** 2).sum(-1, keepdims=True))
    least = LEAST_APART[unit.dtype.name]

    def apart(at):
        return jnp.maximum(((unit[at, t] - unit[at, s]) ** 2).sum(-1), least)

    return jnp.log(apart(a + 1) / apart(a))


def matrix_entropy(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    at = np.array([row.application for row in rows])
    x = trace.lanes[0][at]
    own = np.arange(x.shape[-1]) + 0.5 < arch.owned[at][:, None] * x.shape[-1]  # [rows, n]
    # scale-free, and squares stay finite
    x = x / jnp.abs(x).max(axis=(1, 2), keepdims=True) * jnp.asarray(own, dtype=x.dtype)[:, None]
    gram = dot(x, x)
    p = jnp.clip(
        jnp.linalg.eigvalsh(gram / jnp.trace(gram, axis1=1, axis2=2)[:, None, None]), 1e-30
    )
    return -(p * jnp.log(p)).sum(-1) / float(np.log(arch.tokens))


def participation_ratio(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    found = []
    for row in rows:
        units = trace.inputs[row.group or ""][row.application]
        energy = (units / jnp.abs(units).max()) ** 2  # [T, m]
        mean, own = energy.mean(axis=0), float(arch.owned[row.application or 0])
        found.append(mean.sum() ** 2 / (own * units.shape[-1] * (mean * mean).sum()))
    return jnp.stack(found)

"""Rows about directions: angles between one network's vectors, and the numbers of each token
that come with them."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from sigprop.description.shapes import Row
from sigprop.simulations.network.inner import dot
from sigprop.simulations.observables.outcome import Outcome, applications, tokens

# squared distance of unit vectors: below it, rounding
LEAST_APART = {"float32": 1e-12, "float64": 1e-30}


def _pairs(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each row's application and two tokens."""
    return applications(rows), tokens(rows), np.array([row.token_2 for row in rows])


def _cosines(rows: Sequence[Row], vectors: jax.Array, offset: int) -> jax.Array:
    """Return cos(x_a[t], x_b[t]) of vectors [A, T, n], row by row; 0 with a zero vector (every
    unit of a narrow relu layer may be off)."""
    t = tokens(rows)
    x = vectors[np.array([(row.application or 0) - offset for row in rows]), t]
    y = vectors[np.array([(row.application_2 or 0) - offset for row in rows]), t]

    # (one by one: their product may overflow)
    def unit(u, size):
        return u / jnp.where(size == 0, jnp.ones_like(size), size)[:, None]

    return (unit(x, jnp.sqrt((x * x).sum(-1))) * unit(y, jnp.sqrt((y * y).sum(-1)))).sum(-1)


def token_cosine(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return cosines from the states' Grams; 0 with a zero vector, as ``_cosines``."""
    a, t, s = _pairs(rows)

    def size(at):
        root = jnp.sqrt(outcome.trace.grams[a, at, at])
        return jnp.where(root == 0, jnp.ones_like(root), root)

    return outcome.trace.grams[a, t, s] / size(t) / size(s)


def state_cosine(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return cosines between two states of one token."""
    return _cosines(rows, outcome.trace.lanes[0], 0)


def write_variance(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return the mean square of a write's coordinates."""
    written = outcome.trace.writes[applications(rows) - 1, tokens(rows)]
    return (written * written).mean(-1)


def write_cosine(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return cosines between two writes of one token."""
    return _cosines(rows, outcome.trace.writes, 1)


def participation(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return sum_s Omega_ts^2 of attention."""
    return outcome.trace.participation[applications(rows), tokens(rows)]


def log_norm(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return the log of what norms have divided the state by."""
    return outcome.trace.log_norm[applications(rows), tokens(rows)]


def modulator(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return each token's modulator."""
    return outcome.trace.modulators[applications(rows), tokens(rows)]


def skip_rate(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return 1 where a token was skipped, else 0."""
    m = modulator(rows, outcome)
    return (m == 0).astype(m.dtype)


def rotation(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return degrees, each angle from its sine and cosine (no cancellation)."""
    unit = outcome.trace.lanes[0] / jnp.sqrt((outcome.trace.lanes[0] ** 2).sum(-1, keepdims=True))
    cosine = (unit[:-1] * unit[1:]).sum(-1)
    sine = jnp.sqrt(((unit[1:] - cosine[..., None] * unit[:-1]) ** 2).sum(-1))
    turned = jnp.cumsum(jnp.rad2deg(jnp.arctan2(sine, cosine)), axis=0)
    return turned[
        np.array([(row.application or 1) - 1 for row in rows]),
        tokens(rows),
    ]


def angle_exponent(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return the log of (1 - cos)/(1 - cos), 1 - cos as half the squared distance of unit vectors
    (no cancellation)."""
    a, t, s = _pairs(rows)
    unit = outcome.trace.lanes[0] / jnp.sqrt((outcome.trace.lanes[0] ** 2).sum(-1, keepdims=True))
    least = LEAST_APART[unit.dtype.name]

    def apart(at):
        return jnp.maximum(((unit[at, t] - unit[at, s]) ** 2).sum(-1), least)

    return jnp.log(apart(a + 1) / apart(a))


def matrix_entropy(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return the entropy of the eigenvalues of the tokens' Gram, over log T."""
    at = applications(rows)
    x = outcome.trace.lanes[0][at]
    mask = np.arange(x.shape[-1]) + 0.5 < outcome.arch.owned[at][:, None] * x.shape[-1]  # [rows, n]
    # scale-free, and squares stay finite
    x = x / jnp.abs(x).max(axis=(1, 2), keepdims=True) * jnp.asarray(mask, dtype=x.dtype)[:, None]
    gram = dot(x, x)
    p = jnp.clip(
        jnp.linalg.eigvalsh(gram / jnp.trace(gram, axis1=1, axis2=2)[:, None, None]), 1e-30
    )
    return -(p * jnp.log(p)).sum(-1) / float(np.log(outcome.arch.tokens))


def participation_ratio(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return the share of hidden units that carry the energy."""
    ratios = []
    for row in rows:
        units = outcome.trace.inputs[row.group or ""][row.application]
        energy = (units / jnp.abs(units).max()) ** 2  # [T, m], of experts [E, T, m]
        mean, share = energy.mean(axis=-2), float(outcome.arch.owned[row.application or 0])
        ratios.append(mean.sum() ** 2 / (share * mean.size * (mean * mean).sum()))
    return jnp.stack(ratios)

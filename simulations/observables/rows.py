"""From one network's vectors to the rows of a table: every number is an inner product of vectors
of that network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.quantities import QUANTITIES
from sigprop.description.shapes import Row
from sigprop.simulations.network.inner import dot
from sigprop.simulations.network.matrices import Matrices
from sigprop.simulations.network.passes import run
from sigprop.simulations.network.trace import Probes, Trace, zero_probes
from sigprop.simulations.network.twin import Setting, Twin, control, looks_back
from sigprop.simulations.network.twins.answers import Back
from sigprop.simulations.network.twins.uses import normals_of, transposed_normals_of
from sigprop.simulations.network.weights import Shape
from sigprop.simulations.observables import geometry, gradients
from sigprop.simulations.observables import logits as head
from sigprop.simulations.observables.outcome import Outcome, applications, tokens

Forward = Callable[[Probes, Any], tuple[tuple[jax.Array, Any], Trace]]
"""(probes, the matrices' state) -> ((taps, state), trace)."""


def network_rows(
    arch: Architecture,
    rows: Sequence[Row],
    shapes: tuple[Shape, ...],
    matrices: Matrices,
    *,
    parts: dict[str, jax.Array],
    readout: jax.Array,
    tables: dict[str, Any],
    key: Any = None,
    twin: Twin | None = None,
    needed: Sequence[str] = (),
) -> tuple[jax.Array, jax.Array]:
    """([rows] values, first application whose <h, h> is not finite or D + 1) of one network; with
    a twin [2 rows], those without its deviations behind.

    parts {part of the stem: [T, n]}; readout [T + 1, n]: v_t for the tokens, then the v that tokens
    share (for the NTK); key: of dropout's masks and of the head's words; needed: the averages of
    its twin that are looked at (``twin.needed``).
    """
    stem: Any = sum(parts.values())

    def forward(probes: Probes, state: Any) -> tuple[tuple[jax.Array, Any], Trace]:
        trace, state = run(
            arch, shapes, stem, matrices, state=state, tables=tables, probes=probes, key=key
        )
        return (trace.taps, state), trace

    probes = zero_probes(arch, shapes, readout.shape[1], readout.dtype)
    cotangents = _cotangents(arch, rows, readout)
    trace, pulled = _pass(forward, probes, matrices, cotangents)
    outcome = Outcome(arch, trace, pulled, tables | {"parts": parts, "key": key})
    diverged = jnp.where(trace.finite.all(), arch.depth + 1, jnp.argmin(trace.finite))
    values = _measured(rows, outcome)
    if twin is not None:
        setting = Setting(arch, {s.name: s for s in shapes}, frozenset(needed))
        normals, back = normals_of(arch, matrices, trace.inputs), None
        if looks_back(needed):
            assert cotangents is not None
            came = pulled["v"].outputs
            transposed = transposed_normals_of(arch, matrices, trace.inputs, came)
            back = Back(transposed, cotangents[0])
        off = control(setting, twin, stem, normals, matrices.bias, tables, back)
        values = jnp.concatenate([values, values - off])
    return values, diverged


def _measured(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Measure every quantity once, for all its rows, and put these back in order."""
    places: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        places.setdefault(row.quantity, []).append(i)
    flat = jnp.concatenate(
        [MEASURED[name]([rows[i] for i in at], outcome) for name, at in places.items()]
    )
    place = np.empty(len(rows), dtype=np.int32)
    place[[i for at in places.values() for i in at]] = np.arange(len(rows), dtype=np.int32)
    return flat[place]


def passes(arch: Architecture, rows: Sequence[Row]) -> int:
    """Count the cotangents that are pulled back: none, the read-out's, and for a tangent kernel
    every token's."""
    backward = any(QUANTITIES[row.quantity].backward for row in rows)
    return int(backward) + (arch.tokens if any(row.quantity == "ntk" for row in rows) else 0)


def _cotangents(arch: Architecture, rows: Sequence[Row], readout: jax.Array) -> jax.Array | None:
    """Return the cotangents asked for [C, T, n]: the read-out's as described, then for a tangent
    kernel one token at a time; None where no row needs a pass back."""
    wanted, count = passes(arch, rows), arch.tokens
    if not wanted:
        return None
    v = read_out(arch, readout)
    if wanted == 1:
        return v[None]
    each = jnp.eye(count, dtype=readout.dtype)[:, :, None] * readout[-1][None, None, :]
    return jnp.concatenate([v[None], each])


def read_out(arch: Architecture, readout: jax.Array) -> jax.Array:
    """Return the read-out's cotangent [T, n]; readout: as of ``network_rows``."""
    count = arch.tokens
    if arch.readout.tokens == "each":
        return readout[:count]
    weight = {"last": np.eye(count)[-1], "mean": np.full(count, 1 / count)}
    # no matrix product: an accelerator would round it to some three digits
    return jnp.asarray(weight[arch.readout.tokens][:, None], dtype=readout.dtype) * readout[-1:]


def _pass(
    forward: Forward, probes: Probes, matrices: Matrices, cotangents: jax.Array | None
) -> tuple[Trace, dict[str, Probes]]:
    """Run the network, and pull the cotangents back: 'v' the read-out's, 'ntk' each token's."""
    if cotangents is None:
        return forward(probes, matrices.start())[1], {}
    (taps, state), vjp, trace = jax.vjp(forward, probes, matrices.start(), has_aux=True)
    shape = (len(cotangents), *taps.shape)
    pulled = matrices.pull(vjp, jnp.broadcast_to(cotangents[:, None], shape), state)
    return trace, {
        "v": jax.tree.map(lambda g: g[0], pulled),
        "ntk": jax.tree.map(lambda g: g[1:], pulled),
    }


def _entries(gram: jax.Array, rows: Sequence[Row]) -> jax.Array:
    """Return gram[a, t, s] for every row."""
    second = np.array([row.token if row.token_2 is None else row.token_2 for row in rows])
    return gram[applications(rows), tokens(rows), second]


def _state_gram(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return <h_t, h_s> of states."""
    return _entries(outcome.trace.grams, rows)


def _rms(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return the root of <h_t, h_t>."""
    return jnp.sqrt(_entries(outcome.trace.grams, rows))


def _gradient_gram(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return <g_t, g_s> of the gradients by states."""
    return _entries(outcome.gradients["v"].grams, rows)


def _band_states(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return <h_t, h_s> over the coordinates of each row's band."""
    return _banded(outcome.trace.lanes[0], rows, outcome.arch)


def _band_gradients(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return <g_t, g_s> over the coordinates of each row's band."""
    return _banded(outcome.gradients["v"].states, rows, outcome.arch)


def _banded(vectors: jax.Array, rows: Sequence[Row], arch: Architecture) -> jax.Array:
    """Return the Gram entries [rows] of vectors [D + 1, T, n], each over the coordinates of its
    band."""
    ends = np.round(np.cumsum((0.0, *arch.bands)) * vectors.shape[-1]).astype(int)
    bands = (vectors[..., low:high] for low, high in zip(ends[:-1], ends[1:], strict=True))
    grams = jnp.stack([dot(x, x) for x in bands])
    entries = jnp.stack([_entries(gram, rows) for gram in grams])
    band = np.array([arch.band_names.index(row.group or "") for row in rows])
    return entries[band, np.arange(len(rows))]


MEASURED: dict[str, Callable[[Sequence[Row], Outcome], jax.Array]] = {
    "residual_variance": _state_gram,
    "rms": _rms,
    "token_covariance": _state_gram,
    "token_cosine": geometry.token_cosine,
    "state_cosine": geometry.state_cosine,
    "write_variance": geometry.write_variance,
    "write_cosine": geometry.write_cosine,
    "gradient_variance": _gradient_gram,
    "gradient_covariance": _gradient_gram,
    "weight_gradient": gradients.weight_gradient,
    "ntk": gradients.ntk,
    "logit_variance": head.logit_variance,
    "logit_contact": head.logit_contact,
    "cross_entropy": head.cross_entropy,
    "participation": geometry.participation,
    "angle_exponent": geometry.angle_exponent,
    "gradient_exponent": gradients.gradient_exponent,
    "band_variance": _band_states,
    "band_covariance": _band_states,
    "band_gradient": _band_gradients,
    "matrix_entropy": geometry.matrix_entropy,
    "participation_ratio": geometry.participation_ratio,
    "log_norm": geometry.log_norm,
    "rotation": geometry.rotation,
    "modulator": geometry.modulator,
    "skip_rate": geometry.skip_rate,
}
"""Quantity -> its rows in one network."""

"""From one network's vectors to the rows of a table: every number is an inner product of vectors
of that network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.quantities import QUANTITIES
from sigprop.description.shapes import Row
from sigprop.description.structure import READOUT
from sigprop.language.expression import Linear
from sigprop.language.nodes import Gate
from sigprop.simulations.network.inner import dot
from sigprop.simulations.network.matrices import Matrices
from sigprop.simulations.network.passes import run
from sigprop.simulations.network.trace import Probes, Trace, zero_probes
from sigprop.simulations.network.weights import Shape
from sigprop.simulations.observables import geometry
from sigprop.simulations.observables import logits as head


def network_rows(
    arch: Architecture,
    rows: Sequence[Row],
    shapes: tuple[Shape, ...],
    width: int,
    parts: Any,
    matrices: Matrices,
    readout: Any,
    tables: Any,
    key: Any = None,
) -> tuple[Any, Any]:
    """([rows] values, first application whose <h, h> is not finite or D + 1) of one network.

    parts {part of the stem: [T, n]}; readout [T + 1, n]: v_t for the tokens, then the v that tokens
    share (for the NTK); key: of dropout's masks and of the head's words.
    """
    stem: Any = sum(parts.values())

    def forward(probes: Probes, state: Any) -> tuple[Any, Trace]:
        trace, state = run(arch, shapes, stem, matrices, state, tables, probes, key)
        return (trace.taps, state), trace

    trace, gradients = _pass(
        forward, zero_probes(arch, shapes, width, readout.dtype), matrices, arch, readout, rows
    )
    values: dict[str, Any] = {}
    diverged = jnp.where(trace.finite.all(), arch.depth + 1, jnp.argmin(trace.finite))
    for name in dict.fromkeys(row.quantity for row in rows):
        own = [row for row in rows if row.quantity == name]
        values[name] = MEASURED[name](
            own, arch, shapes, trace, gradients, tables | {"parts": parts, "key": key}
        )
    order = [(name, i) for name in values for i, row in enumerate(rows) if row.quantity == name]
    flat = jnp.concatenate([values[name] for name in values])
    place = np.empty(len(rows), dtype=np.int32)
    place[[i for _, i in order]] = np.arange(len(rows), dtype=np.int32)
    return flat[place], diverged


def passes(arch: Architecture, rows: Sequence[Row]) -> int:
    """How many cotangents are pulled back: none, the read-out's, and for a tangent kernel every
    token's."""
    backward = any(QUANTITIES[row.quantity].backward for row in rows)
    return int(backward) + (arch.tokens if any(row.quantity == "ntk" for row in rows) else 0)


def _pass(
    forward: Any,
    probes: Probes,
    matrices: Matrices,
    arch: Architecture,
    readout: Any,
    rows: Sequence[Row],
) -> tuple[Trace, Any]:
    """The forward trace, and gradients for the cotangents asked for: 'v' as described, 'ntk' one
    token at a time."""
    wanted = passes(arch, rows)
    if not wanted:
        return forward(probes, matrices.start())[1], {}
    (taps, state), vjp, trace = jax.vjp(forward, probes, matrices.start(), has_aux=True)
    tokens = arch.tokens
    weight = {
        "each": np.eye(tokens),
        "last": np.eye(tokens)[-1:].repeat(tokens, 0),
        "mean": np.full((tokens, tokens), 1 / tokens),
    }[arch.readout.tokens]
    v = (
        readout[:tokens]
        if arch.readout.tokens == "each"
        else jnp.asarray(np.diag(weight[0]), dtype=readout.dtype)
        @ jnp.broadcast_to(readout[-1:], (tokens, readout.shape[1]))
    )
    cotangents = v[None]
    if wanted > 1:
        cotangents = jnp.concatenate(
            [
                cotangents,
                jnp.eye(tokens, dtype=readout.dtype)[:, :, None] * readout[-1][None, None, :],
            ]
        )
    found = matrices.pull(vjp, jnp.broadcast_to(cotangents[:, None], (wanted, *taps.shape)), state)
    return trace, {
        "v": jax.tree.map(lambda g: g[0], found),
        "ntk": jax.tree.map(lambda g: g[1:], found),
    }


def _entries(gram: Any, rows: Sequence[Row], second: bool = False) -> Any:
    """gram[a, t, s] for every row; ``second``: gram[a, b, t]."""
    first = np.array([row.application for row in rows])
    t = np.array([row.token for row in rows])
    if second:
        return gram[first, np.array([row.application_2 for row in rows]), t]
    return gram[
        first, t, np.array([row.token if row.token_2 is None else row.token_2 for row in rows])
    ]


def _state_gram(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    return _entries(trace.grams, rows)


def _rms(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    return jnp.sqrt(_entries(trace.grams, rows))


def _gradient_gram(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    return _entries(gradients["v"].grams, rows)


def _uses(arch: Architecture, weight: str) -> tuple[np.ndarray, np.ndarray]:
    """The applications of each slot [slots, U], padded, and which entries are real."""
    tables = list(arch.applications_of(weight).values())
    most = max(len(t) for t in tables)
    padded = np.array([t + [0] * (most - len(t)) for t in tables])
    return padded, np.array([[1.0] * len(t) + [0.0] * (most - len(t)) for t in tables])


def _slot_products(
    arch: Architecture, weight: str, trace: Trace, left: Probes, right: Probes
) -> Any:
    """sum over uses a, b and tokens t, s of <x_at, x_bs> <d_at, d_bs> for each slot: |dz/dW|^2
    from its low-rank form, exactly."""
    use, real = _uses(arch, weight)

    # [slots, U T, n]
    def flat(array):
        return array[use].reshape(len(use), -1, array.shape[-1])

    cotangents = dot(flat(left.outputs[weight]), flat(right.outputs[weight]))
    mask = np.repeat(real, arch.tokens, axis=1).astype(cotangents.dtype)
    both = mask[:, :, None] * mask[:, None, :]
    if isinstance(arch.weights[weight], Linear):
        cotangents = cotangents * dot(flat(trace.inputs[weight]), flat(trace.inputs[weight]))
    return _each(arch, weight) * (cotangents * both).sum(axis=(1, 2))


def _each(arch: Architecture, weight: str) -> float:
    """What a mean over a weight's outputs is multiplied with: of gates, the sum over all of them
    is meant, n/size of them."""
    node = arch.weights[weight]
    return float(node.rows) / node.size if isinstance(node, Gate) else 1.0


def _slot_squares(arch: Architecture, weight: str, trace: Trace, own: Probes) -> Any:
    """``_slot_products`` of a pass with itself; of slots that are used once from the Grams
    alone."""
    use, _ = _uses(arch, weight)
    if use.shape[1] > 1:
        return _slot_products(arch, weight, trace, own, own)
    grams = own.output_grams[weight]
    if isinstance(arch.weights[weight], Linear):
        grams = grams * trace.input_grams[weight]
    return _each(arch, weight) * grams[use[:, 0]].sum(axis=(1, 2))


def _weight_gradient(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    passes, output = gradients["v"], trace.taps.sum(axis=0)
    firsts = {w: [used[0] for used in arch.applications_of(w).values()] for w in arch.weights} | {
        READOUT: [arch.readout.at[0]]
    }
    totals: dict[str, Any] = {}
    for group in dict.fromkeys(row.group or "" for row in rows):
        if group in arch.weights:
            totals[group] = _slot_squares(arch, group, trace, passes)
        elif group == READOUT:
            totals[group] = (
                dot(output, output)
                * jnp.asarray(arch.readout.gram(arch.tokens), dtype=output.dtype)
            ).sum()[None]
        else:
            totals[group] = (dot(passes.stem, passes.stem) * tables["stem"][group]).sum()[None]
    return jnp.stack(
        [
            totals[row.group or ""][firsts.get(row.group or "", [0]).index(row.application or 0)]
            for row in rows
        ]
    )


def _ntk(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    pairs = sorted({(row.token or 0, row.token_2 or 0) for row in rows})
    passes = gradients["ntk"]

    def one(t):
        return jax.tree.map(lambda array: array[t], passes)

    output = trace.taps.sum(axis=0)
    values: dict[Any, Any] = {}
    for t, s in pairs:
        for weight, node in arch.weights.items():
            values[weight, t, s] = (
                float(node.rows) * _slot_products(arch, weight, trace, one(t), one(s)).sum()
            )
        for part, gram in tables["stem"].items():
            values[part, t, s] = (dot(passes.stem[t], passes.stem[s]) * gram).sum()
        values[READOUT, t, s] = dot(output, output)[t, s]
        for group, factor in tables["factors"].items():
            values[group, t, s] = factor * values[group, t, s]
        values[None, t, s] = sum(values[g, t, s] for g in arch.groups)
    return jnp.stack([values[row.group, row.token, row.token_2] for row in rows])


def _gradient_exponent(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    g = jnp.trace(gradients["v"].grams, axis1=1, axis2=2)
    return jnp.broadcast_to(jnp.log(g[0] / g[-1]) / arch.depth, (len(rows),))


def _banded(measured: Any) -> Any:
    """The Gram entries [rows] of vectors [D + 1, T, n], each over the coordinates of its band."""

    def entries(
        rows: Sequence[Row],
        arch: Architecture,
        shapes: Any,
        trace: Trace,
        gradients: Any,
        tables: Any,
    ) -> Any:
        vectors = measured(trace, gradients)
        ends = np.round(np.cumsum((0.0, *arch.bands)) * vectors.shape[-1]).astype(int)
        grams = jnp.stack(
            [
                dot(x, x)
                for x in (
                    vectors[..., low:high] for low, high in zip(ends[:-1], ends[1:], strict=True)
                )
            ]
        )
        found = jnp.stack([_entries(gram, rows) for gram in grams])
        return found[
            np.array([arch.band_names.index(row.group or "") for row in rows]), np.arange(len(rows))
        ]

    return entries


MEASURED = {
    "residual_variance": _state_gram,
    "rms": _rms,
    "token_covariance": _state_gram,
    "token_cosine": geometry.token_cosine,
    "state_cosine": geometry.state_cosine,
    "write_cosine": geometry.write_cosine,
    "gradient_variance": _gradient_gram,
    "gradient_covariance": _gradient_gram,
    "weight_gradient": _weight_gradient,
    "ntk": _ntk,
    "logit_variance": head.logit_variance,
    "logit_contact": head.logit_contact,
    "cross_entropy": head.cross_entropy,
    "participation": geometry.participation,
    "angle_exponent": geometry.angle_exponent,
    "gradient_exponent": _gradient_exponent,
    "band_variance": _banded(lambda trace, _: trace.lanes[0]),
    "band_covariance": _banded(lambda trace, _: trace.lanes[0]),
    "band_gradient": _banded(lambda _, gradients: gradients["v"].states),
    "matrix_entropy": geometry.matrix_entropy,
    "participation_ratio": geometry.participation_ratio,
    "log_norm": geometry.log_norm,
    "rotation": geometry.rotation,
    "modulator": geometry.modulator,
    "skip_rate": geometry.skip_rate,
}
"""What each quantity is in one network."""

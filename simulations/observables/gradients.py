"""Rows about gradients: those by states, by weights, and the tangent kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.shapes import Row
from sigprop.description.structure import READOUT
from sigprop.language.expression import Linear, PositionBias
from sigprop.language.nodes import Gate
from sigprop.simulations.network.inner import dot
from sigprop.simulations.network.trace import Probes, Trace
from sigprop.simulations.observables.outcome import Outcome


def weight_gradient(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return the squared gradient of one slot of a matrix, bias or gate, of a part of the stem,
    or of the read-out."""
    arch = outcome.arch
    totals = {group: _squares(outcome, group) for group in dict.fromkeys(map(_group, rows))}
    firsts = {w: [used[0] for used in arch.applications_of(w).values()] for w in arch.weights} | {
        READOUT: [arch.readout.at[0]]
    }
    return jnp.stack(
        [
            totals[_group(row)][firsts.get(_group(row), [0]).index(row.application or 0)]
            for row in rows
        ]
    )


def _group(row: Row) -> str:
    """Return the row's group of parameters."""
    return row.group or ""


def _squares(outcome: Outcome, group: str) -> jax.Array:
    """Return a group's squared gradients [slots]."""
    arch, trace, pulled = outcome.arch, outcome.trace, outcome.gradients["v"]
    if group in arch.weights:
        return _slot_squares(arch, group, trace, pulled)
    if group != READOUT:
        return (dot(pulled.stem, pulled.stem) * outcome.tables["stem"][group]).sum()[None]
    output = trace.taps.sum(axis=0)
    gram = jnp.asarray(arch.readout.gram(arch.tokens), dtype=output.dtype)
    return (dot(output, output) * gram).sum()[None]


def ntk(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return the tangent kernel between two tokens' outputs, of one group or of all."""
    pairs = [(row.token or 0, row.token_2 or 0) for row in rows]
    kernels = {pair: _kernel(outcome, *pair) for pair in sorted(set(pairs))}
    return jnp.stack([kernels[pair][row.group] for pair, row in zip(pairs, rows, strict=True)])


def _kernel(outcome: Outcome, t: int, s: int) -> dict[str | None, Any]:
    """Return the tangent kernel between tokens t and s by group, and of all (None)."""
    arch, tables, trace = outcome.arch, outcome.tables, outcome.trace
    pulled = outcome.gradients["ntk"]
    left, right = (jax.tree.map(lambda array, k=k: array[k], pulled) for k in (t, s))
    output = trace.taps.sum(axis=0)
    values: dict[str | None, Any] = {
        weight: float(node.rows) * _slot_products(arch, weight, trace, (left, right)).sum()
        for weight, node in arch.weights.items()
    }
    for part, gram in tables["stem"].items():
        values[part] = (dot(pulled.stem[t], pulled.stem[s]) * gram).sum()
    values[READOUT] = dot(output, output)[t, s]
    for group, factor in tables["factors"].items():
        values[group] = factor * values[group]
    values[None] = sum(values[g] for g in arch.groups)
    return values


def gradient_exponent(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return the rate at which squared gradients grow from the last state to the first."""
    g = jnp.trace(outcome.gradients["v"].grams, axis1=1, axis2=2)
    return jnp.broadcast_to(jnp.log(g[0] / g[-1]) / outcome.arch.depth, (len(rows),))


def _slot_squares(arch: Architecture, weight: str, trace: Trace, pulled: Probes) -> jax.Array:
    """Return ``_slot_products`` of a pass with itself; of slots that are used once from the Grams
    alone."""
    use, _ = _uses(arch, weight)
    if use.shape[1] > 1:
        return _slot_products(arch, weight, trace, (pulled, pulled))
    grams = pulled.output_grams[weight]
    if isinstance(arch.weights[weight], Linear):
        grams = grams * trace.input_grams[weight]
    return _each(arch, weight) * grams[use[:, 0]].reshape(len(use), -1).sum(axis=1)


def _slot_products(
    arch: Architecture, weight: str, trace: Trace, pulled: tuple[Probes, Probes]
) -> jax.Array:
    """Return the sum over uses a, b and tokens t, s of <x_at, x_bs> <d_at, d_bs> for each slot:
    |dz/dW|^2 from its low-rank form, exactly; of experts' weights added over experts."""
    use, real = _uses(arch, weight)
    copies = arch.copies.get(weight, 1)

    # [slots, E, U T, n]
    def flat(array: jax.Array) -> jax.Array:
        used = array[use].reshape(*use.shape, copies, *array.shape[-2:])
        return jnp.moveaxis(used, 2, 1).reshape(len(use), copies, -1, array.shape[-1])

    left, right = pulled
    cotangents = dot(flat(left.outputs[weight]), flat(right.outputs[weight]))
    mask = np.repeat(real, arch.tokens, axis=1).astype(cotangents.dtype)[:, None]
    both = mask[..., :, None] * mask[..., None, :]
    if isinstance(arch.weights[weight], Linear):
        cotangents = cotangents * dot(flat(trace.inputs[weight]), flat(trace.inputs[weight]))
    return _each(arch, weight) * (cotangents * both).sum(axis=(1, 2, 3))


def _uses(arch: Architecture, weight: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the applications of each slot [slots, U], padded, and which entries are real."""
    tables = list(arch.applications_of(weight).values())
    most = max(len(t) for t in tables)
    padded = np.array([t + [0] * (most - len(t)) for t in tables])
    return padded, np.array([[1.0] * len(t) + [0.0] * (most - len(t)) for t in tables])


def _each(arch: Architecture, weight: str) -> float:
    """Return what a mean over a weight's outputs is multiplied with: of gates, and of the numbers
    of heads' biases (over ``rows``), the sum over all of them is meant, n/size of them."""
    node = arch.weights[weight]
    if isinstance(node, PositionBias):
        return node.count / node.size
    return float(node.rows) / node.size if isinstance(node, Gate) else 1.0

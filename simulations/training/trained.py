"""A finite network whose weights an optimiser moves: its parameters as they are, no factor apart,
and the gradient of a loss by them.

    W [slots, n_out, n_in]   entries of variance C/n_in at the start       b [slots, n_out], gates
                             [slots, gates]
    E [V, n]                 of each part of the stem: w_0 = A E, A A^T the Gram of its inputs
                             (words: A one-hot, so equal words share a row)
    theta [n]                of the read-out, z_t = theta . o_t, one for all tokens

The gradient by a matrix is sum over a slot's uses and tokens of d x^T, x what it was applied to and
d the gradient by what it gave: both are what a pass leaves (``trace``), and no n^2 array is kept
for each application. Checked by tests/simulations/training/test_training.py against ``jax.grad`` of
a network written out by hand.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.structure import READOUT
from sigprop.description.sub_block import inputs
from sigprop.errors import InputError
from sigprop.language.expression import Bias, Linear, PositionBias, Vector
from sigprop.language.nodes import Gate
from sigprop.language.scalar import Constant, evaluate
from sigprop.language.traversal import rows_of
from sigprop.simulations.engines.dense import Dense
from sigprop.simulations.network import random
from sigprop.simulations.network.matrices import Matrices
from sigprop.simulations.network.passes import run
from sigprop.simulations.network.precision import SINGLE
from sigprop.simulations.network.trace import Probes, zero_probes
from sigprop.simulations.network.weights import Shape, shapes, slot_tables, stored, use_tables

Params = dict[str, Any]
LABELS = "labels"  # a piece of the draw, not a group


def bare(arch: Architecture, width: int) -> Architecture:
    """The same network with every factor of a matrix, bias or gate one, so that ``run``
    multiplies by the parameters themselves."""
    copies: dict[Vector, Vector] = {}
    return replace(
        arch,
        sub_blocks=tuple(
            replace(block, branch=_bare(block.branch, width, copies)) for block in arch.sub_blocks
        ),
    )


def _bare(u: Any, width: int, copies: dict[Vector, Vector]) -> Any:
    """Copy an expression with every factor one; copies: what stands in a branch more than once is
    one node there, and stays one."""
    if isinstance(u, tuple):
        return tuple(_bare(part, width, copies) for part in u)
    if not isinstance(u, Vector):
        return u
    if u in copies:
        return copies[u]
    inside = {f.name: _bare(getattr(u, f.name), width, copies) for f in fields(u)}
    if isinstance(u, Linear):
        inside["variance"] = Constant(int(width * rows_of(u.of)))
    elif isinstance(u, (Bias, PositionBias)):
        inside["variance"] = Constant(1)
    elif isinstance(u, Gate):
        inside["factor"] = Constant(0)
    copies[u] = type(u)(**inside)
    return copies[u]


def tables(arch: Architecture, dtype: str = SINGLE) -> dict[str, Any]:
    """Return what ``run`` takes of each application, and {part: A [T, V]} of the stem, in that
    precision."""
    numbers = {
        name: table.astype(dtype)
        for name, table in (arch.number_tables | arch.tables_by_application).items()
    }
    applications = {
        "kind": np.array(arch.kind_table, dtype=np.int32),
        "slots": slot_tables(arch),
        "uses": use_tables(arch),
        "numbers": numbers,
    }
    return applications | {
        "inputs": {part: inputs(gram).astype(dtype) for part, (_, gram) in arch.stem_parts.items()}
    }


def scales(arch: Architecture, width: int) -> dict[str, Any]:
    """{group: what the start multiplies: standard deviations [slots] of matrices and biases, the
    value [slots] of gates, a number for a part of the stem}.

    Raises ``InputError`` where applications that share a weight give it different variances.
    """
    factors: dict[str, Any] = {
        part: np.float32(variance**0.5) for part, (variance, _) in arch.stem_parts.items()
    }
    lengths = {s.name: s.shape[-1] for s in shapes(arch, width)}
    for name, node in arch.weights.items():
        scalar = node.factor if isinstance(node, Gate) else node.variance
        table = np.broadcast_to(
            np.asarray(evaluate(scalar, arch.number_tables), dtype=np.float64), (arch.depth,)
        )
        used = list(arch.applications_of(name).values())
        if any(np.ptp(table[applications]) for applications in used):
            raise InputError(
                f"weight {name!r}: applications that share it give it different variances; "
                f"accepted: one variance a weight"
            )
        first = table[[applications[0] for applications in used]]
        factors[name] = (
            first
            if isinstance(node, Gate)
            else np.sqrt(first / (lengths[name] if isinstance(node, Linear) else 1))
        ).astype(np.float32)
    return factors


def start(
    arch: Architecture,
    weights: tuple[Shape, ...],
    width: int,
    key: Any,
    *,
    size: dict[str, Any],
    readout: Any,
    by_part: dict[str, Any],
) -> tuple[Params, Any]:
    """(A network's parameters before the first step, labels [T] of +-1). size: ``scales``; readout:
    standard deviation of theta; by_part: A of each part.

    All normals are one draw, cut to pieces: most of what a program of these networks takes to
    compile is its random numbers.
    """
    pieces: dict[str, tuple[int, ...]] = {LABELS: (arch.tokens,), READOUT: (width,)}
    pieces |= {part: (a.shape[1], width) for part, a in by_part.items()} | {
        s.name: (s.slots, *s.shape) for s in weights if _normal(arch, s)
    }
    params = _drawn(pieces, key)
    labels = jnp.where(params.pop(LABELS) > 0, jnp.float32(1), jnp.float32(-1))
    for i, shape in enumerate(weights):
        if isinstance(arch.drawn[shape.name], Gate):
            params[shape.name] = jnp.ones((shape.slots, *shape.shape), dtype=jnp.float32)
        elif not _normal(arch, shape):
            weight_key = jax.random.fold_in(key, np.uint32(2 + i))
            params[shape.name] = stored(weight_key, shape, arch.ensemble)
    scaled = {
        name: factor.reshape(-1, *(1,) * (params[name].ndim - 1)) * params[name]
        for name, factor in ((n, jnp.asarray(f)) for n, f in size.items())
    }
    return params | scaled | {READOUT: readout * params[READOUT]}, labels


def _normal(arch: Architecture, shape: Shape) -> bool:
    """Tell if a weight's entries are independent normals (gates are constants, and matrices may
    be of another ensemble)."""
    gate = isinstance(arch.drawn[shape.name], Gate)
    return not gate and (arch.ensemble == "gaussian" or len(shape.shape) == 1)


def _drawn(pieces: dict[str, tuple[int, ...]], key: Any) -> Params:
    """Draw all normals at once, and cut them to pieces of these shapes."""
    ends = np.cumsum([math.prod(shape) for shape in pieces.values()])
    flat = random.normal(jax.random.fold_in(key, np.uint32(0)), (int(ends[-1]),))
    parts = jnp.split(flat, ends[:-1].tolist())
    return {name: x.reshape(pieces[name]) for name, x in zip(pieces, parts, strict=True)}


class Passed(NamedTuple):
    """One pass: outputs z [T], states [A, T, n] of the applications asked for, gradients {group:
    as the parameter}, what theta reads [T, n], inputs {weight: [D, T, n_in]}."""

    outputs: Any
    states: Any
    gradients: Params
    read: Any
    inputs: dict[str, Any]


def passed(
    arch: Architecture,
    weights: tuple[Shape, ...],
    params: Params,
    table: Any,
    *,
    width: int,
    cotangent: Any,
    at: tuple[int, ...],
    key: Any,
) -> Passed:
    """One pass forward and back. arch: ``bare``; cotangent: z [T] -> dloss/dz [T]; at:
    applications of the states (0: the stem's output)."""
    left = reversed_pass(arch, weights, params, table, width=width, cotangent=cotangent, key=key)
    gradients = {READOUT: left.by_theta}
    for part, a in table["inputs"].items():
        gradients[part] = product(a.T, left.by_stem)
    for name, node in arch.weights.items():
        x = left.inputs[name] if isinstance(node, Linear) else None
        gradients[name] = _by_slot(arch, name, left.by_output[name], x)
    states = left.states[np.array(at)]
    return Passed(left.outputs, states, gradients, left.read, left.inputs)


class Reversed(NamedTuple):
    """One pass and what its reverse leaves: outputs z [T], what theta reads [T, n], states [D + 1,
    T, n] of lane 0, inputs {weight: [D, T, n_in]}, gradients by what weights gave {weight: [D, T,
    n_out]}, by the stem's output [T, n] and by theta [n]."""

    outputs: Any
    read: Any
    states: Any
    inputs: Any
    by_output: Any
    by_stem: Any
    by_theta: Any


def reversed_pass(
    arch: Architecture,
    weights: tuple[Shape, ...],
    params: Params,
    table: Any,
    *,
    width: int,
    cotangent: Any,
    key: Any,
) -> Reversed:
    """Run one pass forward and back; arguments as of ``passed``."""
    zero = zero_probes(arch, weights, width, params[READOUT].dtype)
    matrices = Dense(weights, arch.ensemble, params)
    forward = network(arch, weights, params, table, matrices=matrices, zero=zero, key=key)
    output, pull, (states, inputs) = jax.vjp(forward, zero.outputs, zero.stem, has_aux=True)
    z = product(output, params[READOUT])
    c = cotangent(z)
    by_output, by_stem = pull(c[:, None] * params[READOUT][None])
    return Reversed(z, output, states, inputs, by_output, by_stem, product(c, output))


def network(
    arch: Architecture,
    weights: tuple[Shape, ...],
    params: Params,
    table: Any,
    *,
    matrices: Matrices,
    zero: Probes,
    key: Any,
) -> Any:
    """Return the function (what is added to the weights' outputs {weight: [D, T, n_out]}, to the
    stem's [T, n]) -> (what theta reads [T, n], (states [D + 1, T, n] of lane 0, inputs {weight:
    [D, T, n_in]})).

    A change of the parameters is, to first order, one of what they give: Delta W x. zero: probes,
    those of Grams None where the function is to have a forward mode.
    """
    gates = [name for name, node in arch.weights.items() if isinstance(node, Gate)]
    stem: Any = sum(product(a, params[part]) for part, a in table["inputs"].items())

    def forward(outputs: Any, at_stem: Any) -> Any:
        # their factor is 0, so this is all they are
        gated = {n: outputs[n] + params[n][table["slots"][n]][:, None] for n in gates}
        probes = zero._replace(outputs=outputs | gated, stem=at_stem)
        trace, _ = run(
            arch, weights, stem, matrices, state=(), tables=table, probes=probes, key=key
        )
        return trace.taps.sum(axis=0), (trace.lanes[0], trace.inputs)

    return forward


def product(a: Any, b: Any) -> Any:
    """Multiply matrices in full precision."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _by_slot(arch: Architecture, weight: str, d: Any, x: Any) -> Any:
    """Sum over a slot's uses and tokens of d x^T (of d where there is no x): [slots, n_out,
    n_in], d [D, T, n_out], x [D, T, n_in]."""
    cotangents = over_uses(arch, weight, d)
    if x is None:
        return cotangents.sum(axis=1)
    return jnp.einsum(
        "suo,sui->soi",
        cotangents,
        over_uses(arch, weight, x),
        precision=jax.lax.Precision.HIGHEST,
    )


def over_uses(arch: Architecture, weight: str, x: Any) -> Any:
    """Gather the vectors x [D, T, n] of a weight's applications by slot, [slots, U T, n]; zero
    where a slot has fewer than U uses."""
    used = list(arch.applications_of(weight).values())
    most = max(map(len, used))
    place = np.array([applications + [0] * (most - len(applications)) for applications in used])
    real = np.array([[1.0] * len(a) + [0.0] * (most - len(a)) for a in used])
    return (x[place] * real.astype(x.dtype)[:, :, None, None]).reshape(len(used), -1, x.shape[-1])


def over_applications(arch: Architecture, weight: str, x: Any) -> Any:
    """Undo ``over_uses``: [slots, U T, n] -> [D, T, n], zero where an application does not hold
    the weight."""
    used = list(arch.applications_of(weight).values())
    vectors = x.reshape(len(used), -1, arch.tokens, x.shape[-1])
    places = [(a, s, u) for s, applied in enumerate(used) for u, a in enumerate(applied)]
    at, slot, use = np.array(places).T
    zero = jnp.zeros((arch.depth, arch.tokens, x.shape[-1]), dtype=x.dtype)
    return zero.at[at].set(vectors[slot, use])

"""One finite network's first step, carried through it to first order.

A change Delta W of a matrix is, to first order, Delta W x added to what the matrix gives, x its old
input: ``jax.jvp`` along what is added, nothing finite is taken. Checked by
tests/simulations/training/test_response.py against small steps of networks written by hand.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from sigprop.description.architecture import Architecture
from sigprop.description.structure import READOUT
from sigprop.language.expression import Linear
from sigprop.language.nodes import Gate
from sigprop.simulations.engines.dense import Dense
from sigprop.simulations.network.trace import silent, zero_probes
from sigprop.simulations.network.weights import Shape
from sigprop.simulations.training import trained
from sigprop.simulations.training.ascent import Full, Rule, of_matrices, of_readout, of_vector
from sigprop.simulations.training.trained import over_applications, over_uses, product

ALL = "all"
"""The setting in which all groups move at once."""


class Numbers(NamedTuple):
    """What a step changes. S settings: every group alone, then all of them; W matrices and biases;
    float64 [networks, ...] once they are off the device.

    output [S, T]         dz_t
    state [S, D + 1, T]   <dh, dh> of lane 0 after a applications (0: the stem's output)
    effective [W, D, T]   mean square over coordinates of (Delta W) x at the old input x; of biases
                          of Delta b
    propagating [W, D, T] of W (dx), dx what all groups change of the input; NaN of biases
    The last two are NaN where an application does not hold the weight.
    """

    output: Any
    state: Any
    effective: Any
    propagating: Any


class Network(NamedTuple):
    """One network: arch as of ``trained.bare``, its weights' shapes, n, its parameters, tables as
    of ``trained.tables``, the key of dropout's masks."""

    arch: Architecture
    shapes: tuple[Shape, ...]
    width: int
    params: trained.Params
    tables: Any
    key: Any


class Moves(NamedTuple):
    """What a step adds, by group: to what weights give {weight: [D, T, n_out]}, to the stem {part:
    [T, n]}, to theta [n]."""

    outputs: dict[str, Array]
    stem: dict[str, Array]
    theta: Float[Array, " n"]


class Formed(Dense):
    """Matrices that are stored, with products that have a forward mode (``matvec`` has a reverse
    one only)."""

    def apply(
        self, local: Any, place: Any, weight: str, x: Float[Array, "T n_in"]
    ) -> tuple[Float[Array, "T n_out"], Any]:
        entries = self.sources[weight][place["slots"][weight]]
        return jnp.einsum("oi,ti->to", entries, x, precision=jax.lax.Precision.HIGHEST), local


def weights_of(arch: Architecture) -> tuple[str, ...]:
    """Return the matrices and biases."""
    return tuple(name for name, node in arch.weights.items() if not isinstance(node, Gate))


def respond(network: Network, rule: Rule, rates: dict[str, Any], labels: Array) -> Numbers:
    """Return what the first step along the gradient of (1/T) sum_t y_t z_t changes.

    rates {group: number}, of all groups; labels y [T].
    """
    arch, params = network.arch, network.params
    left = trained.reversed_pass(
        arch,
        network.shapes,
        params,
        network.tables,
        width=network.width,
        cotangent=lambda z: labels / len(labels),
        key=network.key,
    )
    moves = moves_of(network, rule, rates, left)
    tangents, theta = _settings(network, moves)
    read, states, inputs = _carried(network, tangents)
    output = product(read, params[READOUT]) + product(theta, left.read.T)
    effective, propagating = [], []
    for name in weights_of(arch):
        effective.append(_square(moves.outputs[name]))
        if isinstance(arch.weights[name], Linear):
            # dx of the last setting, that of all groups
            changed = Full(params[name]).times(over_uses(arch, name, inputs[name][-1]))
            propagating.append(_square(over_applications(arch, name, changed)))
        else:
            propagating.append(jnp.zeros_like(effective[-1]))
    return Numbers(output, _square(states), jnp.stack(effective), jnp.stack(propagating))


def moves_of(network: Network, rule: Rule, rates: dict[str, Any], left: trained.Reversed) -> Moves:
    """Return what the step adds, from what a pass and its reverse left."""
    arch, tables = network.arch, network.tables
    gathered = {w: over_uses(arch, w, d) for w, d in left.by_output.items() if w in arch.weights}
    pairs = {
        name: (gathered[name], over_uses(arch, name, left.inputs[name]))
        for name, node in arch.weights.items()
        if isinstance(node, Linear)
    }
    steps = of_matrices(rule, pairs)
    outputs = {}
    for name in arch.weights:
        if name in steps:
            added = over_applications(arch, name, steps[name].times(pairs[name][1]))
        else:
            step = of_vector(rule, gathered[name].sum(axis=1))[tables["slots"][name]]
            added = jnp.broadcast_to(step[:, None], left.by_output[name].shape)
        outputs[name] = rates[name] * added
    stem = {
        part: rates[part] * product(a, of_vector(rule, product(a.T, left.by_stem)))
        for part, a in tables["inputs"].items()
    }
    return Moves(outputs, stem, rates[READOUT] * of_readout(rule, left.by_theta))


def _settings(network: Network, moves: Moves) -> tuple[Any, Float[Array, "S n"]]:
    """Return what every setting adds: ({weight: [S, D, T, n_out]}, stem [S, T, n]), theta [S, n];
    S every group, then all."""
    groups = network.arch.groups
    zero = zero_probes(network.arch, network.shapes, network.width, moves.theta.dtype)

    def spread(like: Array, added: dict[str, Array]) -> Array:
        """Place every group's part in its own setting, and the sum in the last."""
        array = jnp.zeros((len(groups) + 1, *like.shape), dtype=like.dtype)
        for group, x in added.items():
            array = array.at[np.array([groups.index(group), len(groups)])].add(x[None])
        return array

    outputs = {
        name: spread(like, {name: moves.outputs[name]} if name in moves.outputs else {})
        for name, like in zero.outputs.items()
    }
    return (outputs, spread(zero.stem, moves.stem)), spread(moves.theta, {READOUT: moves.theta})


def _carried(network: Network, tangents: Any) -> tuple[Any, Any, Any]:
    """Return changes of what theta reads [S, T, n], of states [S, D + 1, T, n] and of inputs
    {weight: [S, D, T, n_in]}."""
    arch, shapes, width, params, tables, key = network
    zero = zero_probes(arch, shapes, width, params[READOUT].dtype)
    matrices = Formed(shapes, arch.ensemble, params)
    forward = trained.network(
        arch, shapes, params, tables, matrices=matrices, zero=silent(zero), key=key
    )

    def along(tangent: Any) -> Any:
        return jax.jvp(forward, (zero.outputs, zero.stem), tangent)[1]

    read, (states, inputs) = jax.vmap(along)(tangents)
    return read, states, inputs


def _square(x: Float[Array, "*many n"]) -> Float[Array, "*many"]:
    """Return mean squares over coordinates."""
    return (x * x).mean(axis=-1)

"""One finite network: the description's expressions evaluated on vectors, scanned over
applications."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Key

from sigprop.description.architecture import Architecture
from sigprop.description.sub_block import SubBlock
from sigprop.language.expression import Attend, Dropout, Linear, Read, State, Stem, Vector, Write
from sigprop.language.traversal import walk
from sigprop.simulations.network.evaluation import Evaluation, Vectors
from sigprop.simulations.network.inner import dot
from sigprop.simulations.network.matrices import Matrices
from sigprop.simulations.network.trace import Probes, Trace, listen
from sigprop.simulations.network.weights import Shape


def run(
    arch: Architecture,
    shapes: tuple[Shape, ...],
    stem: Vectors,
    matrices: Matrices,
    *,
    state: Any,
    tables: Any,
    probes: Probes,
    key: Key[Array, ""] | None = None,
) -> tuple[Trace, Any]:
    """The network's forward pass on a stem output [T, n], and what state it leaves the matrices in.

    state: ``matrices.start()``; tables: {'kind', 'slots', 'uses', 'numbers'} over applications (and
    others; 'weights', where matrices ask for them, {weight: [D, ...]}); key: of dropout's masks.
    """
    stem = stem + probes.stem
    first = {name: table[0] for name, table in tables["numbers"].items()}
    start = Evaluation({Stem(): stem}, first)
    lanes = tuple(start(lane) for lane in arch.initial)
    network = _Network(arch, {s.name: s for s in shapes}, stem, matrices, key)
    (final, state), (states, left) = jax.lax.scan(
        functools.partial(_step, network), (lanes, state), _given(arch, tables, probes)
    )
    last = None if probes.grams is None else probes.grams[-1]
    final = (listen(final[0] + probes.after, last), *final[1:])
    every = tuple(jnp.concatenate([s, f[None]]) for s, f in zip(states, final, strict=True))
    gains = jnp.concatenate([start.gain(arch.initial[0], arch.tokens)[None], left.gain])
    return Trace(
        every,
        left.write,
        left.inputs,
        _taps(arch, stem, every, tables["numbers"]),
        left.participation,
        jnp.concatenate([left.gram, _gram(final[0])[None]]),
        left.input_grams,
        jnp.concatenate([left.finite, _finite(final)[None]]),
        jnp.cumsum(gains, axis=0),
        left.modulator,
    ), state


def _given(arch: Architecture, tables: Any, probes: Probes) -> dict[str, Any]:
    """Return what each application is given."""
    names = ("kind", "slots", "uses", "numbers", *(("weights",) if "weights" in tables else ()))
    return {name: tables[name] for name in names} | {
        "step": jnp.arange(arch.depth, dtype=jnp.uint32),
        "probes": (probes.outputs, probes.output_grams),
        "state_probe": probes.before,
        "gram_probe": None if probes.grams is None else probes.grams[:-1],
    }


class _Network(NamedTuple):
    """Everything that applications share: the description, shapes of weights, the stem's output,
    where matrices come from, the key of dropout's masks (None: there are none)."""

    arch: Architecture
    shapes: dict[str, Shape]
    stem: Array
    matrices: Matrices
    key: Any


class _Left(NamedTuple):
    """An application's part of the trace; gram, finite: of the states that it finds."""

    write: Array
    inputs: dict[str, Array]
    input_grams: dict[str, Array]
    participation: Array
    gain: Array
    modulator: Array
    gram: Any = None
    finite: Any = None


def _step(network: _Network, carried: Any, x: Any) -> Any:
    """One application, of the kind that the tables say."""
    lanes, state = carried
    lanes = (listen(lanes[0] + x["state_probe"], x["gram_probe"]), *lanes[1:])
    local, state = network.matrices.take(state, x)
    count = len(network.arch.sub_blocks)
    kinds = [functools.partial(_application, network, kind) for kind in range(count)]
    new, local, left = (
        kinds[0](lanes, local, x)
        if count == 1
        else jax.lax.switch(x["kind"], kinds, lanes, local, x)
    )
    left = left._replace(gram=_gram(lanes[0]), finite=_finite(lanes))
    return (new, network.matrices.put(state, x, local)), (lanes, left)


def _application(
    network: _Network, kind: int, lanes: tuple[Vectors, ...], local: Any, x: Any
) -> Any:
    """(next lanes, the matrices' local state, what is left) of one kind of sub-block."""
    block, stem = network.arch.sub_blocks[kind], network.stem
    leaves: dict[Vector, Any] = {Stem(): stem, **{State(i): lane for i, lane in enumerate(lanes)}}
    states = Evaluation(leaves, x["numbers"])
    reads: dict[Vector, Any] = {Read(k): states(read) for k, read in enumerate(block.reads)}
    masks = _masks(block, network.key, x["step"])
    branch = Evaluation(reads, x["numbers"], network.matrices, local, x, x["probes"], masks)
    branch.copies = block.copies
    branch.modulators = {name: branch.modulate(node) for name, node in block.modulators.items()}
    write = branch(block.branch)
    rule = Evaluation(leaves | {Write(): write}, x["numbers"])
    rule.modulators = branch.modulators
    new = tuple(rule(lane) for lane in block.rule)
    inputs = {
        name: branch.inputs.get(name, jnp.zeros(shape, dtype=stem.dtype))
        for name, shape in _input_shapes(network.arch, network.shapes).items()
    }
    tokens = write.shape[:1]
    none = jnp.zeros(tokens, dtype=stem.dtype)
    left = _Left(
        write,
        inputs,
        jax.tree.map(_gram, inputs),
        none if branch.participation is None else branch.participation,
        rule.gain(block.rule[0], write.shape[0]),
        next(iter(rule.modulators.values()), jnp.ones(tokens, dtype=stem.dtype)),
    )
    return new, branch.local, left


def _masks(block: SubBlock, key: Any, step: Array) -> dict[Any, Any]:
    """Return the key of every mask of dropout in a branch, by its name or attention's node."""
    dropped = [
        node
        for node in walk(block.branch)
        if isinstance(node, Dropout) or (isinstance(node, Attend) and node.rate is not None)
    ]
    return {
        getattr(node, "name", node): jax.random.fold_in(jax.random.fold_in(key, step), m)
        for m, node in enumerate(dropped)
    }


def _taps(
    arch: Architecture, stem: Vectors, states: tuple[Array, ...], numbers: dict[str, Any]
) -> Float[Array, "A T n"]:
    """Return what the read-out makes of each state that it looks at, over how many there are."""
    taps: list[Array] = []
    for a in arch.readout.at:
        at = {name: table[min(a, arch.depth - 1)] for name, table in numbers.items()}
        leaves = {Stem(): stem, **{State(i): lane[a] for i, lane in enumerate(states)}}
        read = Evaluation(leaves, at)(arch.readout.read)
        taps.append(Evaluation({Read(): read}, at)(arch.readout.branch) / len(arch.readout.at))
    return jnp.stack(taps)


def _gram(x: Float[Array, "... T n"]) -> Float[Array, "... T T"]:
    """Return <x_t, x_s>, which no gradient passes."""
    x = jax.lax.stop_gradient(x)
    return dot(x, x)


def _finite(lanes: tuple[Vectors, ...]) -> Bool[Array, ""]:
    """Tell if every <h, h> is finite (it overflows before h does)."""
    return jnp.stack(
        [jnp.isfinite(jax.lax.stop_gradient((lane * lane).sum(-1))).all() for lane in lanes]
    ).all()


def _input_shapes(arch: Architecture, shapes: dict[str, Shape]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every matrix's input, [T, n_in], or [E, T, n_in] (biases have none)."""
    return {
        name: (*shapes[name].together, arch.tokens, shapes[name].shape[1])
        for name, node in arch.weights.items()
        if isinstance(node, Linear)
    }

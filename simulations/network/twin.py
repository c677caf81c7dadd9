"""A network's twin: its own normals run through given numbers in place of its own averages, and
what that says of how far this network's rows are from their mean.

A network of width n with Gaussian weights is n units, each with normals of its own, put through a
function that knows the others by averages over them alone (docs/finite-width.md). The twin's units
know given numbers in their place: a matrix answers L g, with L L^T a given Gram of its inputs and
g the network's own normals; a read is a given combination of lanes. So its averages are plain means
over independent units, and for any numbers K and rows

    row of a network - rows . (averages of the twin - K) + rows . (E averages of the twin - K)

has the mean of the row. Where K and rows are those of the infinitely wide network, what fluctuates
is smaller by a factor of order 1/sqrt(n). On the way back that function is pulled, and transposed
answers are known too: L g again, L L^T a given Gram of cotangents. A norm's own derivative and what
a transposed answer owes to forward ones are left out: overlaps that are zero in the wide network,
odd in the read-out, so of second order in rows, which are even. Derivation: Schur complements of
one-sided Gaussian queries, as in ``engines.conditional``; checked in
tests/simulations/network/test_twin.py.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from sigprop.description.architecture import Architecture
from sigprop.description.averages import (
    COTANGENTS,
    INPUTS,
    layout,
    matrices,
    most_uses,
    pulled,
)
from sigprop.language.expression import Read, Vector
from sigprop.simulations.network.evaluation import Evaluation
from sigprop.simulations.network.inner import dot
from sigprop.simulations.network.matrices import Slots
from sigprop.simulations.network.trace import Probes, listen, zero_probes
from sigprop.simulations.network.twins.answers import Answered, Back, answers
from sigprop.simulations.network.twins.uses import Normals, over_uses
from sigprop.simulations.network.weights import Shape

Lanes = Float[Array, "m T n"]
BACK = ("gradients", "gradient_stem", "outputs")
"""Averages that are of a pass back, or of what it starts from."""
LANES = "lanes"  # of every application, where the read-out sees any but the last


class Twin(NamedTuple):
    """The numbers that a twin is run with, and rows in its averages.

    initial [m, T]          lane i starts as initial[i, t] times the stem's output
    reads [D, k, m, T]      read k of an application is the sum over i of reads[k, i, t] lane_i[t];
                            zeros where a kind of sub-block has fewer reads
    transition [D, m, m, T], into [D, m, T]
                            the next lane_i[t] is sum_j transition[i, j, t] lane_j[t] + into[i, t]
                            write[t]
    readout_reads [A, m, T] likewise, what the read-out reads of the lanes at each of its places
    factors                 of every matrix [slots, UT, UT]: lower-triangular, L L^T the Gram of its
                            inputs over a slot's uses, in order (use, token); padded with zeros
    behind                  likewise of what comes back to its outputs, the last use first, so that
                            zeros stand in front; none where no row looks there
    places [p]              which averages are compared, in the order of ``description.averages``
    expected [p]            what they are compared with
    rows [R, p]             how much of each deviation is taken off every row
    """

    initial: Float[Any, "m T"]
    reads: Float[Any, "D k m T"]
    transition: Float[Any, "D m m T"]
    into: Float[Any, "D m T"]
    readout_reads: Float[Any, "A m T"]
    factors: dict[str, Float[Any, "slots UT UT"]]
    behind: dict[str, Float[Any, "slots UT UT"]]
    places: Int[Any, " p"]
    expected: Float[Any, " p"]
    rows: Float[Any, "R p"]

    @property
    def lanes(self) -> int:
        """How many lanes it has, the stem among them where that is read later."""
        return len(self.initial)

    def rounded(self, dtype: str) -> Twin:
        """Return it in a precision."""

        def change(x: Any) -> np.ndarray:
            array = np.asarray(x)
            return array.astype(np.int32 if array.dtype.kind in "iu" else dtype)

        return jax.tree.map(change, self)


class Setting(NamedTuple):
    """What a twin shares with its network: the description's structure, shapes of weights, and
    which averages are looked at (others are left zero)."""

    arch: Architecture
    shapes: dict[str, Shape]
    needed: frozenset[str]


def needed(arch: Architecture, twin: Twin) -> tuple[str, ...]:
    """Name the averages that the twin's rows look at."""
    used = np.unique(np.asarray(twin.places)[np.any(np.asarray(twin.rows) != 0, axis=0)])
    names, ends = [], np.cumsum([np.prod(shape) for shape in layout(arch, twin.lanes).values()])
    start = 0
    for name, end in zip(layout(arch, twin.lanes), ends, strict=True):
        if np.any((used >= start) & (used < end)):
            names.append(name)
        start = end
    return tuple(names)


def looks_back(names: Iterable[str]) -> bool:
    """Tell if averages of these names take a pass back."""
    return any(name in BACK or name.startswith(COTANGENTS) for name in names)


def control(
    setting: Setting,
    twin: Twin,
    stem: Float[Array, "T n"],
    normals: Normals,
    bias: Callable[[str, Slots], Float[Array, "*E n_out"]],
    tables: Any,
    back: Back | None = None,
) -> Float[Array, " R"]:
    """rows . (averages of the twin - what is expected) of one network.

    twin: in the network's precision; bias: the network's (``Matrices.bias``); tables: over
    applications, as of ``passes.run``; back: where averages that are needed ``looks_back``.
    """
    shapes, transposed = setting.shapes, {} if back is None else back.normals
    forward = {
        weight: answers(shapes[weight].shape[1], twin.factors[weight], g)
        for weight, g in normals.items()
    }
    behind = {
        weight: answers(shapes[weight].shape[0], twin.behind[weight], g)
        for weight, g in transposed.items()
    }
    run = functools.partial(
        _forward, setting, twin, Answered(setting.arch, forward, behind, bias), tables, stem
    )
    found = run(None)[1] if back is None else _back(setting, run, stem, back.readout)
    shown = layout(setting.arch, twin.lanes)
    flat = jnp.concatenate(
        [
            found[name].ravel() if name in found else jnp.zeros(math.prod(shape), dtype=stem.dtype)
            for name, shape in shown.items()
        ]
    )
    off = flat[twin.places] - twin.expected
    return jnp.matmul(twin.rows, off, precision=jax.lax.Precision.HIGHEST)


def _forward(
    setting: Setting,
    twin: Twin,
    answered: Answered,
    tables: Any,
    stem: Float[Array, "T n"],
    probes: Probes | None,
) -> tuple[Any, dict[str, Array]]:
    """Run the twin: (what its read-out sees [A, T, n], where probes ask for it; its averages)."""
    stem = stem if probes is None else stem + probes.stem
    lanes = jnp.asarray(twin.initial)[:, :, None] * stem[None]
    given = {name: tables[name] for name in ("kind", "slots", "uses", "numbers")} | {
        "reads": twin.reads,
        "transition": twin.transition,
        "into": twin.into,
        "probes": None if probes is None else (probes.outputs, probes.output_grams),
        "heard": None if probes is None else (probes.before, probes.grams[:-1]),
    }
    last, left = jax.lax.scan(functools.partial(_step, setting, answered), lanes, given)
    if probes is None:
        return None, _averages(setting, stem, last, left)
    last = _heard(last, (probes.after, probes.grams[-1]))
    taps = _taps(setting.arch, twin, last, left, tables["numbers"])
    return taps, _averages(setting, stem, last, left)


def _averages(
    setting: Setting, stem: Float[Array, "T n"], last: Lanes, left: dict[str, Array]
) -> dict[str, Array]:
    """Take the averages that are needed of a twin's pass."""
    arch = setting.arch
    found = {name: left[name] for name in ("overlaps", "writes") if name in left}
    if "states" in left:
        found["states"] = jnp.concatenate([left["states"], _lane_grams(last)[None]])
    if "crossed" in left:
        found["crossed"] = _between(jnp.concatenate([left["crossed"], last[:1]]))
    if "write_crossed" in left:
        found["write_crossed"] = _between(left["write_crossed"])
    if "stem" in setting.needed:
        found["stem"] = (stem * stem).mean(axis=-1)
    for name in left:
        if name.startswith(INPUTS):
            found[name] = over_uses(arch, name.removeprefix(INPUTS), left[name])
    return found


def _between(x: Float[Array, "A T n"]) -> Float[Array, "A A T"]:
    """Return <x_a[t], x_b[t]>."""
    products = jnp.einsum("atn,btn->abt", x, x, precision=jax.lax.Precision.HIGHEST)
    return products / x.shape[-1]


def _back(
    setting: Setting, run: Any, stem: Float[Array, "T n"], readout: Float[Array, "T n"]
) -> dict[str, Array]:
    """Pull the read-out's cotangent back through a twin: the averages that are needed of both
    passes."""
    arch = setting.arch
    probes = zero_probes(arch, tuple(setting.shapes.values()), stem.shape[-1], stem.dtype)
    taps, vjp, found = jax.vjp(run, probes, has_aux=True)
    (g,) = vjp(jnp.broadcast_to(readout[None], taps.shape))
    found |= {"gradients": g.grams, "gradient_stem": dot(g.stem, g.stem)}
    if len(taps) == 1:
        found["outputs"] = dot(taps[0], taps[0])
    for weight in pulled(arch):
        came = g.outputs[weight] if most_uses(arch, weight) > 1 else g.output_grams[weight]
        found[COTANGENTS + weight] = over_uses(arch, weight, came)
    return {name: value for name, value in found.items() if name in setting.needed}


def _taps(
    arch: Architecture, twin: Twin, last: Lanes, left: dict[str, Array], numbers: Any
) -> Float[Array, "A T n"]:
    """Return what the read-out makes of lanes, as ``passes.run`` does of states."""
    taps: list[Array] = []
    for k, a in enumerate(arch.readout.at):
        at = {name: table[min(a, arch.depth - 1)] for name, table in numbers.items()}
        lanes = last if a == arch.depth else left[LANES][a]
        read = _mixed(jnp.asarray(twin.readout_reads)[k][None], lanes)[0]
        taps.append(Evaluation({Read(): read}, at)(arch.readout.branch) / len(arch.readout.at))
    return jnp.stack(taps)


def _heard(lanes: Lanes, heard: Any) -> Lanes:
    """Return the lanes, lane 0 with its probe added and one that listens."""
    probe, gram = heard
    return jnp.concatenate([listen(lanes[0] + probe, gram)[None], lanes[1:]])


def _step(setting: Setting, answered: Answered, lanes: Lanes, x: Any) -> tuple[Lanes, Any]:
    """One application: (the next lanes, what is left for the averages and the read-out)."""
    back = x["heard"] is not None
    lanes = _heard(lanes, x["heard"]) if back else lanes
    reads = _mixed(x["reads"], lanes)
    count = len(setting.arch.sub_blocks)
    kinds = [functools.partial(_branch, setting, answered, kind) for kind in range(count)]
    write, inputs = kinds[0](reads, x) if count == 1 else jax.lax.switch(x["kind"], kinds, reads, x)
    new = _mixed(x["transition"], lanes) + x["into"][:, :, None] * write[None]
    made: dict[str, Callable[[], Array]] = {
        "states": lambda: _lane_grams(lanes),
        "crossed": lambda: lanes[0],
        "overlaps": lambda: (write[None] * lanes).mean(axis=-1),
        "writes": lambda: dot(write, write),
        "write_crossed": lambda: write,
    }
    left = {name: make() for name, make in made.items() if name in setting.needed} | inputs
    early = back and min(setting.arch.readout.at) < setting.arch.depth
    return new, left | ({LANES: lanes} if early else {})


def _branch(
    setting: Setting, answered: Answered, kind: int, reads: Float[Array, "k T n"], x: Any
) -> tuple[Float[Array, "T n"], dict[str, Array]]:
    """(the write of one kind of sub-block, matrices' inputs: their Grams where no slot is used
    twice)."""
    arch, block = setting.arch, setting.arch.sub_blocks[kind]
    leaves: dict[Vector, Any] = {Read(k): reads[k] for k in range(len(block.reads))}
    probes = x["probes"]
    if probes is None:  # nothing listens: no gradient is taken
        outputs = {
            name: jnp.zeros((arch.tokens, s.shape[0]), dtype=reads.dtype)
            for name, s in setting.shapes.items()
        }
        grams = dict.fromkeys(outputs, jnp.zeros((arch.tokens, arch.tokens), dtype=reads.dtype))
        probes = outputs, grams
    branch = Evaluation(leaves, x["numbers"], answered, None, x, probes)
    write = branch(block.branch)
    inputs = {}
    for weight in matrices(arch):
        if INPUTS + weight in setting.needed:
            side = setting.shapes[weight].shape[1]
            seen = branch.inputs.get(weight, jnp.zeros((arch.tokens, side), dtype=reads.dtype))
            inputs[INPUTS + weight] = seen if most_uses(arch, weight) > 1 else dot(seen, seen)
    return write, inputs


def _mixed(numbers: Float[Array, "k m T"], lanes: Lanes) -> Float[Array, "k T n"]:
    """Return sums of lanes, token by token."""
    return (jnp.asarray(numbers)[:, :, :, None] * lanes[None]).sum(axis=1)


def _lane_grams(lanes: Lanes) -> Float[Array, "m m T T"]:
    """Return <S_i[t], S_j[s]>."""
    count, tokens, side = lanes.shape
    flat = lanes.reshape(count * tokens, side)
    return jnp.moveaxis(dot(flat, flat).reshape(count, tokens, count, tokens), 2, 1)

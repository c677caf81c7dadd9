"""A network's twin: its own normals run through given numbers in place of its own averages, and
what that says of how far this network's rows are from their mean.

A network of width n with Gaussian weights is n units, each with normals of its own, put through a
function that knows the others by averages over them alone (docs/finite-width.md). The twin's units
know given numbers in their place: a matrix answers L g, with L L^T a given Gram of its inputs and
g the network's own normals; a read is a given combination of lanes. So its averages are plain means
over independent units, and for any numbers K and rows

    row of a network - rows . (averages of the twin - K) + rows . (E averages of the twin - K)

has the mean of the row. Where K and rows are those of the infinitely wide network, what fluctuates
is smaller by a factor of order 1/sqrt(n). Derivation: Schur complements of one-sided Gaussian
queries, as in ``engines.conditional``; checked in tests/simulations/network/test_twin.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from sigprop.description.architecture import Architecture
from sigprop.description.averages import INPUTS, layout, matrices, most_uses
from sigprop.language.expression import Read, Vector
from sigprop.simulations.network.evaluation import Evaluation
from sigprop.simulations.network.inner import dot
from sigprop.simulations.network.matrices import Matrices, Slots
from sigprop.simulations.network.weights import Shape

Lanes = Float[Array, "m T n"]
Normals = dict[str, Float[Array, "slots U T n_out"]]
"""Of every matrix: unit normals of its answers, at every use of every slot (any where a slot has
fewer uses)."""


class Twin(NamedTuple):
    """The numbers that a twin is run with, and rows in its averages.

    initial [m, T]          lane i starts as initial[i, t] times the stem's output
    reads [D, k, m, T]      read k of an application is the sum over i of reads[k, i, t] lane_i[t];
                            zeros where a kind of sub-block has fewer reads
    transition [D, m, m, T], into [D, m, T]
                            the next lane_i[t] is sum_j transition[i, j, t] lane_j[t] + into[i, t]
                            write[t]
    factors                 of every matrix [slots, UT, UT]: lower-triangular, L L^T the Gram of its
                            inputs over a slot's uses, in order (use, token); padded with zeros
    places [p]              which averages are compared, in the order of ``description.averages``
    expected [p]            what they are compared with
    rows [R, p]             how much of each deviation is taken off every row
    """

    initial: Float[Any, "m T"]
    reads: Float[Any, "D k m T"]
    transition: Float[Any, "D m m T"]
    into: Float[Any, "D m T"]
    factors: dict[str, Float[Any, "slots UT UT"]]
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


class Answered:
    """What an evaluation asks of matrices, all answers known beforehand: {weight: [slots, U, T,
    n_out]}; biases are the network's."""

    def __init__(
        self, answers: Normals, bias: Callable[[str, Slots], Float[Array, "*E n_out"]]
    ) -> None:
        self.answers, self.bias = answers, bias

    def apply(
        self, local: Any, place: Any, weight: str, x: Float[Array, "T n_in"]
    ) -> tuple[Float[Array, "T n_out"], Any]:
        """(the answer, nothing): whatever is asked."""
        return self.answers[weight][place["slots"][weight], place["uses"][weight]], local


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


def steps(arch: Architecture, weight: str) -> Int[np.ndarray, "slots U"]:
    """Return the applications that use each slot, in order; -1 where it has fewer."""
    used = list(arch.applications_of(weight).values())
    most = most_uses(arch, weight)
    return np.array([each + [-1] * (most - len(each)) for each in used], dtype=np.int32)


def control(
    setting: Setting,
    twin: Twin,
    stem: Float[Array, "T n"],
    normals: Normals,
    bias: Callable[[str, Slots], Float[Array, "*E n_out"]],
    tables: Any,
) -> Float[Array, " R"]:
    """rows . (averages of the twin - what is expected) of one network.

    twin: in the network's precision; bias: the network's (``Matrices.bias``); tables: over
    applications, as of ``passes.run``.
    """
    found = _averages(setting, twin, stem, _answered(setting, twin, normals, bias), tables)
    flat = jnp.concatenate([found[name].ravel() for name in layout(setting.arch, twin.lanes)])
    off = flat[twin.places] - twin.expected
    return jnp.matmul(twin.rows, off, precision=jax.lax.Precision.HIGHEST)


def _answered(setting: Setting, twin: Twin, normals: Normals, bias: Any) -> Answered:
    """Give every matrix its answers: entries of variance 1 are asked, so n_in is made up for."""
    answers = {}
    for weight, g in normals.items():
        slots, uses, tokens, side = g.shape
        length = np.sqrt(setting.shapes[weight].shape[1]).astype(g.dtype)
        found = jnp.matmul(
            length * twin.factors[weight],
            g.reshape(slots, uses * tokens, side),
            precision=jax.lax.Precision.HIGHEST,
        )
        answers[weight] = found.reshape(g.shape)
    return Answered(answers, bias)


def _averages(
    setting: Setting, twin: Twin, stem: Float[Array, "T n"], answered: Answered, tables: Any
) -> dict[str, Array]:
    """Run the twin, and take its averages."""
    arch, dtype = setting.arch, stem.dtype
    lanes = jnp.asarray(twin.initial)[:, :, None] * stem[None]
    given = {name: tables[name] for name in ("kind", "slots", "uses", "numbers")} | {
        "reads": twin.reads,
        "transition": twin.transition,
        "into": twin.into,
    }
    last, left = jax.lax.scan(functools.partial(_step, setting, answered), lanes, given)
    found = {name: jnp.zeros(s, dtype=dtype) for name, s in layout(arch, twin.lanes).items()}
    if "states" in left:
        found["states"] = jnp.concatenate([left["states"], _lane_grams(last)[None]])
    if "crossed" in left:
        lane = jnp.concatenate([left["crossed"], last[:1]])
        products = jnp.einsum("atn,btn->abt", lane, lane, precision=jax.lax.Precision.HIGHEST)
        found["crossed"] = products / lane.shape[-1]
    found |= {name: left[name] for name in ("overlaps", "writes") if name in left}
    if "stem" in setting.needed:
        found["stem"] = (stem * stem).mean(axis=-1)
    for weight in matrices(arch):
        if INPUTS + weight in left:
            shape = found[INPUTS + weight].shape
            found[INPUTS + weight] = _over_uses(arch, weight, left[INPUTS + weight]).reshape(shape)
    return found


def _step(setting: Setting, answered: Answered, lanes: Lanes, x: Any) -> tuple[Lanes, Any]:
    """One application: (the next lanes, what is left for the averages)."""
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
    }
    return new, {name: make() for name, make in made.items() if name in setting.needed} | inputs


def _branch(
    setting: Setting, answered: Answered, kind: int, reads: Float[Array, "k T n"], x: Any
) -> tuple[Float[Array, "T n"], dict[str, Array]]:
    """(the write of one kind of sub-block, matrices' inputs: their Grams where no slot is used
    twice)."""
    arch, block = setting.arch, setting.arch.sub_blocks[kind]
    leaves: dict[Vector, Any] = {Read(k): reads[k] for k in range(len(block.reads))}
    # nothing listens: no gradient is taken
    outputs = {
        name: jnp.zeros((arch.tokens, s.shape[0]), dtype=reads.dtype)
        for name, s in setting.shapes.items()
    }
    grams = dict.fromkeys(outputs, jnp.zeros((arch.tokens, arch.tokens), dtype=reads.dtype))
    branch = Evaluation(leaves, x["numbers"], answered, None, x, (outputs, grams))
    write = branch(block.branch)
    inputs = {}
    for weight in matrices(arch):
        if INPUTS + weight in setting.needed:
            side = setting.shapes[weight].shape[1]
            seen = branch.inputs.get(weight, jnp.zeros((arch.tokens, side), dtype=reads.dtype))
            inputs[INPUTS + weight] = seen if most_uses(arch, weight) > 1 else dot(seen, seen)
    return write, inputs


def _over_uses(
    arch: Architecture, weight: str, left: Float[Array, "D T _"]
) -> Float[Array, "slots UT UT"]:
    """Return the Gram of a matrix's inputs over the uses of each slot: left are inputs, or where
    no slot is used twice Grams."""
    at = steps(arch, weight)
    if at.shape[1] == 1:
        return left[at[:, 0]]
    real = jnp.asarray(at >= 0)[:, :, None, None].astype(left.dtype)
    seen = (left[at] * real).reshape(len(at), at.shape[1] * left.shape[1], left.shape[2])
    return dot(seen, seen)


def _mixed(numbers: Float[Array, "k m T"], lanes: Lanes) -> Float[Array, "k T n"]:
    """Return sums of lanes, token by token."""
    return (jnp.asarray(numbers)[:, :, :, None] * lanes[None]).sum(axis=1)


def _lane_grams(lanes: Lanes) -> Float[Array, "m m T T"]:
    """Return <S_i[t], S_j[s]>."""
    count, tokens, side = lanes.shape
    flat = lanes.reshape(count * tokens, side)
    return jnp.moveaxis(dot(flat, flat).reshape(count, tokens, count, tokens), 2, 1)


def normals_of(
    arch: Architecture, given: Matrices, inputs: dict[str, Float[Array, "D T n_in"]]
) -> Normals:
    """Return a network's own unit normals. given: its matrices; inputs: what each was asked,
    application by application."""
    found: Normals = {}
    for weight in matrices(arch):
        at = steps(arch, weight)
        real = jnp.asarray(at >= 0)[:, :, None, None]
        asked = inputs[weight][at]
        found[weight] = given.normals(weight, at, jnp.where(real, asked, jnp.zeros_like(asked)))
    return found

"""Units beside the Gram scan that are no part of any average: what many of them are in the wide
limit, at one recursion for all.

A traced unit (``units.beside``) moves the averages that it is a part of, so that every unit has a
recursion of its own. To first order it need not: what a unit moves is its part in every average
times the derivative by that (``sources.sources``), and its part is a function of the limit alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.description.sub_block import SubBlock
from sigprop.language.expression import Linear, Vector
from sigprop.language.traversal import walk
from sigprop.theory.calculus.by_band import Bands
from sigprop.theory.calculus.log_scale import log_scale
from sigprop.theory.recursion.advance import Grams
from sigprop.theory.recursion.sources.sources import FARTHEST
from sigprop.theory.recursion.units.beside import Lanes, Tracer, looked_up, places
from sigprop.theory.recursion.units.drawing import Traced, Tracing
from sigprop.theory.recursion.units.unit import Reads


class Left(NamedTuple):
    """What a step leaves of a unit. write [K, T], as a mantissa; inputs {matrix: [C, T]}: what it
    gives to the step's matrices, in the units of the network (0 where the step has it not); for
    the way back what it read, and its outputs {matrix or bias: [C, T]}."""

    write: Any
    inputs: dict[str, Any]
    reads: Reads
    outputs: dict[str, Any]


class Drawing(NamedTuple):
    """What a step is given of a unit that leaves what it gives to matrices. given {matrix: zeros
    [P, C, T]}."""

    tracing: Tracing
    given: dict[str, Any]

    def beside(self, env: Any, block: SubBlock, readout: bool) -> Traced:
        """Put the unit into an environment; what a step leaves of it."""
        traced = self.tracing.beside(env, block, readout)
        inputs = {name: jnp.zeros_like(table[0]) for name, table in self.given.items()}
        for u in dict.fromkeys(node for node in walk(block.branch) if isinstance(node, Linear)):
            inputs[u.weight] = in_units(u.of, env)
        reads, outputs, *_ = traced.seen
        return traced._replace(seen=Left(traced.write[0], inputs, reads, outputs))


def in_units(u: Vector, env: Any) -> Float[Array, "C T"]:
    """Return the unit's value of an expression in the units of the network."""
    log = jnp.clip(log_scale(u, "a", env), -FARTHEST, FARTHEST)
    return env.unit.value(u, env) * jnp.exp(log)


class Apart(Tracer):
    """A unit beside a recursion of one band, of which it is no part; all as of ``Tracer``."""

    def means(self, lanes: Lanes) -> dict[str, Any]:
        """Return nothing: the limit's means are 0."""
        return {}

    def averaged(self, gram: Grams, lanes: Lanes) -> Grams:
        """Return the state's Gram as it is."""
        return gram

    def seen(
        self, tables: dict[str, Any], p: Any, grams: tuple[Any, Any], lanes: Lanes, columns: Any
    ) -> tuple[Any, Any]:
        """Return Grams as they are."""
        return grams

    def written(
        self, x: Any, lanes: Lanes, grams: tuple[Grams, Any, Any], traced: Traced
    ) -> tuple[tuple[Any, Any, Any], Any]:
        """Return Grams and the step's slice as they are; <w, w> of every band."""
        return (*grams[:2], grams[2][:, :, None]), x

    def step(self, tables: dict[str, Any], x: Any, lanes: Lanes, read: tuple[Any, Any]) -> Any:
        """Return what a step is given of the unit. read: coefficients of the reads on the lanes [R,
        m, K, T], and on 1 [R, T]."""
        unit = jnp.einsum("rikt,ikt->rkt", read[0], lanes.unit)
        reads, bands = Reads(unit, jnp.zeros_like(unit)), Bands(self.bands, places(x["by_band"]))
        tracing = Tracing(None, bands, reads, self.normals, *looked_up(tables, x))
        return Drawing(tracing, self.given)

    def left(self, traced: Traced, x: Any, grams: tuple[Any, Any, Any], scales: Any) -> Any:
        """Return what the step left of the unit."""
        return {"alone": traced.seen}


class Alone(NamedTuple):
    """A unit's values at every average that a network sees, in the units of the network: lanes
    [P + 1, m, T] before every step and after the last, writes [P, T], inputs {matrix: [P, C, T]},
    stem [T]."""

    lanes: Float[Array, "P+1 m T"]
    writes: Float[Array, "P T"]
    inputs: dict[str, Float[Array, "P C T"]]
    stem: Float[Array, " T"]


def alone(kernels: dict[str, Any], forward: dict[str, Any], stem_log: Any) -> Alone:
    """Return what a forward pass left of the unit beside it. stem_log [T]: of the stem's scale."""
    left, lanes = forward["alone"], forward["last"].tables["lanes"].unit[:, :, 0]
    return Alone(
        lanes * jnp.exp(kernels["state_log"])[:, None],
        left.write[:, 0] * jnp.exp(kernels["write_log"]),
        left.inputs,
        forward["stem"][1][0] * jnp.exp(stem_log),
    )

"""What comes back to units that are no part of any average (``apart``): their cotangents in the
wide limit, where overlaps of gradients with what the forward pass left are 0.

To first order a unit moves gradients by what it adds to Grams of cotangents; what its cotangents
owe to overlaps (``units.overlaps``) is of second order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.language.expression import Vector
from sigprop.language.traversal import walk
from sigprop.theory.calculus.by_band import Bands
from sigprop.theory.calculus.transpose import Cotangent, Transposed
from sigprop.theory.recursion.advance import Into, Transition
from sigprop.theory.recursion.sources.apart import Left, in_units
from sigprop.theory.recursion.units.beside import kept, looked_up
from sigprop.theory.recursion.units.drawing import Traced, Tracing
from sigprop.theory.recursion.units.pulled import Pulled


class Returning(NamedTuple):
    """What a step is given on the way back of a unit. delta [K, T]: the cotangent of the branch's
    output; outputs: what the forward pass drew; given {weight: zeros [P, C, T]}."""

    tracing: Tracing
    delta: Any
    outputs: dict[str, Any]
    given: dict[str, Any]

    def behind(
        self, env: Any, turned: list[Vector | None], cotangents: dict[str, Vector]
    ) -> Traced:
        """Put the unit into an environment of the way back; what a step leaves of it: its
        cotangents {weight or bias: [C, T]} of outputs, in the units of the network (0 where the
        step has it not)."""
        tracing = self.tracing._replace(factors=dict(self.tracing.factors))
        tracing = tracing._replace(grams={})
        unit = Pulled(None, tracing.bands, tracing.reads, {}, dict(self.outputs))
        env.unit, unit.cotangent = unit, self.delta
        tops = [y for y in (*turned, *cotangents.values()) if y is not None]
        nodes = [u for y in tops for u in reversed(list(walk(y))) if isinstance(u, Transposed)]
        for node in dict.fromkeys(nodes):  # those inside others first
            unit.values[node] = tracing.draw(node, env)
        left = {name: jnp.zeros_like(table[0]) for name, table in self.given.items()}
        left |= {name: in_units(d, env) for name, d in cotangents.items() if name in left}
        like = unit.value(Cotangent(), env)
        writes = [0 * like if y is None else unit.value(y, env) for y in turned]
        return Traced(jnp.stack(writes), tracing.blank(), tracing.factors, None, left)


class ApartBehind(NamedTuple):
    """A unit beside a reversed recursion of one band, of which it is no part. bands; start [m, K,
    T]: its lanes at the first step, all zero but for v's; normals {weight: [P, C, T]} of the
    transposes, the last step's first; given {weight or bias: zeros [P, C, T]}."""

    bands: Any
    start: Any
    normals: dict[str, Any]
    given: dict[str, Any]

    @property
    def tokens(self) -> int:
        """T."""
        return self.start.shape[-1]

    def kept(self, steps: int, coupled: bool) -> dict[str, Any]:
        """Return zeros of what is looked up of the unit at earlier steps."""
        zeros = jnp.zeros((steps + 1, *self.start.shape), dtype=jnp.float64)
        return {"lanes": zeros.at[0].set(self.start)} | kept(self, steps, coupled)

    def means(self, lanes: Any) -> dict[str, Any]:
        """Return nothing: what comes back has no mean."""
        return {}

    def averaged(self, gram: Any, lanes: Any) -> Any:
        """Return the gradients' Gram as it is."""
        return gram

    def seen(self, tables: Any, p: Any, grams: Any, lanes: Any, columns: Any) -> Any:
        """Return Grams as they are."""
        return grams

    def written(self, x: Any, lanes: Any, grams: Any, traced: Traced) -> tuple[Any, Any]:
        """Return Grams and the step's slice as they are."""
        return grams, x

    def step(self, tables: dict[str, Any], x: Any, lanes: Any, read: tuple[Any, Any]) -> Returning:
        """Return what a step is given of the unit. read: coefficients of delta on the lanes [1, m,
        K, T], and on 1."""
        forward: Left = x["unit"]
        bands = Bands(self.bands)
        tracing = Tracing(None, bands, forward.reads, self.normals, *looked_up(tables, x))
        delta = jnp.einsum("ikt,ikt->kt", read[0][0], lanes)
        return Returning(tracing, delta, forward.outputs, self.given)

    def after(
        self,
        rule: tuple[Transition, Into, Any, Any],
        lanes: Any,
        traced: Traced,
        tables: dict[str, Any],
        p: Any,
    ) -> tuple[Any, dict[str, Any]]:
        """Return the unit's lanes after a step, and the tables that hold them. rule: M and B are
        its first."""
        m, b, *_ = rule
        now = jnp.einsum("ijkt,jkt->ikt", m, lanes)
        now = now + jnp.einsum("iwkt,wkt->ikt", b, traced.write)
        return now, tables | {"lanes": tables["lanes"].at[p + 1].set(now)}

    def left(self, traced: Traced, x: Any, grams: Any, scales: Any) -> dict[str, Any]:
        """Return what the step left of the unit."""
        return {"alone": traced.seen}


class Returned(NamedTuple):
    """A unit's cotangents, in the units of the network: gradients [P + 1, T], by lane 0 before
    every step and after the last; stem [T]; cotangents {weight or bias: [P, C, T]}, of outputs."""

    gradients: Float[Array, "P+1 T"]
    stem: Float[Array, " T"]
    cotangents: dict[str, Float[Array, "P C T"]]


def returned(kernels: dict[str, Any], back: dict[str, Any], initial: Any) -> Returned:
    """Return what a pass back left of the unit beside it. kernels: of the forward pass; initial [m,
    K, T]: lanes by the stem."""
    cotangents, lanes = back["alone"]
    log = back["gradient_log"][::-1] - kernels["state_log"]
    stem = jnp.einsum("ikt,ikt->t", initial, lanes[0, : len(initial)])
    log_of_stem = back["stem_log"].reshape(log.shape[1:])
    return Returned(lanes[:, 0, 0] * jnp.exp(log), stem * jnp.exp(log_of_stem), cotangents)

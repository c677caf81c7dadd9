"""A unit beside the reversed Gram scan: its cotangents, step by step, and the averages that it is a
part of."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from sigprop.language.expression import Vector
from sigprop.language.traversal import walk
from sigprop.theory.calculus.transpose import Transposed
from sigprop.theory.recursion.advance import Grams, Into, Transition
from sigprop.theory.recursion.units.beside import kept, looked_up
from sigprop.theory.recursion.units.drawing import Traced, Tracing
from sigprop.theory.recursion.units.pulled import Pulled
from sigprop.theory.recursion.units.unit import Given, Reads


class Pulling(NamedTuple):
    """What a step is given on the way back. tracing: as forward, with what the forward pass read;
    outputs: what it drew {matrix or bias: [C, T]}; cotangent [1, T]: of the branch's output."""

    tracing: Tracing
    outputs: dict[str, Any]
    cotangent: Any

    def pulled(self, earlier: dict[str, Given]) -> Pulled:
        """Return the unit. earlier: what its partners' units gave to weights forward."""
        tracing = self.tracing
        return Pulled(
            tracing.t,
            tracing.reads,
            earlier,
            dict(self.outputs),
            cotangent=self.cotangent,
            later=tracing.earlier,
        )


class Reverser(NamedTuple):
    """A unit that is traced beside the reversed recursion (``pulled``). t: its weight; start [m,
    K, T]: its lanes at the first step, all zero but for v's; normals {weight: [P, C, T]} of the
    transposes, the last step's first; given {weight: zeros [P, C, T]}: of what it gives to them."""

    t: Any
    start: Any
    normals: dict[str, Any]
    given: dict[str, Any]

    @property
    def lanes(self) -> Any:
        """The lanes at the first step."""
        return self.start

    def kept(self, steps: int, coupled: bool) -> dict[str, Any]:
        """Return zeros of what later steps look up of the unit at earlier ones."""
        return kept(self, steps, coupled)

    def means(self, lanes: Any) -> dict[str, Any]:
        """Return nothing: what comes back has no mean."""
        return {}

    def averaged(self, gram: Grams, lanes: Any) -> Grams:
        """Return the gradients' Gram as a network averages it, the unit among all."""
        return (1 - self.t) * gram + self.t * jnp.einsum("ikt,jks->ijkts", lanes, lanes)

    def seen(
        self, tables: dict[str, Any], p: Any, grams: tuple[Any, Any], lanes: Any, columns: Any
    ) -> tuple[Any, Any]:
        """Return the Gram of one step's lanes, likewise; no quantity reads those of several."""
        gram, rows = grams
        return self.averaged(gram, lanes), rows

    def written(self, x: Any, lanes: Any, grams: Any, traced: Traced) -> tuple[Any, Any]:
        """Return the Grams and the step's slice as they are: the rule back does not read them."""
        return grams, x

    def step(self, tables: dict[str, Any], x: Any, lanes: Any, read: tuple[Any, Any]) -> Pulling:
        """Return what a step is given of the unit. read: coefficients of delta on the lanes [1, m,
        K, T], and on 1."""
        reads, outputs = x["unit"]
        tracing = Tracing(self.t, Reads(*reads), self.normals, *looked_up(tables, x))
        return Pulling(tracing, outputs, jnp.einsum("rikt,ikt->rt", read[0], lanes))

    def after(
        self,
        rule: tuple[Transition, Into, Any],
        lanes: Any,
        traced: Traced,
        tables: dict[str, Any],
        p: Any,
    ) -> tuple[Any, dict[str, Any]]:
        """Return the unit's lanes after a step, and the tables as they are. rule: M, B, and nothing
        on 1."""
        m, b, _ = rule
        now = jnp.einsum("ijkt,jkt->ikt", m, lanes) + jnp.einsum("iwkt,wt->ikt", b, traced.write)
        return now, tables


def draw_back(
    env: Any, turned: list[Vector | None], cotangents: dict[str, Vector], tracing: Tracing
) -> Traced:
    """Draw what comes back through a branch's matrices at the unit of ``env``. turned: the branch's
    transposed Jacobian, by read; cotangents {weight: d of its output}."""
    unit, like = env.unit, tracing.reads.unit[0]
    given, tracing = tracing.blank(), tracing._replace(factors=dict(tracing.factors))
    tops = [y for y in (*turned, *cotangents.values()) if y is not None]
    nodes = [u for y in tops for u in reversed(list(walk(y))) if isinstance(u, Transposed)]
    for node in dict.fromkeys(nodes):  # those inside others first
        unit.values[node] = tracing.draw(node, env)
    for name, d in cotangents.items():
        if name in given:
            value = unit.value(d, env)
            given[name] = Given(value, jnp.zeros_like(value[0]))
    write = jnp.stack([jnp.zeros_like(like) if y is None else unit.value(y, env)[0] for y in turned])
    return Traced(write, given, tracing.factors, jnp.zeros_like(write))

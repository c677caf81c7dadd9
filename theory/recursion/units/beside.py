"""A unit beside a Gram scan: its lanes, step by step, and the averages that it is a part of."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Int

from sigprop.theory.recursion.advance import Grams, Into, Transition
from sigprop.theory.recursion.units.unit import Given, Reads, Traced, Tracing


class Draws(NamedTuple):
    """A unit to trace: its weight t among all, its normals in the stem [T] and {matrix or bias:
    [P, C, T]}; zeros for what it gives to these, of its own C."""

    t: Any
    stem: Any
    normals: dict[str, Any]
    given: dict[str, Any]


class Lanes(NamedTuple):
    """A unit's lanes [m, K, T], and the mean of the others' (what LayerNorm took away)."""

    unit: Any
    others: Any


class Tracer(NamedTuple):
    """A unit that is traced beside a recursion of one band (``unit``). t: its weight; start [m, K,
    T]: its lanes at the first step; normals {matrix or bias: [P, C, T]}; given {matrix or bias:
    zeros [P, C, T]}, of what it gives to them."""

    t: Any
    start: Any
    normals: dict[str, Any]
    given: dict[str, Any]

    @property
    def lanes(self) -> Lanes:
        """The lanes at the first step."""
        return Lanes(self.start, jnp.zeros_like(self.start))

    def kept(self, steps: int, coupled: bool) -> dict[str, Any]:
        """Return zeros of what later steps look up of the unit at earlier ones."""
        zeros = jnp.zeros((steps + 1, *self.start.shape), dtype=jnp.float64)
        tokens = self.start.shape[-1]
        factor = jnp.zeros((steps, tokens, steps, tokens), dtype=jnp.float64)
        given = {name: Given(table, table[:, 0]) for name, table in self.given.items()}
        return {
            "lanes": Lanes(zeros.at[0].set(self.start), zeros),
            "given": given if coupled else {},
            "factors": dict.fromkeys(self.normals if coupled else (), factor),
        }

    def means(self, lanes: Lanes) -> dict[str, Any]:
        """Return the lanes' means over all coordinates, the unit's among them."""
        return {"means": (1 - self.t) * lanes.others + self.t * lanes.unit}

    def averaged(self, gram: Grams, lanes: Lanes) -> Grams:
        """Return the state's Gram as a network averages it, the unit among all."""
        unit, others = (jnp.einsum("ikt,jks->ijkts", x, x) for x in lanes)
        return (1 - self.t) * (gram + others) + self.t * unit

    def seen(
        self,
        kept: dict[str, Any],
        p: Any,
        grams: tuple[Any, Any],
        lanes: Lanes,
        columns: Int[Any, " C"],
    ) -> tuple[Any, Any]:
        """Return <S_p+1, S_p+1> and <S_p+1, S_c> of tracked boundaries, likewise."""
        gram, rows = grams
        unit, others = (
            jnp.einsum("ikt,cjks->cijkts", now, table[columns])
            for now, table in zip(lanes, kept["lanes"], strict=True)
        )
        reached = (columns <= p + 1)[:, None, None, None, None, None]
        mixed = (1 - self.t) * (rows + others) + self.t * unit
        return self.averaged(gram, lanes), jnp.where(reached, mixed, rows)

    def averaged_writes(
        self, lanes: Lanes, gram: Grams, cross: Any, own: Any, traced: Traced
    ) -> tuple[Any, Any, Any]:
        """Return <S, S>, <w, S> [1, m, K, T, T] and <w, w> [1, 1, T, T], likewise."""
        t, writes = self.t, (traced.write, traced.mean)
        of_unit, of_others = (
            (jnp.einsum("t,iks->ikts", w, s)[None], (w[:, None] * w[None, :])[None, None])
            for w, s in zip(writes, lanes, strict=True)
        )
        return (
            self.averaged(gram, lanes),
            (1 - t) * (cross + of_others[0]) + t * of_unit[0],
            (1 - t) * (own + of_others[1]) + t * of_unit[1],
        )

    def step(self, kept: dict[str, Any], x: Any, lanes: Lanes, read: tuple[Any, Any]) -> Tracing:
        """Return what a step is given of the unit. read: coefficients of the reads on the lanes [R,
        m, K, T], and on 1 [R, T]."""
        q = jnp.minimum(x["partners"], kept["lanes"].unit.shape[0] - 2)
        rho, shift = read
        reads = Reads(*(jnp.einsum("rikt,ikt->rt", rho, part) + shift for part in lanes))
        earlier = {
            name: Given(*(table[q] for table in tables)) for name, tables in kept["given"].items()
        }
        return Tracing(
            self.t, reads, self.normals, x["step"], x["partners"], earlier, kept["factors"]
        )

    def mean_write(self, traced: Traced) -> Any:
        """Return the mean over all coordinates of a write [T]."""
        return (1 - self.t) * traced.mean + self.t * traced.write


def next_lanes(
    m: Transition,
    b: Into,
    shift: Any,
    lanes: Lanes,
    traced: Traced,
    tables: dict[str, Any],
    p: Any,
) -> tuple[Lanes, dict[str, Any]]:
    """Return the unit's lanes after step p, with the others' mean, and the tables that hold them.
    shift [m, K, T]: the rule's coefficients on 1."""
    now = [
        jnp.einsum("ijkt,jkt->ikt", m, part) + b[:, 0] * write[None, None] + shift
        for part, write in zip(lanes, (traced.write, traced.mean), strict=True)
    ]
    every = [t.at[p + 1].set(part) for t, part in zip(tables["lanes"], now, strict=True)]
    return Lanes(*now), tables | {"lanes": Lanes(*every)}


def remembered(kept: dict[str, Any], p: Any, traced: Traced) -> dict[str, Any]:
    """Return what later steps look up, with this step's entries."""
    given = {
        name: Given(*(t.at[p].set(v) for t, v in zip(tables, traced.given[name], strict=True)))
        for name, tables in kept["given"].items()
    }
    return {"given": given, "factors": traced.factors}

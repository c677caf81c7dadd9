"""A unit beside a Gram scan: its lanes, step by step, and the averages that it is a part of."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Float, Int

from sigprop.theory.recursion.advance import Grams, Into, Transition
from sigprop.theory.recursion.units.unit import Traced, Tracing

Lanes = Float[Any, "m K T"]


class Draws(NamedTuple):
    """A unit to trace: its weight t among all, its normals in the stem [T] and {matrix or bias:
    [P, C, T]}; zeros for what it gives to these, of its own C."""

    t: Any
    stem: Any
    normals: dict[str, Any]
    given: dict[str, Any]


class Tracer(NamedTuple):
    """A unit that is traced beside a recursion of one band (``unit``). t: its weight; start [m, K,
    T]: its lanes at the first step; normals {matrix or bias: [P, C, T]}; given {matrix or bias:
    zeros [P, C, T]}, of what it gives to them."""

    t: Any
    start: Any
    normals: dict[str, Any]
    given: dict[str, Any]

    def kept(self, steps: int, coupled: bool) -> dict[str, Any]:
        """Return zeros of what later steps look up of the unit at earlier ones."""
        lanes = jnp.zeros((steps + 1, *self.start.shape), dtype=jnp.float64)
        tokens = self.start.shape[-1]
        factor = jnp.zeros((steps, tokens, steps, tokens), dtype=jnp.float64)
        return {
            "lanes": lanes.at[0].set(self.start),
            "given": self.given if coupled else {},
            "factors": dict.fromkeys(self.normals if coupled else (), factor),
        }

    def averaged(self, gram: Grams, lanes: Any) -> Grams:
        """Return the state's Gram as a network averages it, the unit among all."""
        return (1 - self.t) * gram + self.t * jnp.einsum("ikt,jks->ijkts", lanes, lanes)

    def averaged_rows(
        self, kept: dict[str, Any], p: Any, rows: Any, lanes: Any, columns: Int[Any, " C"]
    ) -> Any:
        """Return <S_p+1, S_c> of tracked boundaries, likewise."""
        unit = jnp.einsum("ikt,cjks->cijkts", lanes, kept["lanes"][columns])
        reached = (columns <= p + 1)[:, None, None, None, None, None]
        return jnp.where(reached, (1 - self.t) * rows + self.t * unit, rows)

    def averaged_writes(
        self, lanes: Any, gram: Grams, cross: Any, own: Any, traced: Traced
    ) -> tuple[Any, Any, Any]:
        """Return <S, S>, <w, S> [1, m, K, T, T] and <w, w> [1, 1, T, T], likewise."""
        write, t = traced.write, self.t
        with_states = jnp.einsum("t,iks->ikts", write, lanes)[None]
        with_itself = (write[:, None] * write[None, :])[None, None]
        return (
            self.averaged(gram, lanes),
            (1 - t) * cross + t * with_states,
            (1 - t) * own + t * with_itself,
        )

    def step(self, kept: dict[str, Any], x: Any, lanes: Any, rho: Any) -> Tracing:
        """Return what a step is given of the unit."""
        q = jnp.minimum(x["partners"], kept["lanes"].shape[0] - 2)
        earlier = None
        if kept["given"]:  # steps share weights, so reads are kept
            earlier = jnp.einsum("urikt,uikt->urt", kept["reads"][q], kept["lanes"][q])
        return Tracing(
            self.t,
            jnp.einsum("rikt,ikt->rt", rho, lanes),
            self.normals,
            x["step"],
            x["partners"],
            {name: table[q] for name, table in kept["given"].items()},
            kept["factors"],
            earlier,
        )


def next_lanes(m: Transition, b: Into, lanes: Any, traced: Traced) -> Any:
    """Return the unit's lanes after a step."""
    return jnp.einsum("ijkt,jkt->ikt", m, lanes) + b[:, 0] * traced.write[None, None]


def remembered(kept: dict[str, Any], p: Any, traced: Traced) -> dict[str, Any]:
    """Return what later steps look up, with this step's entries."""
    given = {name: table.at[p].set(traced.given[name]) for name, table in kept["given"].items()}
    return {"given": given, "factors": traced.factors}

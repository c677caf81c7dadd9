"""A unit beside a Gram scan: its lanes, step by step, and the averages that it is a part of."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.theory.calculus.by_band import Bands, Places
from sigprop.theory.recursion.advance import Grams, Into, Transition
from sigprop.theory.recursion.units.drawing import Traced, Tracing
from sigprop.theory.recursion.units.unit import Given, Reads, among


class Draws(NamedTuple):
    """A unit of every band to trace: its weight t among all (None: it is a part of no average), its
    normals in the stem and in the read-out [K, T], and {weight or bias: [P, K C, T]} forward and of
    its transpose; zeros for what it gives to every weight, forward and backward {weight: [P, K C,
    T]}; members: what the forward pass left of others (``behind.Record``); same {matrix: [P, P]}: 1
    where two steps share one, of orthogonal matrices (None: Gaussian ones)."""

    t: Any
    stem: Any
    readout: Any
    normals: dict[str, Any]
    transposed: dict[str, Any]
    given: dict[str, Any]
    later: dict[str, Any]
    members: Any = None
    same: dict[str, Any] | None = None


class Averages(NamedTuple):
    """What the forward pass's coefficients were evaluated at: Grams <S, S> [m, m, K, T, T], <w, S>
    [1, m, K, T, T] and <w, w> [1, 1, K, T, T]; means of lanes [m, K, T] and of the write [K, T];
    logs [1, T] of both; unit [T]: what its M, B and c were divided by since."""

    grams: tuple[Any, Any, Any]
    means: Any
    mean_write: Any
    log: Any
    write_log: Any
    unit: Any


class Lanes(NamedTuple):
    """A unit's lanes [m, K, T], and the mean of the others' (what LayerNorm took away)."""

    unit: Any
    others: Any


class Tracer(NamedTuple):
    """A unit of every band that is traced beside the recursion (``unit``). t: its weight; bands;
    start: its lanes at the first step; normals {matrix or bias: [P, K C, T]}; given {weight: zeros
    [P, K C, T]}, of what it gives to them; isometric: matrices that are orthogonal
    (``units.isometric``)."""

    t: Any
    bands: Any
    start: Lanes
    normals: dict[str, Any]
    given: dict[str, Any]
    isometric: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        """T."""
        return self.start.unit.shape[-1]

    @property
    def among(self) -> Float[Array, " K"]:
        """Return the units' weights among their bands."""
        return among(self.t, self.bands)

    def kept(self, steps: int, coupled: bool) -> dict[str, Any]:
        """Return zeros of what later steps look up of the unit at earlier ones."""
        zeros = jnp.zeros((steps + 1, *self.start.unit.shape), dtype=jnp.float64)
        lanes = Lanes(*(zeros.at[0].set(part) for part in self.start))
        shared = self.isometric if coupled else ()
        outputs = {name: jnp.zeros_like(self.normals[name]) for name in shared}
        return {"lanes": lanes, "outputs": outputs} | kept(self, steps, coupled)

    def means(self, lanes: Lanes) -> dict[str, Any]:
        """Return the lanes' means over all coordinates, the unit's among them."""
        t = self.among[None, :, None]
        return {"means": (1 - t) * lanes.others + t * lanes.unit}

    def averaged(self, gram: Grams, lanes: Lanes) -> Grams:
        """Return the state's Gram as a network averages it, the unit among all."""
        unit, others = (jnp.einsum("ikt,jks->ijkts", x, x) for x in lanes)
        t = self.among[None, None, :, None, None]
        return (1 - t) * (gram + others) + t * unit

    def seen(
        self, tables: dict[str, Any], p: Any, grams: tuple[Any, Any], lanes: Lanes, columns: Any
    ) -> tuple[Any, Any]:
        """Return <S_p+1, S_p+1> and <S_p+1, S_c> of tracked boundaries c, likewise."""
        gram, rows = grams
        unit, others = (
            jnp.einsum("ikt,cjks->cijkts", now, table[columns])
            for now, table in zip(lanes, tables["lanes"], strict=True)
        )
        reached = (columns <= p + 1)[:, None, None, None, None, None]
        t = self.among[None, None, None, :, None, None]
        mixed = (1 - t) * (rows + others) + t * unit
        return self.averaged(gram, lanes), jnp.where(reached, mixed, rows)

    def written(
        self, x: Any, lanes: Lanes, grams: tuple[Grams, Any, Any], traced: Traced
    ) -> tuple[tuple[Any, Any, Any], Any]:
        """Return <S, S>, <w, S> [1, m, K, T, T] and <w, w> [1, 1, K, T, T], likewise, and the
        step's slice with the mean over the coordinates of every band of its write [K, T]."""
        (gram, cross, own), writes = grams, (traced.write[0], traced.mean[0])
        of_unit, of_others = (
            (jnp.einsum("kt,iks->ikts", w, s)[None], (w[:, :, None] * w[:, None, :])[None, None])
            for w, s in zip(writes, lanes, strict=True)
        )
        t = self.among[None, None, :, None, None]
        averages = (
            self.averaged(gram, lanes),
            (1 - t) * (cross + of_others[0]) + t * of_unit[0],
            (1 - t) * (own[:, :, None] + of_others[1]) + t * of_unit[1],
        )
        t = self.among[:, None]
        return averages, x | {"mean_write": (1 - t) * traced.mean[0] + t * traced.write[0]}

    def step(self, tables: dict[str, Any], x: Any, lanes: Lanes, read: tuple[Any, Any]) -> Tracing:
        """Return what a step is given of the unit. read: coefficients of the reads on the lanes [R,
        m, K, T], and on 1 [R, T]."""
        rho, shift = read
        reads = Reads(*(jnp.einsum("rikt,ikt->rkt", rho, part) + shift[:, None] for part in lanes))
        bands = Bands(self.bands, places(x["by_band"]))
        q = jnp.minimum(x["partners"], x["last"])
        there = {name: table[q] for name, table in tables["outputs"].items()}
        exact = {name: there.get(name) for name in self.isometric}
        return Tracing(self.t, bands, reads, self.normals, *looked_up(tables, x), exact=exact)

    def after(
        self,
        rule: tuple[Transition, Into, Any, Any],
        lanes: Lanes,
        traced: Traced,
        tables: dict[str, Any],
        p: Any,
    ) -> tuple[Lanes, dict[str, Any]]:
        """Return the unit's lanes after step p, with the others' mean, and the tables that hold
        them. rule: M, B, the coefficients on 1 [m, K, T], and the next states' log."""
        m, b, shift, _ = rule
        now = [
            jnp.einsum("ijkt,jkt->ikt", m, part) + jnp.einsum("iwkt,wkt->ikt", b, write) + shift
            for part, write in zip(lanes, (traced.write, traced.mean), strict=True)
        ]
        every = [t.at[p + 1].set(part) for t, part in zip(tables["lanes"], now, strict=True)]
        return Lanes(*now), tables | {"lanes": Lanes(*every)}

    def left(self, traced: Traced, x: Any, grams: tuple[Any, Any, Any], scales: Any) -> Any:
        """Return what the way back is given of a step. scales: log, write_log and unit of
        ``Averages``."""
        averages = Averages(grams, x["means"], x["mean_write"], *scales)
        return {"traced": traced.seen, "averages": averages}


def places(by_band: tuple[Any, Any] | None) -> Places:
    """Return Grams of the bands, of a step with itself [R, R, K, T, T] and with its partners [U, R,
    R, K, T, T], by pairs of places; none of one band."""
    if by_band is None:
        return {}
    own, pairs = by_band
    found = {("a", "a"): own[:, :, :, None]}
    return found if pairs is None else found | {("a", "b"): jnp.moveaxis(pairs, 0, 3)}


def kept(tracer: Any, steps: int, coupled: bool) -> dict[str, Any]:
    """Return zeros of what a unit gives to weights, and of the factors of its outputs, where steps
    share weights."""
    tokens = tracer.tokens
    factor = jnp.zeros((steps, tokens, steps, tokens), dtype=jnp.float64)
    given = {
        name: Given(table, table[:, : len(tracer.bands)]) for name, table in tracer.given.items()
    }
    return {
        "given": given if coupled else {},
        "factors": dict.fromkeys(tracer.normals if coupled else (), factor),
    }


def looked_up(tables: dict[str, Any], x: Any) -> tuple[Any, ...]:
    """Return the step, its partners, what their units gave, the factors so far, and no Grams
    yet."""
    q = jnp.minimum(x["partners"], x["last"])
    earlier = {
        name: Given(*(table[q] for table in parts)) for name, parts in tables["given"].items()
    }
    return x["step"], x["partners"], earlier, tables["factors"], {}

"""A unit beside the reversed Gram scan: its cotangents, step by step, and the averages that it is a
part of."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from sigprop.theory.calculus.by_band import Bands
from sigprop.theory.recursion.advance import Grams, Into, Transition
from sigprop.theory.recursion.units.beside import kept, looked_up, places
from sigprop.theory.recursion.units.drawing import Traced, Tracing
from sigprop.theory.recursion.units.pulled import Cotangents, Members, Pulled
from sigprop.theory.recursion.units.records import Record
from sigprop.theory.recursion.units.unit import Given, Reads, among


class Pulling(NamedTuple):
    """What a step is given on the way back. tracing: as forward, with what the forward pass read;
    delta [1, K, T]: the cotangent of the branch's output, without what its rule's coefficients add;
    lanes: those of the rule's; unit, members: what the forward pass left of them."""

    tracing: Tracing
    delta: Cotangents
    lanes: Cotangents
    unit: Record
    members: Record

    def pulled(self, earlier: dict[str, Given], pairs: Any) -> Pulled:
        """Return the unit. earlier: what its partners' units gave to weights forward; pairs: Grams
        of the bands of what was read with what they read, as ``beside.places`` has them."""
        tracing, bands = self.tracing, self.tracing.bands
        if bands.reads and pairs is not None:
            bands = bands._replace(reads=bands.reads | {("a", "b"): jnp.moveaxis(pairs, 0, 3)})
        return Pulled(
            tracing.t,
            bands,
            tracing.reads,
            earlier,
            dict(self.unit.outputs),
            later=tracing.earlier,
            members=Members(self.members.reads, self.members.outputs),
        )


class Reverser(NamedTuple):
    """A unit of every band that is traced beside the reversed recursion (``pulled``). t: its
    weight; bands; start: its lanes at the first step, all zero but for v's; normals {weight: [P, K
    C, T]} of the transposes, the last step's first; given {weight: zeros [P, K C, T]}: of what it
    gives to them; members: how many, of whom the forward pass left a record."""

    t: Any
    bands: Any
    start: Cotangents
    normals: dict[str, Any]
    given: dict[str, Any]
    members: int

    @property
    def tokens(self) -> int:
        """T."""
        return self.start.main.shape[-1]

    def kept(self, steps: int, coupled: bool) -> dict[str, Any]:
        """Return zeros of what later steps look up of the unit at earlier ones."""
        tables = kept(self, steps, coupled)
        given = {
            name: Given(table, jnp.zeros((steps, self.members, *table.shape[1:]), table.dtype))
            for name, (table, _) in tables["given"].items()
        }
        return tables | {"given": given}

    def means(self, lanes: Any) -> dict[str, Any]:
        """Return nothing: what comes back has no mean."""
        return {}

    def averaged(self, gram: Grams, lanes: Cotangents) -> Grams:
        """Return the gradients' Gram as a network averages it, the unit among all."""
        members, own = lanes.members, lanes.own
        rest = jnp.einsum("nikt,njks->ijkts", members, members) / max(1, self.members)
        t = among(self.t, self.bands)[None, None, :, None, None]
        return (1 - t) * (gram + rest) + t * jnp.einsum("ikt,jks->ijkts", own, own)

    def seen(
        self, tables: dict[str, Any], p: Any, grams: tuple[Any, Any], lanes: Any, columns: Any
    ) -> tuple[Any, Any]:
        """Return the Gram of one step's lanes, likewise; no quantity reads those of several."""
        gram, rows = grams
        return self.averaged(gram, lanes), rows

    def written(self, x: Any, lanes: Any, grams: Any, traced: Traced) -> tuple[Any, Any]:
        """Return the Grams as they are, and the step's slice with what goes to lanes beside M^T and
        rho."""
        return grams, x | {"beside": traced.seen}

    def step(
        self, tables: dict[str, Any], x: Any, lanes: Cotangents, read: tuple[Any, Any]
    ) -> Pulling:
        """Return what a step is given of the unit. read: coefficients of delta on the lanes [1, m,
        K, T], and on 1."""
        unit, members = x["unit"], x["members"]
        reads = Reads(unit.reads, x["others"])
        back = {pair: gram[0, 0] for pair, gram in places(x["by_band"]).items()}
        bands = Bands(self.bands, places(x["forward_bands"]), back)
        tracing = Tracing(self.t, bands, reads, self.normals, *looked_up(tables, x))
        delta = Cotangents(*(jnp.einsum("rikt,...ikt->...rkt", read[0], part) for part in lanes))
        return Pulling(tracing, delta, lanes, unit, members)

    def after(
        self,
        rule: tuple[Transition, Into, Any, Any],
        lanes: Cotangents,
        traced: Traced,
        tables: dict[str, Any],
        p: Any,
    ) -> tuple[Cotangents, dict[str, Any]]:
        """Return the unit's lanes after a step, and the tables as they are. rule: M, B, and what
        goes to lanes beside them [1 + M, m, K, T]."""
        m, b, beside, _ = rule
        main, rest = (
            jnp.einsum("ijkt,...jkt->...ikt", m, part) + jnp.einsum("iwkt,...wkt->...ikt", b, write)
            for part, write in zip(lanes, traced.write, strict=True)
        )
        return Cotangents(main, rest + beside), tables

    def left(self, traced: Traced, x: Any, grams: Any, scales: Any) -> dict[str, Any]:
        """Return nothing: no pass follows this one."""
        return {}

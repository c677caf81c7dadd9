"""Passes with units traced beside them, as one compiled program."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sigprop.runtime.compiling import jit
from sigprop.theory.attention.draws import Points
from sigprop.theory.calculus.environment import Fineness, Resolution
from sigprop.theory.gaussian.begin import Begin
from sigprop.theory.recursion.passes import (
    AT_ONCE,
    FORWARD,
    Network,
    backward_pass,
    forward_pass,
)
from sigprop.theory.recursion.program import Structure
from sigprop.theory.recursion.sources.sources import Sources
from sigprop.theory.recursion.units.beside import Draws
from sigprop.theory.recursion.units.records import Record, record


class Given(NamedTuple):
    """What programs of one network take: how finely, sampled heads of every law that occurs, the
    step tables, the stem, the widths of bands [K], tracked boundaries [C], the read-out's Gram."""

    fineness: Fineness
    points: tuple[Points, ...]
    tables: dict[str, Any]
    begin: Begin
    bands: Any
    columns: Any
    readout: Any

    def network(
        self,
        structure: Structure,
        coupled: bool,
        reach: int,
        unit: Draws | None = None,
        sources: Sources | None = None,
    ) -> Network:
        """Return the network as both passes have it."""
        degree, *more = self.fineness
        points = dict(zip(structure.heads, self.points, strict=True))
        finely = Resolution(degree, points, None, *more)
        about = finely, self.tables, self.begin, self.bands
        return Network(structure, coupled, reach, *about, unit, sources)

    def forward(self, network: Network) -> tuple[dict[str, Any], dict[str, Any], Any]:
        """Run the forward pass."""
        return forward_pass(network, self.columns, None)

    def backward(self, network: Network, forward: dict[str, Any], initial: Any) -> dict[str, Any]:
        """Run the pass back. forward, initial: of the forward pass."""
        return backward_pass(network, forward, (initial, self.begin.log), self.readout)


@jit(static=(0, 1, 2))
def run_units(
    structure: Structure,
    coupled: bool,
    reach: int,
    units: tuple[Any, ...],
    zeros: tuple[Any, ...],
    given: Given,
) -> dict[str, Any]:
    """The passes as far as reach goes, with each of several units traced beside them, each array
    once a unit, in front. zeros: of ``beside.Draws``, and its members."""

    def once(draws: tuple[Any, ...]) -> dict[str, Any]:
        network = given.network(structure, coupled, reach, Draws(*draws, *zeros))
        kernels, forward, initial = given.forward(network)
        if reach == FORWARD:
            return kernels
        return kernels | given.backward(network, forward, initial)

    return jax.lax.map(once, units, batch_size=AT_ONCE)


@jit(static=(0, 1))
def run_members(
    structure: Structure,
    coupled: bool,
    units: tuple[Any, ...],
    zeros: tuple[Any, ...],
    given: Given,
) -> Record:
    """What the forward pass in the wide limit leaves of several units, their axis next to the
    steps'."""

    def once(draws: tuple[Any, ...]) -> Record:
        network = given.network(structure, coupled, FORWARD, Draws(0.0, *draws, *zeros))
        return record(given.forward(network)[1])

    every = jax.lax.map(once, units, batch_size=AT_ONCE)
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), every)

"""Passes with units traced beside them, as one compiled program."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from sigprop.runtime.compiling import jit
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
from sigprop.theory.recursion.units.beside import Draws
from sigprop.theory.recursion.units.records import Record, record


@jit(static=(0, 1, 2))
def run_units(
    structure: Structure,
    coupled: bool,
    reach: int,
    units: tuple[Any, ...],
    given: tuple[Any, ...],
    fineness: Fineness,
    points: Any,
    tables: dict[str, Any],
    begin: Begin,
    bands: Any,
    columns: Any,
    readout: Any,
) -> dict[str, Any]:
    """The passes as far as reach goes, with each of several units traced beside them, each array
    once a unit, in front."""
    finely = resolution(structure, fineness, points)

    def once(draws: tuple[Any, ...]) -> dict[str, Any]:
        unit = Draws(*draws, *given)
        network = Network(structure, coupled, reach, finely, tables, begin, bands, unit)
        kernels, forward, initial = forward_pass(network, columns, None)
        if reach == FORWARD:
            return kernels
        return kernels | backward_pass(network, forward, (initial, begin.log), readout)

    return jax.lax.map(once, units, batch_size=AT_ONCE)


@jit(static=(0, 1))
def run_members(
    structure: Structure,
    coupled: bool,
    units: tuple[Any, ...],
    given: tuple[Any, ...],
    fineness: Fineness,
    points: Any,
    tables: dict[str, Any],
    begin: Begin,
    bands: Any,
    columns: Any,
) -> Record:
    """What the forward pass in the wide limit leaves of several units, their axis next to the
    steps'."""
    finely = resolution(structure, fineness, points)

    def once(draws: tuple[Any, ...]) -> Record:
        unit = Draws(0.0, *draws, *given)
        network = Network(structure, coupled, FORWARD, finely, tables, begin, bands, unit)
        return record(forward_pass(network, columns, None)[1])

    every = jax.lax.map(once, units, batch_size=AT_ONCE)
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), every)


def resolution(structure: Structure, fineness: Fineness, points: Any) -> Resolution:
    """Return how finely numbers are computed. points: sampled heads of every law that occurs."""
    degree, *more = fineness
    return Resolution(degree, dict(zip(structure.heads, points, strict=True)), None, *more)

"""The forward pass with units traced beside it, as one compiled program."""

from __future__ import annotations

from typing import Any

import jax

from sigprop.runtime.compiling import jit
from sigprop.theory.calculus.environment import Fineness, Resolution
from sigprop.theory.gaussian.begin import Begin
from sigprop.theory.recursion.passes import AT_ONCE, FORWARD, Network, forward_pass
from sigprop.theory.recursion.program import Structure
from sigprop.theory.recursion.units.beside import Draws


@jit(static=(0, 1))
def run_units(
    structure: Structure,
    coupled: bool,
    units: tuple[Any, Any, dict[str, Any]],
    given: dict[str, Any],
    fineness: Fineness,
    points: Any,
    tables: dict[str, Any],
    begin: Begin,
    bands: Any,
    columns: Any,
) -> dict[str, Any]:
    """The forward pass with each of several units traced beside it, each array once a unit, in
    front."""
    degree, *more = fineness
    scored = dict(zip(structure.heads, points, strict=True))
    resolution = Resolution(degree, scored, None, *more)

    def once(draws: tuple[Any, Any, Any]) -> dict[str, Any]:
        unit = Draws(*draws, given)
        network = Network(structure, coupled, FORWARD, resolution, tables, begin, bands, unit)
        return forward_pass(network, columns, None)[0]

    return jax.lax.map(once, units, batch_size=AT_ONCE)

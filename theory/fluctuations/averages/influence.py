"""What one unit moves rows by, to first order: its part in every average that a network sees, times
the rows' derivatives by that.

Its variance over units is n Var, as that of a unit traced with a small weight is
(``fluctuations``), at the cost of one reversed derivative a row and one recursion for all units,
where a traced unit takes two of its own. Source: derived
(tests/theory/fluctuations/averages/test_influence.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from sigprop.description.architecture import Architecture
from sigprop.description.averages import averaging
from sigprop.description.shapes import Row
from sigprop.runtime.compiling import jit
from sigprop.theory.calculus.environment import Fineness
from sigprop.theory.fluctuations.averages.derivatives import derived, has_twin
from sigprop.theory.fluctuations.running import resolution
from sigprop.theory.fluctuations.units import blank, normals
from sigprop.theory.gaussian.begin import Begin
from sigprop.theory.recursion.passes import FORWARD, Network, forward_pass
from sigprop.theory.recursion.program import Structure, shared_program
from sigprop.theory.recursion.sources.apart import Alone, alone
from sigprop.theory.recursion.sources.sources import Sources
from sigprop.theory.recursion.units.beside import Draws
from sigprop.theory.recursion.units.sizes import inputs
from sigprop.theory.recursion.units.unit import share

AT_ONCE = 512  # units


def has_influence(arch: Architecture) -> bool:
    """Tell if units are independent of each other, given the averages that matrices, reads and
    rules see (no branch takes averages of its own), and rows have derivatives by these."""
    return averaging(arch, False) is None and has_twin(arch)


def influences(
    arch: Architecture,
    rows: Sequence[Row],
    means: Float[np.ndarray, "means rows"] | None,
    units: int,
    seeds: Sequence[int],
) -> Float[np.ndarray, "sets units means"]:
    """Return what each unit of several sets moves rows of the forward pass, or means of them, by.

    arch: one that ``has_influence``; means: as of ``reading.slopes``; units: of a set, the first
    half of those that ``units.traced`` traces at the same seed: the others are their negatives,
    which squares of coordinates do not tell apart.
    """
    program = shared_program(arch)
    found = derived(arch, program, rows, False, means)
    by = found.by_source, found.read["crossed"], program.boundary
    blanks = blank(program, arch.tokens, FORWARD)[0]
    every: Any = []
    with jax.enable_x64(True):
        for seed in seeds:
            both = normals(arch, program, 2 * units, seed, FORWARD)
            drawn = jax.tree.map(lambda table: table[:units], both)
            moved = run_influences(
                program.structure, program.coupled, drawn, blanks, by, *found.given[:-1]
            )
            every.append(np.asarray(moved))
    every = np.stack(every)
    return every - every.mean(axis=(0, 1))


@jit(static=(0, 1))
def run_influences(
    structure: Structure,
    coupled: bool,
    units: tuple[Any, ...],
    given: dict[str, Any],
    by: tuple[Sources, Any, Any],
    fineness: Fineness,
    points: Any,
    tables: dict[str, Any],
    begin: Begin,
    bands: Any,
    columns: Any,
) -> Float[Array, "N R"]:
    """Return every unit's values, times the derivatives by them."""
    finely = resolution(structure, fineness, points)

    def once(draws: tuple[Any, ...]) -> Float[Array, " R"]:
        parts: tuple[Any, ...] = (None, *draws, given, {})
        unit = Draws(*parts)
        network = Network(structure, coupled, FORWARD, finely, tables, begin, bands, unit)
        kernels, forward, _ = forward_pass(network, columns, None)
        return _moved(structure, tables, alone(kernels, forward, begin.log), *by)

    return jax.lax.map(once, units, batch_size=AT_ONCE)


def _moved(
    structure: Structure,
    tables: dict[str, Any],
    own: Alone,
    by: Sources,
    crossed: Float[Array, "R A C T"],
    at: Any,
) -> Float[Array, " R"]:
    """Return derivatives times a unit's products, each over the root of its population over n.
    crossed: by overlaps of lane 0 at two boundaries, at [A]."""
    before, first = own.lanes[:-1], own.lanes[at, 0]
    moved = jnp.einsum("rpijts,pit,pjs->r", by.states, own.lanes, own.lanes)
    moved += jnp.einsum("rpit,pit,pt->r", by.overlaps, before, own.writes)
    moved += jnp.einsum("rpts,pt,ps->r", by.writes, own.writes, own.writes)
    moved += jnp.einsum("ract,at,ct->r", crossed, first, first)
    moved += jnp.einsum("rt,t->r", by.stem, own.stem**2)
    partners = jnp.minimum(tables["partners"], len(before) - 1)
    for name, weight in _shares(structure, by, own).items():
        x = own.inputs[name]
        moved += weight * jnp.einsum("rpts,pct,pcs->r", by.inputs[name], x, x)
        if name in by.pairs:
            moved += weight * jnp.einsum("rputs,pct,pucs->r", by.pairs[name], x, x[partners])
    return moved


def _shares(structure: Structure, by: Sources, own: Alone) -> dict[str, float]:
    """{matrix: 1/sqrt(r) over coordinates}, r n units giving to it."""
    found = {}
    for block in structure.blocks:
        for name, of in inputs(block.branch, False).items():
            if name in by.inputs:
                size = own.inputs[name].shape[1]
                found[name] = share(of, size) / size
    return found

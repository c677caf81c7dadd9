"""What one unit moves rows by, to first order: its part in every average that a network sees, times
the rows' derivatives by that.

Its variance over units is n Var, as that of a unit traced with a small weight is
(``fluctuations``), at the cost of one reversed derivative a row and one recursion for all units,
where a traced unit takes two of its own. Source: derived
(tests/theory/fluctuations/averages/test_influence.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from sigprop.description.architecture import Architecture
from sigprop.description.averages import averaging
from sigprop.description.shapes import Row
from sigprop.description.structure import READOUT
from sigprop.language.expression import Vector
from sigprop.runtime.compiling import jit
from sigprop.theory.calculus.transpose import transpose
from sigprop.theory.fluctuations.averages.controls import has_control
from sigprop.theory.fluctuations.averages.derivatives import Derived, derived
from sigprop.theory.fluctuations.forms import is_backward
from sigprop.theory.fluctuations.running import Given
from sigprop.theory.fluctuations.units import blank, normals
from sigprop.theory.recursion.passes import (
    FORWARD,
    GRADIENTS,
)
from sigprop.theory.recursion.program import Program, Structure, shared_program
from sigprop.theory.recursion.sources.apart import Alone, alone
from sigprop.theory.recursion.sources.apart_behind import Returned, returned
from sigprop.theory.recursion.sources.sources import Sources
from sigprop.theory.recursion.units.beside import Draws
from sigprop.theory.recursion.units.sizes import inputs
from sigprop.theory.recursion.units.unit import share

AT_ONCE = {FORWARD: 512, GRADIENTS: 64}  # units


def has_influence(arch: Architecture, rows: Sequence[Row]) -> bool:
    """Tell if units are independent of each other, given the averages that matrices, reads and
    rules see (no branch takes averages of its own), and rows have derivatives by these."""
    backward = is_backward(row.quantity for row in rows)
    return averaging(arch, backward) is None and all(has_control(arch, row) for row in rows)


def influences(
    arch: Architecture,
    rows: Sequence[Row],
    means: Float[np.ndarray, "means rows"] | None,
    units: int,
    seeds: Sequence[int],
    fixed_stem: bool = False,
) -> Float[np.ndarray, "sets units means"]:
    """Return what each unit of several sets moves rows, or means of them, by.

    arch, rows: such as ``has_influence``; means: as of ``reading.slopes``; units: of a set, the
    first half of those that ``units.traced`` traces at the same seed: the others are their
    negatives, which squares of coordinates do not tell apart; fixed_stem: whether networks share
    the stem's output, so that a unit scatters about what its own place there makes of it: then the
    difference, over sqrt 2, of two units that share that place alone.
    """
    program = shared_program(arch)
    backward = is_backward(row.quantity for row in rows)
    found, reach = derived(arch, program, rows, backward, means), GRADIENTS if backward else FORWARD
    by, blanks = _by(arch, program, found, backward), blank(program, arch.tokens, reach)
    scan, every = (program.structure, program.coupled, reach), []

    def drawn(seed: int) -> tuple[Any, ...]:
        both = normals(arch, program, 2 * units, seed, reach)
        return jax.tree.map(lambda table: table[:units], both)

    def moves(draws: tuple[Any, ...]) -> np.ndarray:
        return np.asarray(run_influences(*scan, draws, blanks, by, found.given))

    with jax.enable_x64(True):
        for seed in seeds:
            moved = moves(first := drawn(seed))
            if fixed_stem:
                _, *others = _apart(drawn(seed + len(seeds)), seed)
                moved = (moved - moves((first[0], *others))) / math.sqrt(2)
            every.append(moved)
    every = np.stack(every)
    return every - every.mean(axis=(0, 1))


def _apart(draws: tuple[Any, ...], seed: int) -> tuple[Any, ...]:
    """Return units in another order: points of two scrambles at one place in the sequence depend on
    each other."""
    order = np.random.default_rng(seed).permutation(len(draws[0]))
    return jax.tree.map(lambda table: table[order], draws)


class By(NamedTuple):
    """Derivatives of rows: by sources; by overlaps of lane 0 at two boundaries, at [A]; on the way
    back by gradients at every boundary, by that of the stem, and by what the read-out is given at
    the step ``last`` (nothing of these where no row needs them)."""

    sources: Sources
    crossed: Any
    at: Any
    gradients: Any = None
    stem: Any = None
    outputs: Any = None
    last: int = 0


def _by(arch: Architecture, program: Program, found: Derived, backward: bool) -> By:
    """Return derivatives in the places of a unit's values."""
    by = By(found.by_source, found.read["crossed"], program.boundary)
    if not backward:
        return by
    taps, read = np.flatnonzero(program.taps), found.read
    outputs = read["groups"][READOUT].sum(axis=1) * arch.readout.gram(arch.tokens)
    outputs = outputs * (len(taps) == 1)  # of several, no row has one
    return by._replace(
        gradients=read["gradients"], stem=read["gradient_stem"], outputs=outputs, last=int(taps[-1])
    )


@jit(static=(0, 1, 2))
def run_influences(
    structure: Structure,
    coupled: bool,
    reach: int,
    units: tuple[Any, ...],
    zeros: tuple[dict[str, Any], dict[str, Any]],
    by: By,
    given: Given,
) -> Float[Array, "N R"]:
    """Return every unit's values, times the derivatives by them. zeros: of ``beside.Draws``."""

    def once(draws: tuple[Any, ...]) -> Float[Array, " R"]:
        parts: tuple[Any, ...] = (None, *draws, *zeros)
        network = given.network(structure, coupled, reach, Draws(*parts))
        kernels, forward, initial = given.forward(network)
        own = alone(kernels, forward, given.begin.log)
        moved = _moved(structure, given.tables, own, by)
        if reach == FORWARD:
            return moved
        back = returned(kernels, given.backward(network, forward, initial), initial)
        return moved + _moved_back(structure, given.tables, own, back, by)

    return jax.lax.map(once, units, batch_size=AT_ONCE[reach])


def _moved(
    structure: Structure, tables: dict[str, Any], own: Alone, rows: By
) -> Float[Array, " R"]:
    """Return derivatives times a unit's products, each over the root of its population over n."""
    by, at = rows.sources, rows.at
    before, first = own.lanes[:-1], own.lanes[at, 0]
    moved = jnp.einsum("rpijts,pit,pjs->r", by.states, own.lanes, own.lanes)
    moved += jnp.einsum("rpit,pit,pt->r", by.overlaps, before, own.writes)
    moved += jnp.einsum("rpts,pt,ps->r", by.writes, own.writes, own.writes)
    moved += jnp.einsum("ract,at,ct->r", rows.crossed, first, first)
    moved += jnp.einsum("rt,t->r", by.stem, own.stem**2)
    given = {
        name: of for block in structure.blocks for name, of in inputs(block.branch, False).items()
    }
    return moved + _of_weights(given, own.inputs, by.inputs, by.pairs, tables["partners"])


def _moved_back(
    structure: Structure, tables: dict[str, Any], own: Alone, back: Returned, rows: By
) -> Float[Array, " R"]:
    """Return likewise what cotangents move, and what the read-out is given."""
    by, outputs = rows.sources, own.writes[rows.last]
    moved = jnp.einsum(
        "rpts,pt,ps->r", rows.gradients, back.gradients[rows.at], back.gradients[rows.at]
    )
    moved += jnp.einsum("rts,t,s->r", rows.stem, back.stem, back.stem)
    moved += jnp.einsum("rts,t,s->r", rows.outputs, outputs, outputs)
    uses = (each for block in structure.blocks for each in transpose(block.branch).uses.items())
    given = {name: pairs[-1][1] for name, pairs in uses}
    return moved + _of_weights(given, back.cotangents, by.cotangents, by.later, tables["later"])


def _of_weights(
    of: dict[str, Vector],
    values: dict[str, Any],
    own: dict[str, Any],
    pairs: dict[str, Any],
    partners: Any,
) -> Float[Array, " R"]:
    """Return derivatives times a unit's products at weights, with themselves and with partners'.
    of: what stands there, r n units having its coordinates, so that each of C counts for
    1/sqrt(r)/C."""
    moved = jnp.zeros(())
    for name in (name for name in of if name in own):  # in order: one program in every process
        x = values[name]
        weight = share(of[name], x.shape[1]) / x.shape[1]
        moved += weight * jnp.einsum("rpts,pct,pcs->r", own[name], x, x)
        if name in pairs:
            at = jnp.minimum(partners, len(x) - 1)
            moved += weight * jnp.einsum("rputs,pct,pucs->r", pairs[name], x, x[at])
    return moved

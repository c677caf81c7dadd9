"""``controls``: how every row of one network follows its own averages, to first order.

With K what the averages are in the wide limit, and K' = mean f(g; K) over a network's own units
run through K in the place of its averages (its twin), the network's row is to first order

    row = value + sum_y (d row / d s_y) (K'_y - K_y),

s_y a source at average y (``recursion.sources``). Subtracting that sum from a measured row leaves
its mean and little of its scatter. Source: derived (tests/theory/fluctuations/test_controls.py;
docs/finite-width.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from sigprop.description.architecture import Architecture
from sigprop.description.averages import matrices
from sigprop.description.shapes import Row
from sigprop.errors import InputError
from sigprop.language.expression import Normalise
from sigprop.language.traversal import walk
from sigprop.theory.attention.draws import head_draws
from sigprop.theory.calculus.environment import Fineness
from sigprop.theory.calculus.independence import check_writes
from sigprop.theory.fluctuations.forms import check, check_quantities, is_backward
from sigprop.theory.fluctuations.ordering import Ordering
from sigprop.theory.fluctuations.reading import Slopes, slopes
from sigprop.theory.fluctuations.seen import run_rows, run_seen
from sigprop.theory.gaussian import field
from sigprop.theory.gaussian.begin import begin
from sigprop.theory.recursion.kernels import DEGREE, Kernels, read_forward, scan_tables
from sigprop.theory.recursion.program import Program, shared_program
from sigprop.theory.recursion.sources.sources import Sources

HEADS = 512  # of attention, whose mean is what its matrices are given


class Controls(NamedTuple):
    """What a twin runs through, in the units of the network, by lane, read, application and token:
    initial [m, T] lanes by the stem, reads [D, R, m, T], transition [D, m, m, T] and into [D, m,
    T] of the rules; factors {matrix: L [slots, U T, U T]}, L L^T the Gram of what a slot is given;
    places [p] of averages that rows follow (``description.averages``), what is expected there, and
    rows [R, p], derivatives by them."""

    initial: Float[np.ndarray, "m T"]
    reads: Float[np.ndarray, "D R m T"]
    transition: Float[np.ndarray, "D m m T"]
    into: Float[np.ndarray, "D m T"]
    factors: dict[str, Float[np.ndarray, "slots UT UT"]]
    places: Int[np.ndarray, " p"]
    expected: Float[np.ndarray, " p"]
    rows: Float[np.ndarray, "R p"]


def controls(arch: Architecture, rows: Sequence[Row]) -> Controls:
    """Return what a twin of a network runs through, and how every row follows its averages.

    arch: the description; rows: of the forward pass. Raises ``InputError`` and ``NoRule`` for what
    has none: what ``fluctuations`` refuses, gradients, and norms within a branch.
    """
    _check(arch, rows)
    program = shared_program(arch)
    tables, boundaries, columns = scan_tables(arch, program, tuple(range(arch.depth + 1)))
    heads = tuple(head_draws(law, arch.tokens, 0).first(HEADS) for law in program.structure.heads)
    given = (
        Fineness.of(DEGREE),
        heads,
        tables,
        begin(arch.stem_parts),
        np.array(arch.bands),
        boundaries,
    )
    scan, ordering = (program.structure, program.coupled), Ordering(arch, program)
    with jax.enable_x64(True):
        none = _no_sources(arch, program)
        seen: Any = jax.device_get(run_seen(*scan, none, *given))
        read = slopes(arch, _read(seen, program, columns), rows)
        raised = _at_steps(read, program, len(boundaries))
        back: Any = jax.device_get(run_rows(*scan, none, raised, *given))
        factors = {name: _factors(ordering.given(name, seen)) for name in matrices(arch)}
    derivatives = ordering.derivatives(back, read.crossed)
    places = np.flatnonzero((derivatives != 0).any(axis=0))
    at = ordering.steps
    return Controls(
        seen["initial"],
        seen["reads"][at],
        seen["transition"][at],
        seen["into"][at],
        factors,
        places,
        ordering.expected(seen)[places],
        derivatives[:, places],
    )


def _no_sources(arch: Architecture, program: Program) -> Sources:
    """Return zeros at every average."""
    lanes, partners = program.structure.lanes, program.partners.shape[1]
    return Sources.none(program.steps, lanes, arch.tokens, partners, matrices(arch))


def _read(seen: dict[str, Any], program: Program, columns: tuple[int, ...]) -> Kernels:
    """Return the kernels in the units of the network, in tables that can be written to."""
    own = dict(seen["kernels"])
    states, at = np.diagonal(own["crossed"], axis1=-2, axis2=-1), np.arange(own["states"].shape[1])
    own["crossed"] = np.zeros_like(own["crossed"])
    own["crossed"][..., at, at] = np.where(states == 0, 0.0, seen["crossed"])
    own |= {
        "states": seen["states"][:, 0, 0].copy(),
        "writes": seen["writes"].copy(),
        "state_log": np.zeros_like(own["state_log"]),
        "write_log": np.zeros_like(own["write_log"]),
    }
    return read_forward(own, program, columns)


def _at_steps(read: Slopes, program: Program, columns: int) -> tuple[Any, Any, Any]:
    """Return slopes by what the scan's boundaries and steps have."""
    count, states, _, tokens = read.crossed.shape
    at = program.boundary
    tracked = at if program.coupled else np.arange(states)
    by_state = np.zeros((count, program.steps + 1, tokens, tokens))
    by_state[:, at] = read.states
    crossed = np.zeros((count, program.steps + 1, columns, tokens))
    crossed[:, at[:, None], tracked[None, :]] = read.crossed
    return by_state, read.writes, crossed


def _factors(gram: Float[np.ndarray, "slots U T U T"]) -> Float[np.ndarray, "slots UT UT"]:
    """Return every slot's Cholesky factor."""
    slots, uses, tokens = gram.shape[:3]
    square = jnp.asarray(gram.reshape(slots, uses * tokens, uses * tokens))
    return np.asarray(jax.vmap(field.cholesky)(square))


def _check(arch: Architecture, rows: Sequence[Row]) -> None:
    """Raise ``InputError`` for what has no form."""
    check_quantities(tuple(dict.fromkeys(row.quantity for row in rows)))
    if is_backward(row.quantity for row in rows):
        raise InputError("control=twin: gradients have no form yet; accepted: forward quantities")
    check(arch, False)
    check_writes(arch)
    for block in arch.sub_blocks:
        if any(isinstance(node, Normalise) for node in walk(block.branch)):
            raise InputError(
                f"{arch.name}: control=twin: a norm within a branch has no form yet; accepted: "
                f"without"
            )

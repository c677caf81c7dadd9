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
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from sigprop.description.architecture import Architecture
from sigprop.description.averages import averaging, matrices, pulled
from sigprop.description.shapes import Row
from sigprop.description.structure import READOUT
from sigprop.errors import InputError
from sigprop.theory.attention.draws import head_draws
from sigprop.theory.calculus.environment import Fineness
from sigprop.theory.calculus.independence import check_writes
from sigprop.theory.fluctuations.forms import FORMS, check, check_quantities, is_backward, vanishing
from sigprop.theory.fluctuations.ordering import Ordering
from sigprop.theory.fluctuations.reading import Slopes, slopes
from sigprop.theory.fluctuations.seen import run_rows, run_seen
from sigprop.theory.gaussian import field
from sigprop.theory.gaussian.begin import begin
from sigprop.theory.recursion.kernels import DEGREE, Kernels, read_forward, scan_tables
from sigprop.theory.recursion.passes import FORWARD, GRADIENTS
from sigprop.theory.recursion.program import Program, shared_program
from sigprop.theory.recursion.sources.sources import Sources

CONTROLLED = (*FORMS, "write_cosine", "log_norm")
"""Quantities whose rows follow averages."""
HEADS = 512  # of attention, whose mean is what its matrices are given


class Controls(NamedTuple):
    """What a twin runs through, in the units of the network, by lane, read, application and token:
    initial [m, T] lanes by the stem, reads [D, R, m, T], transition [D, m, m, T] and into [D, m,
    T] of the rules, readout_reads [A, m, T] of the read-out's; factors {matrix: L [slots, U T, U
    T]}, L L^T the Gram of what a slot is given; behind: likewise of what comes back to its outputs,
    the last use first (none where no row needs it); places [p] of averages that rows follow
    (``description.averages``), what is expected there, and rows [R, p], derivatives by them."""

    initial: Float[np.ndarray, "m T"]
    reads: Float[np.ndarray, "D R m T"]
    transition: Float[np.ndarray, "D m m T"]
    into: Float[np.ndarray, "D m T"]
    readout_reads: Float[np.ndarray, "A m T"]
    factors: dict[str, Float[np.ndarray, "slots UT UT"]]
    behind: dict[str, Float[np.ndarray, "slots UT UT"]]
    places: Int[np.ndarray, " p"]
    expected: Float[np.ndarray, " p"]
    rows: Float[np.ndarray, "R p"]


def controls(arch: Architecture, rows: Sequence[Row]) -> Controls:
    """Return what a twin of a network runs through, and how every row follows its averages.

    arch: the description; rows: of quantities that ``fluctuations`` has. Raises ``InputError`` and
    ``NoRule`` for what has none: what ``fluctuations`` refuses, norms within a branch, and
    gradients by weights that are not matrices or biases.
    """
    _check(arch, rows)
    backward = is_backward(row.quantity for row in rows)
    program, reach = shared_program(arch), GRADIENTS if backward else FORWARD
    tables, boundaries, columns = scan_tables(arch, program, tuple(range(arch.depth + 1)))
    readout = arch.readout.gram(arch.tokens)
    heads = tuple(head_draws(law, arch.tokens, 0).first(HEADS) for law in program.structure.heads)
    stem = begin(arch.stem_parts)
    given = (Fineness.of(DEGREE), heads, tables, stem, np.array(arch.bands), boundaries, readout)
    scan, ordering = (program.structure, program.coupled, reach), Ordering(arch, program)
    with jax.enable_x64(True):
        none = _no_sources(arch, program)
        seen: Any = jax.device_get(run_seen(*scan, none, *given))
        read = slopes(arch, _in_units(seen, program, columns), rows, backward)
        raised = _at_steps(read, program, len(boundaries))
        read["write_crossed"] = _of_writes(seen, rows, ordering)
        back: Any = jax.device_get(run_rows(*scan, none, raised, *given))
        factors = {name: _factors(ordering.given(name, seen)) for name in matrices(arch)}
        behind = {
            name: _factors(ordering.back(name, seen)[:, ::-1, :, ::-1])
            for name in matrices(arch)
            if backward
        }
    derivatives = ordering.derivatives(back, read, readout)
    places, at = np.flatnonzero((derivatives != 0).any(axis=0)), ordering.steps
    return Controls(
        seen["initial"],
        seen["reads"][at],
        seen["transition"][at],
        seen["into"][at],
        seen["reads"][program.taps][:, 0],
        factors,
        behind,
        places,
        ordering.expected(seen)[places],
        derivatives[:, places],
    )


def _no_sources(arch: Architecture, program: Program) -> Sources:
    """Return zeros at every average."""
    lanes, partners = program.structure.lanes, (program.partners.shape[1], program.later.shape[1])
    names = matrices(arch), pulled(arch)
    return Sources.none(program.steps, lanes, arch.tokens, partners, *names)


def _in_units(seen: dict[str, Any], program: Program, columns: tuple[int, ...]) -> Kernels:
    """Return the kernels in the units of the network, in tables that can be written to."""
    found = read_forward(seen["kernels"], program, columns)
    at, tokens = program.boundary, np.arange(found.states.shape[1])
    tracked = at if program.coupled else np.arange(len(columns))
    crossed = np.zeros_like(found.crossed)
    crossed[..., tokens, tokens] = seen["crossed"][at][:, tracked]
    pairs = found.write_pairs
    if pairs is not None:
        pairs = np.zeros_like(pairs)
        pairs[..., tokens, tokens] = seen["write_pairs"]
    found = replace(
        found,
        write_pairs=pairs,
        log_norm=found.log_norm.copy(),
        states=seen["states"][at][:, 0, 0].copy(),
        state_log=np.zeros_like(found.state_log),
        crossed=crossed,
        writes=seen["writes"].copy(),
        write_log=np.zeros_like(found.write_log),
    )
    if "gradients" not in seen:
        return found
    return replace(
        found,
        gradients=seen["gradients"][at].copy(),
        gradient_log=np.zeros_like(found.gradient_log),
        groups={name: _unscaled(gram) for name, gram in seen["groups"].items()},
        stem=_unscaled(seen["gradient_stem"]),
    )


def _unscaled(gram: Float[np.ndarray, "*P T T"]) -> tuple[np.ndarray, np.ndarray]:
    """Return Grams and logarithms of 0."""
    return gram.copy(), np.zeros(gram.shape[:-1])


def _at_steps(read: Slopes, program: Program, columns: int) -> Slopes:
    """Return slopes by what the scan's boundaries and steps have."""
    count, states, _, tokens = read["crossed"].shape
    at = program.boundary
    tracked = at if program.coupled else np.arange(states)
    found = dict(read)
    for name in {"states", "gradients", "log_norm"} & set(read):
        found[name] = np.zeros((count, program.steps + 1, *read[name].shape[2:]))
        found[name][:, at] = read[name]
    found["crossed"] = np.zeros((count, program.steps + 1, columns, tokens))
    found["crossed"][:, at[:, None], tracked[None, :]] = read["crossed"]
    return found


def _of_writes(
    seen: dict[str, Any], rows: Sequence[Row], ordering: Ordering
) -> Float[np.ndarray, "R D D T"]:
    """Return how cosines between writes move with their overlaps: by 1/sqrt(<w, w> <w', w'>)."""
    sizes = np.sqrt(np.diagonal(seen["writes"][ordering.steps], axis1=-2, axis2=-1))
    found = np.zeros((len(rows), *ordering.layout["write_crossed"]))
    for k, row in enumerate(rows):
        if row.quantity == "write_cosine":
            early, late = sorted((row.application or 0, row.application_2 or 0))
            t = row.token or 0
            found[k, late - 1, early - 1, t] = 1 / (sizes[late - 1, t] * sizes[early - 1, t])
    return found


def _factors(gram: Float[np.ndarray, "slots U T U T"]) -> Float[np.ndarray, "slots UT UT"]:
    """Return every slot's Cholesky factor."""
    slots, uses, tokens = gram.shape[:3]
    square = jnp.asarray(gram.reshape(slots, uses * tokens, uses * tokens))
    return np.asarray(jax.vmap(field.cholesky)(square))


def has_control(arch: Architecture, row: Row) -> bool:
    """Tell if a row is one that a twin says something of."""
    groups = {*pulled(arch), *arch.stem_parts, *([READOUT] if len(arch.readout.at) == 1 else [])}
    named = row.group is None or row.group in groups
    return _has_twin(arch) and row.quantity in CONTROLLED and named


def _has_twin(arch: Architecture) -> bool:
    """Tell if a network has one band of coordinates, and no scores that vanish with the width."""
    return len(arch.bands) == 1 and not arch.truncations and not vanishing(arch)


def _check(arch: Architecture, rows: Sequence[Row]) -> None:
    """Raise ``InputError`` for what has no form."""
    if others := [row.quantity for row in rows if row.quantity not in CONTROLLED]:
        check_quantities(tuple(dict.fromkeys(others)))
    if not _has_twin(arch):
        raise InputError(
            f"{arch.name}: control=twin: networks of several widths, and scores that vanish with "
            f"the width, have no form yet; accepted: without"
        )
    backward = is_backward(row.quantity for row in rows)
    check(arch, backward)
    for row in rows:
        if not has_control(arch, row):
            raise InputError(
                f"control=twin: {row} has no form yet; accepted: groups of matrices and biases"
            )
    check_writes(arch)
    if (node := averaging(arch, backward)) is not None:
        raise InputError(
            f"{arch.name}: control=twin: a norm within a branch ({node}) has no form yet; "
            f"accepted: without"
        )

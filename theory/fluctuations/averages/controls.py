"""``controls``: how every row of one network follows its own averages, to first order.

With K what the averages are in the wide limit, and K' = mean f(g; K) over a network's own units
run through K in the place of its averages (its twin), the network's row is to first order

    row = value + sum_y (d row / d s_y) (K'_y - K_y),

s_y a source at average y (``recursion.sources``). Subtracting that sum from a measured row leaves
its mean and little of its scatter. Source: derived (docs/finite-width.md;
tests/theory/fluctuations/averages/test_controls.py).
"""

from __future__ import annotations

from collections.abc import Sequence
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
from sigprop.theory.calculus.independence import check_writes
from sigprop.theory.fluctuations.averages.derivatives import derived, has_twin
from sigprop.theory.fluctuations.averages.ordering import Ordering
from sigprop.theory.fluctuations.forms import FORMS, check, check_quantities, is_backward
from sigprop.theory.gaussian import field
from sigprop.theory.recursion.program import shared_program

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
    program = shared_program(arch)
    ordering, found = Ordering(arch, program), derived(arch, program, rows, backward)
    seen, read = found.seen, found.read | {"write_crossed": _of_writes(found.seen, rows, ordering)}
    with jax.enable_x64(True):
        factors = {name: _factors(ordering.given(name, seen)) for name in matrices(arch)}
        behind = {
            name: _factors(ordering.back(name, seen)[:, ::-1, :, ::-1])
            for name in matrices(arch)
            if backward
        }
    derivatives = ordering.derivatives(found.by_source, read, arch.readout.gram(arch.tokens))
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
    return has_twin(arch) and row.quantity in CONTROLLED and named


def _check(arch: Architecture, rows: Sequence[Row]) -> None:
    """Raise ``InputError`` for what has no form."""
    if others := [row.quantity for row in rows if row.quantity not in CONTROLLED]:
        check_quantities(tuple(dict.fromkeys(others)))
    if not has_twin(arch):
        raise InputError(
            f"{arch.name}: control=twin: networks of several widths, orthogonal matrices, scores "
            f"that vanish with the width, and activations neither odd nor even of what LayerNorm "
            f"returns have no form yet; accepted: without"
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

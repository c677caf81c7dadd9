"""Grams over all uses of a slot: what its matrices read, and the cotangents that come back to
its branch, application by application."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.theory.attention.draws import head_draws
from sigprop.theory.calculus.environment import Fineness
from sigprop.theory.gaussian.begin import begin
from sigprop.theory.recursion import footprint
from sigprop.theory.recursion.kernels import DEGREE, modulator_draws, scan_tables
from sigprop.theory.recursion.passes import GRADIENTS, run
from sigprop.theory.recursion.program import Program, Room, shared_program


class Uses(NamedTuple):
    """reads, cotangents [D, D]: <r_a, r_b> and <delta_a, delta_b>, zero where a and b share no
    slot; last, stem: <h_D, h_D>, <g_0, g_0>."""

    reads: np.ndarray
    cotangents: np.ndarray
    last: float
    stem: float


def uses(arch: Architecture, room: Room = Room()) -> Uses:  # noqa: B008 (a tuple)
    """The Grams of a network of one token (sums over the stem's parts for ``stem``). Raises
    ``NoRule`` as ``kernels`` does."""
    program = shared_program(arch, room)
    out = _passes(arch, program, room)
    steps = np.flatnonzero(~program.taps)[: arch.depth]
    reads = _table(program, out["reads"], program.partners)
    cotangents = _table(program, out["cotangents"], program.later)
    last = out["states"][-1, 0, 0] * np.exp(2 * out["state_log"][-1, 0])
    return Uses(
        reads[np.ix_(steps, steps)],
        cotangents[np.ix_(steps, steps)],
        float(last),
        float(out["stem"][0, 0] * np.exp(2 * out["stem_log"][0])),
    )


def _passes(arch: Architecture, program: Program, room: Room) -> dict[str, Any]:
    """Run both passes as far as gradients."""
    tables, boundaries, _ = scan_tables(arch, program, (0,))
    with jax.enable_x64(True):
        heads = footprint.amount(arch)._replace(places=2 if program.coupled else 1)
        points = tuple(head_draws(law, arch.tokens, 0, heads) for law in program.structure.heads)
        out = run(
            program.structure,
            program.coupled,
            GRADIENTS,
            None,
            modulator_draws(arch, program, room, 0),
            Fineness.of(DEGREE),
            points,
            tables,
            arch.stem_parts,
            begin(arch.stem_parts),
            np.array(arch.bands),
            boundaries,
            arch.readout.gram(arch.tokens),
        )
        return jax.device_get(out)


def _table(program: Program, grams: Any, partners: np.ndarray) -> np.ndarray:
    """Return [P, P] of the first token, from each step's own Gram, its log, and the Grams with its
    partners."""
    own, log, pairs = grams
    table = np.diag(own[:, 0, 0])
    if pairs is not None:
        for step, row in enumerate(partners):
            for u, partner in enumerate(row[: pairs.shape[1]]):
                if partner < program.steps:
                    table[step, partner] = table[partner, step] = pairs[step, u, 0, 0]
    scale = np.exp(log[:, 0])
    return table * scale[:, None] * scale[None, :]

"""A wide network to first order around its initialisation: how each application's reads depend on
the states, the next states on states and writes, and the Grams of reads and of cotangents over all
uses of a weight.

Norms divide by what they divide by at initialisation: the overlap of a change with a state is odd
in the read-out, so what a norm's derivative adds vanishes with the width (``calculus.transpose``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from sigprop.description.architecture import Architecture
from sigprop.theory.attention.draws import head_draws
from sigprop.theory.calculus.environment import Fineness
from sigprop.theory.calculus.independence import check_writes
from sigprop.theory.gaussian.begin import begin
from sigprop.theory.recursion import footprint
from sigprop.theory.recursion.kernels import DEGREE, scan_tables
from sigprop.theory.recursion.passes import GRADIENTS, run
from sigprop.theory.recursion.program import Program, Room, shared_program

Table = Float[np.ndarray, "P U T T"]


class Linear(NamedTuple):
    """P steps (applications and taps of the read-out, in order), m lanes, R reads, K bands.

    kinds [P], application [P], taps [P]; reads [P, R, m, K, T], transition [P, m, m, K, T], into
    [P, m, K, T]: r = reads . S, S' = transition . S + into w; initial [m, K, T]: the first lanes
    over the stem's output; read_grams [P, R, T, P, R, T], cotangent_grams [P, T, P, T]: <r, r'>
    and <delta, delta'>, NaN where two steps share no weight; stem: <g_0, g_0> of its output.
    """

    kinds: Int[np.ndarray, " P"]
    application: Int[np.ndarray, " P"]
    taps: Bool[np.ndarray, " P"]
    reads: Float[np.ndarray, "P R m K T"]
    transition: Float[np.ndarray, "P m m K T"]
    into: Float[np.ndarray, "P m K T"]
    initial: Float[np.ndarray, "m K T"]
    read_grams: Float[np.ndarray, "P R T P R T"]
    cotangent_grams: Float[np.ndarray, "P T P T"]
    stem: Float[np.ndarray, "T T"]


def linear(
    arch: Architecture,
    cotangent: Float[np.ndarray, " T"],
    seed: int = 0,
    room: Room = Room(),  # noqa: B008 (a tuple)
) -> Linear:
    """Return the network to first order, with the cotangent v c_t at its output of token t.

    Raises ``NoRule`` and ``InputError`` as ``kernels`` does. seed: of the heads that attention is
    averaged over; room: of the program.
    """
    check_writes(arch)
    program = shared_program(arch, room)
    out = _passes(arch, program, np.outer(cotangent, cotangent), seed)
    steps = arch.depth + len(arch.readout.at)
    at = slice(0, steps)
    state, read = out["state_log"][: steps + 1], out["reads"][1][at]
    write, coefficients = out["write_log"][at], out["linear"]
    before, after = state[:-1], state[1:]
    turned = np.exp(after - before)[:, None, None, None]
    log, own, pairs = read, *(out["reads"][k] for k in (0, 2))
    delta, delta_log, delta_pairs = out["cotangents"]
    return Linear(
        program.kinds[at],
        program.application[at],
        program.taps[at],
        coefficients["reads"][at] * np.exp(read[:, :, None, None] - before[:, None, None, None]),
        coefficients["transition"][at] * turned,
        coefficients["into"][at, :, 0] * np.exp(after - write)[:, None, None],
        coefficients["initial"] * np.exp(state[0] - begin(arch.stem_parts).log),
        _grams(steps, log, (own, pairs, program.partners)),
        _grams(steps, delta_log[at, None], _single(delta, delta_pairs, program.later))[
            :, 0, :, :, 0
        ],
        out["stem"] * np.exp(out["stem_log"][:, None] + out["stem_log"][None]),
    )


def _passes(
    arch: Architecture, program: Program, readout: Float[np.ndarray, "T T"], seed: int
) -> dict[str, Any]:
    """Run both passes as far as gradients."""
    tables, boundaries, _ = scan_tables(arch, program, (0,))
    with jax.enable_x64(True):
        heads = footprint.amount(arch)._replace(places=2 if program.coupled else 1)
        points = tuple(head_draws(law, arch.tokens, seed, heads) for law in program.structure.heads)
        out = run(
            program.structure,
            program.coupled,
            GRADIENTS,
            None,
            None,
            Fineness.of(DEGREE),
            points,
            tables,
            arch.stem_parts,
            begin(arch.stem_parts),
            np.array(arch.bands),
            boundaries,
            readout,
        )
        return jax.device_get(out)


def _single(own: Any, pairs: Any, partners: Any) -> tuple[Any, Any, Any]:
    """Give tables of one vector a step the axes of several."""
    return own[:, None, None], None if pairs is None else pairs[:, :, None, None], partners


def _grams(
    steps: int, log: Float[np.ndarray, "P R T"], tables: tuple[Any, Any, Any]
) -> Float[np.ndarray, "P R T P R T"]:
    """Put each step's own Gram [P, R, R, T, T] and those with its partners [P, U, R, R, T, T] in
    one table, off their logs."""
    own, pairs, partners = tables
    reads, tokens = log.shape[1:]
    table = np.full((steps, reads, tokens, steps, reads, tokens), np.nan)
    scale = np.exp(log)
    for p in range(steps):
        table[p, :, :, p] = np.moveaxis(own[p], 1, 2)
        if pairs is None:
            continue
        for u, q in enumerate(partners[p][: pairs.shape[1]]):
            if q < steps:
                table[p, :, :, q] = np.moveaxis(pairs[p, u], 1, 2)
                table[q, :, :, p] = np.transpose(pairs[p, u], (1, 3, 0, 2))
    return table * scale[..., None, None, None] * scale

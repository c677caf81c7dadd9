"""Kernels of an architecture: state, write and gradient Grams, weight gradients and NTK; one
compilation a structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.theory.attention.draws import head_draws
from sigprop.theory.calculus.environment import Fineness
from sigprop.theory.calculus.independence import check_writes
from sigprop.theory.gaussian import field
from sigprop.theory.gaussian.begin import begin
from sigprop.theory.recursion import footprint
from sigprop.theory.recursion.passes import FORWARD, GRADIENTS, NTK, run
from sigprop.theory.recursion.program import Program, Room, needed, shared, shared_program

DEGREE = 128  # of the Hermite series where there is no closed form
COARSE = 64  # the second resolution, whose difference is the stated numerical error


@dataclass(frozen=True, eq=False)
class Kernels:
    """Grams in the wide limit, as mantissas with log scales: true <u[t], v[s]> = exp(log_u[t] +
    log_v[s]) * mantissa.

    states [D+1, T, T], state_log [D+1, T]; crossed [D+1, C, T, T]: <h_a, h_c> for the tracked
    states ``columns`` [C]; writes [P, T, T], write_log [P, T]: of every step, a tap's being its
    output; write_pairs [P, U, T, T] by ``program.partners``; gradients [D+1, T, T], gradient_log
    [D+1, T]; gradients_crossed [D+1, D+1, T, T]: <g_a, g_b> for b >= a (tied only, else None); stem
    (mantissa [T, T], log [T]): gradient products at the stem, all lanes together; groups {group:
    (mantissa [P, T, T], log [P, T])}: per step, gradient products with itself and its later
    partners; participation [P, T]: of a step's attention (0 elsewhere); log_norm [D+1, T]: log of
    what norms have divided lane 0 by so far; modulators [P, T]: of every step (1 without one, 0
    where it skips); gaps [D+1, T, T]: 1 - rho^2 of states, where the scan carries them; arguments:
    of activations, by kind of sub-block, (variance, log) [P, T]; bands, gradient_bands [D+1, K, T,
    T]: states and gradients, a coordinate of each band; ntk {group, or part of the stem: (mantissa
    [T, T], log [T, T])} between outputs t and s. What lies beyond the passes' reach is None.
    """

    program: Program
    states: np.ndarray
    state_log: np.ndarray
    crossed: np.ndarray
    columns: tuple[int, ...]
    writes: np.ndarray
    write_log: np.ndarray
    write_pairs: np.ndarray | None
    gradients: Any
    gradient_log: Any
    gradients_crossed: Any
    stem: Any
    groups: Any
    participation: np.ndarray
    log_norm: np.ndarray
    modulators: np.ndarray
    gaps: Any
    arguments: Any
    bands: np.ndarray
    gradient_bands: Any
    ntk: Any


def kernels(
    arch: Architecture,
    columns: tuple[int, ...] = (),
    degree: int = DEGREE,
    seed: int = 0,
    reach: int = NTK,
    approximation: str | None = None,
) -> Kernels:
    """All Grams of ``arch`` in the wide limit. columns: states whose overlap with every other is
    wanted (tied: all come anyway); degree, seed: of Hermite series, and of the heads that attention
    is averaged over; reach: how far the passes go (``passes``); approximation: of attention
    forward, by name.

    Raises ``NoRule`` where an overlap has no rule. Source: docs/theory.md; tests compare with
    independent recursions.
    """
    (grams,) = sampled_kernels(
        arch, columns, degree, seed, reach=reach, approximation=approximation
    )
    return grams


def sampled_kernels(
    arch: Architecture,
    columns: tuple[int, ...] = (),
    degree: int = DEGREE,
    seed: int = 0,
    *,
    reach: int = NTK,
    approximation: str | None = None,
    room: Room = Room(),  # noqa: B008 (a tuple)
    nudge: float = 0.0,
    tail: float = 1.0,
    finer: int = 1,
) -> list[Kernels]:
    """``kernels``, for each draw of the modulators' scores where there are any
    (``field.draws``), else one. room: of the program; nudge, tail: as ``Resolution`` has them;
    finer: times the sampled heads, or where there are scores times the draws of these."""
    check_writes(arch)
    program = shared_program(arch, room)
    tables, boundaries, columns = scan_tables(arch, program, columns)
    _require_memory(arch, program, len(boundaries), (reach, finer))
    heads = footprint.amount(arch, finer)._replace(places=2 if program.coupled else 1)
    points = tuple(head_draws(law, arch.tokens, seed, heads) for law in program.structure.heads)
    with jax.enable_x64(True):
        fineness = Fineness.of(degree, nudge, tail, seed, finer)
        out = run(
            program.structure,
            program.coupled,
            reach,
            approximation,
            modulator_draws(arch, program, room, seed, finer),
            fineness,
            points,
            tables,
            arch.stem_parts,
            begin(arch.stem_parts),
            np.array(arch.bands),
            boundaries,
            arch.readout.gram(arch.tokens),
        )
        out = jax.device_get(out)
    return [read_forward(sample, program, columns) for sample in _samples(arch, out)]


def _samples(arch: Architecture, out: dict[str, Any]) -> list[dict[str, Any]]:
    """Take the draws of the modulators' scores apart."""
    if not arch.scored:
        return [out]
    count = len(out["states"])
    return [jax.tree.map(lambda leaf, i=i: leaf[i], out) for i in range(count)]


def _require_memory(
    arch: Architecture, program: Program, boundaries: int, run: tuple[int, int]
) -> None:
    """Raise ``InputError`` where the passes need more memory than there is."""
    partners, backward = program.partners.shape[1], {FORWARD: 0, GRADIENTS: 1, NTK: 2}[run[0]]
    passes = footprint.pass_bytes(arch, program.steps, partners, boundaries, backward)
    footprint.require(arch, passes + footprint.draw_bytes(arch, run[1]))


def modulator_draws(
    arch: Architecture, program: Program, room: Room, seed: int, finer: int = 1
) -> np.ndarray | None:
    """Draw the modulators' scores (``field.draws``), of the steps that there are, whatever
    the program is rounded up to."""
    steps = needed(arch, room).steps
    scores = field.draws(arch, steps, seed, finer)
    return (
        None
        if scores is None
        else np.pad(scores, ((0, 0), (0, program.steps - steps), (0, 0), (0, 0)))
    )


def scan_tables(
    arch: Architecture, program: Program, columns: tuple[int, ...]
) -> tuple[dict[str, Any], np.ndarray, tuple[int, ...]]:
    """Return what every step of the passes is given, the tracked boundaries, and the states that
    those are (tied: all)."""
    columns = tuple(range(arch.depth + 1)) if program.coupled else columns or (0,)
    tracked = [*columns, *columns[:1] * (shared(len(columns)) - len(columns))]
    boundaries = np.arange(program.steps + 1) if program.coupled else program.boundary[tracked]
    tables = {
        "kind": program.kinds,
        "step": np.arange(program.steps),
        "partners": program.partners,
        "later": program.later,
        "row": program.row,
        "column": program.column,
        "ties": program.ties,
        "ties_later": program.ties_later,
        "numbers": program.numbers,
        "taps": program.taps,
        "modulated": sum(
            (program.ties[name] for name in arch.scored), start=np.zeros(program.partners.shape)
        ),
    }
    return tables, boundaries, columns


def read_forward(out: dict[str, Any], program: Program, columns: tuple[int, ...]) -> Kernels:
    """Pick what stands at the states' boundaries."""
    at = program.boundary
    tracked = at if program.coupled else np.arange(len(columns))
    by_state = ("states", "state_log", "log_norm", "bands")
    by_step = ("writes", "write_log", "write_pairs", "participation", "modulators", "arguments")
    return Kernels(
        program,
        columns=columns,
        crossed=out["crossed"][at][:, tracked],
        gaps=None if out["gaps"] is None else out["gaps"][at],
        **{name: out[name][at] for name in by_state},
        **{name: out[name] for name in by_step},
        **_backward(out, program),
    )


def _backward(out: dict[str, Any], program: Program) -> dict[str, Any]:
    """Turn the reversed scan's results to the order of the states (None where it did not run)."""
    if "gradients" not in out:
        return dict.fromkeys(
            (
                "gradients",
                "gradient_log",
                "gradients_crossed",
                "stem",
                "groups",
                "gradient_bands",
                "ntk",
            )
        )
    at, reverse = program.boundary, program.steps - program.boundary
    return {
        "gradients": out["gradients"][reverse],
        "gradient_log": out["gradient_log"][reverse] - out["state_log"][at],
        "gradients_crossed": out["gradient_rows"][reverse][:, reverse] if program.coupled else None,
        "stem": (out["stem"], out["stem_log"]),
        "groups": {
            name: (amount[::-1], log[::-1]) for name, (amount, log) in out["groups"].items()
        },
        "gradient_bands": out["gradient_bands"][reverse],
        "ntk": out.get("ntk"),
    }

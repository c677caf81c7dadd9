"""Units to trace: seeded quasi-random normals, and the forward kernels with each of them traced."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from sigprop.description.architecture import Architecture
from sigprop.theory.attention.draws import Amount, head_draws, sobol_normals
from sigprop.theory.calculus.environment import Fineness
from sigprop.theory.fluctuations.running import run_units
from sigprop.theory.gaussian.begin import begin
from sigprop.theory.recursion.kernels import DEGREE, Kernels, read_forward, scan_tables
from sigprop.theory.recursion.program import Program, shared_program
from sigprop.theory.recursion.units.unit import coordinates

STEP = 1e-4
"""Weight of the unit: derivatives at 0 are differences of kernels at +STEP, -STEP and 0."""
HEADS = 128  # whose mean stands for all others where a head is traced
MOST_WHITENED = 1024  # normals of a unit whose second moments are set to 1


def traced(arch: Architecture, count: int, seed: int) -> tuple[list[Kernels], ...]:
    """Return the forward kernels with each of ``count`` units traced at weight STEP, at -STEP, and
    (one of them) at 0."""
    program = shared_program(arch)
    tables, boundaries, columns = scan_tables(arch, program, tuple(range(arch.depth + 1)))
    stem, outputs = normals(arch, program, count, seed)
    sizes = coordinates_of(arch)
    shape = program.steps, arch.tokens
    given = {name: np.zeros((shape[0], size, shape[1])) for name, (_, size) in sizes.items()}
    heads = tuple(
        head_draws(law, arch.tokens, seed, Amount(2 if program.coupled else 1)).first(HEADS)
        for law in program.structure.heads
    )
    order = np.concatenate([np.arange(count), np.arange(count), [0]])
    weights = np.concatenate([np.full(count, STEP), np.full(count, -STEP), [0.0]])
    with jax.enable_x64(True):
        out: Any = jax.device_get(
            run_units(
                program.structure,
                program.coupled,
                (weights, stem[order], {k: table[order] for k, table in outputs.items()}),
                given,
                Fineness.of(DEGREE),
                heads,
                tables,
                begin(arch.stem_parts),
                np.array(arch.bands),
                boundaries,
            )
        )
    every = [
        read_forward(jax.tree.map(lambda leaf, i=i: leaf[i], out), program, columns)
        for i in range(len(order))
    ]
    return every[:count], every[count:-1], every[-1:]


def normals(
    arch: Architecture, program: Program, count: int, seed: int
) -> tuple[Float[np.ndarray, "N T"], dict[str, Float[np.ndarray, "N P C T"]]]:
    """Draw what a unit is random through: its tokens in the stem, and its outputs of every matrix
    and bias at every step that uses it (elsewhere 0)."""
    tokens, sizes = arch.tokens, coordinates_of(arch)
    used = {
        name: [p for p, kind in enumerate(program.kinds) if name in program.structure.weights[kind]]
        for name in sizes
    }
    vectors = 1 + sum(len(steps) * sizes[name][0] for name, steps in used.items())
    every = points(count, tokens * vectors, seed).reshape(count, vectors, tokens)
    tables, at = {}, 1
    for name, steps in used.items():
        each = sizes[name][0]
        tables[name] = np.zeros((count, program.steps, each, tokens))
        own = every[:, at : at + len(steps) * each]
        tables[name][:, steps] = own.reshape(count, len(steps), each, tokens)
        at += len(steps) * each
    return every[:, 0], tables


def coordinates_of(arch: Architecture) -> dict[str, tuple[int, int]]:
    """Return {matrix or bias: coordinates of a unit (of its output, of its input)}."""
    return {
        name: sizes
        for block in arch.sub_blocks
        for name, sizes in coordinates(block.branch).items()
    }


def points(count: int, dimensions: int, seed: int) -> Float[np.ndarray, "N dimensions"]:
    """Return scrambled Sobol points as normals, with their negatives (plain normals, where that is
    too many dimensions); where they are many more than dimensions, their second moments are set to
    1."""
    from scipy.stats import qmc

    half = count // 2
    if dimensions > qmc.Sobol.MAXDIM:
        z = np.random.default_rng(seed).standard_normal((half, dimensions))
    else:
        z = sobol_normals(half, dimensions, seed)
    if dimensions <= min(MOST_WHITENED, half // 8):
        z = np.linalg.solve(np.linalg.cholesky(z.T @ z / half), z.T).T
    return np.concatenate([z, -z])

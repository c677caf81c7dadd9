"""Units to trace: seeded quasi-random normals, and the kernels with each of them traced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from sigprop.description.architecture import Architecture
from sigprop.description.structure import READOUT
from sigprop.language.expression import Bias, Linear
from sigprop.language.traversal import walk
from sigprop.theory.attention.draws import Amount, head_draws, sobol_normals
from sigprop.theory.calculus.environment import Fineness
from sigprop.theory.fluctuations.copies import between_outputs, output_by_output
from sigprop.theory.fluctuations.running import Given, run_members, run_units
from sigprop.theory.gaussian.begin import begin
from sigprop.theory.recursion import tangent
from sigprop.theory.recursion.kernels import DEGREE, Kernels, read_forward, scan_tables
from sigprop.theory.recursion.passes import FORWARD, GRADIENTS, NTK
from sigprop.theory.recursion.program import Program, shared_program
from sigprop.theory.recursion.units.sizes import coordinates, inputs

STEP = 1e-4
"""Weight of the unit: derivatives at 0 are differences of kernels at +STEP, -STEP and 0."""
SETS = 8  # independent scrambles, whose scatter is the error
MEMBERS, FEW = 256, 2
"""Other units, on whom a unit's gradients act: that shifts gradients, and does not scatter them."""
HEADS, OF_PAIRS = 128, 1024
"""Heads whose mean stands for all others where a head is traced; where what comes back at one
application depends on what did at another that shares weights."""
WHITENED = 64  # points a normal from which on second moments are set to 1


def traced(
    arch: Architecture, count: int, seed: int, reach: int = FORWARD, members: int = MEMBERS
) -> tuple[list[Kernels], ...]:
    """Return the kernels with each of ``count`` units traced at weight STEP, at -STEP, and (one of
    them) at 0. reach: how far the passes go; to NTK, all that comes back is of one read-out vector
    that tokens share; members: other units on whom its gradients act."""
    readout, outputs = arch.readout.gram(arch.tokens), arch.tokens if reach == NTK else 0
    if outputs:
        arch, readout, reach = *output_by_output(arch), GRADIENTS
    program = shared_program(arch)
    tables, boundaries, columns = scan_tables(arch, program, tuple(range(arch.depth + 1)))
    draws = normals(arch, program, count, seed, reach)
    sampled = OF_PAIRS if program.coupled and reach > FORWARD else HEADS
    heads = tuple(
        head_draws(law, arch.tokens, seed, Amount(2 if program.coupled else 1)).first(sampled)
        for law in program.structure.heads
    )
    order = np.concatenate([np.arange(count), np.arange(count), [0]])
    weights = np.concatenate([np.full(count, STEP), np.full(count, -STEP), [0.0]])
    scan = program.structure, program.coupled
    bands, stem, finely = np.array(arch.bands), begin(arch.stem_parts), Fineness.of(DEGREE)
    given = Given(finely, heads, tables, stem, bands, boundaries, readout)
    zeros = blank(program, arch.tokens, reach)
    same = _same(program) if arch.ensemble == "orthogonal" else None
    with jax.enable_x64(True):
        others = ()
        if reach > FORWARD:
            drawn = normals(arch, program, members, SETS + seed, FORWARD)
            others = (run_members(*scan, drawn, (zeros[0], {}), given),)
        out: Any = jax.device_get(
            run_units(
                *scan,
                reach,
                (weights, *jax.tree.map(lambda table: table[order], draws)),
                (*zeros, *(others or [None]), same),
                given,
            )
        )
        if outputs:
            out["ntk"] = _tangents(out, arch.stem_parts, outputs)
    every = [
        read_forward(jax.tree.map(lambda leaf, i=i: leaf[i], out), program, columns)
        for i in range(len(order))
    ]
    return every[:count], every[count:-1], every[-1:]


def _tangents(
    out: dict[str, Any], stem: Mapping[str, Any], outputs: int
) -> dict[str, tuple[Any, Any]]:
    """Return the tangent kernel of every group, (Theta, log) [N, T, T], of passes back from one
    read-out vector; outputs: T."""
    back, parts = {name: out[name] for name in ("groups", "stem", "stem_log")}, dict(stem)
    found = jax.vmap(lambda found: tangent.apart(tangent.products(found, parts)))(back)
    return jax.device_get(between_outputs(found, outputs))


def normals(
    arch: Architecture, program: Program, count: int, seed: int, reach: int
) -> tuple[Any, ...]:
    """Draw what a unit is random through, as ``beside.Draws`` has it: its tokens in the stem and in
    the read-out [N, K, T], and its outputs of every matrix and bias, and of every matrix's
    transpose, at every step that uses it (elsewhere 0). One after the other in the order in which
    they come, so that Sobol's best points are the first's."""
    tokens, kinds = arch.tokens, program.structure.blocks
    forward: dict[str, int] = {}
    back: dict[str, int] = {}
    for block in kinds:
        for u in walk(block.branch):
            if isinstance(u, (Linear, Bias)):
                forward[u.weight], of = coordinates(block.branch)[u.weight]
                if isinstance(u, Linear):
                    back[u.weight] = of
    back = back if reach > FORWARD else {}
    used = {
        name: [p for p, kind in enumerate(program.kinds) if name in program.structure.weights[kind]]
        for name in forward
    }
    bands = len(arch.bands)
    forward, back = ({name: bands * c for name, c in each.items()} for each in (forward, back))
    vectors = bands + sum(len(used[name]) * each for name, each in forward.items())
    later = reach - FORWARD and bands + sum(len(used[name]) * each for name, each in back.items())
    every = points(count, tokens * (vectors + later), seed).reshape(count, -1, tokens)
    stem, tables = every[:, :bands], _placed(every[:, bands:vectors], program, used, forward)
    if not back:
        return stem, np.zeros_like(stem), tables, {}
    last = vectors + bands
    return stem, every[:, vectors:last], tables, _placed(every[:, last:], program, used, back)


def _placed(
    every: np.ndarray, program: Program, used: dict[str, list[int]], sizes: dict[str, int]
) -> dict[str, Float[np.ndarray, "N P C T"]]:
    """Put normals [N, vectors, T] where they are used."""
    tables, at, (count, _, tokens) = {}, 0, every.shape
    for name, each in sizes.items():
        steps = used[name]
        tables[name] = np.zeros((count, program.steps, each, tokens))
        own = every[:, at : at + len(steps) * each]
        tables[name][:, steps] = own.reshape(count, len(steps), each, tokens)
        at += len(steps) * each
    return tables


def _same(program: Program) -> dict[str, Float[np.ndarray, "P P"]]:
    """Return {matrix: 1 where two steps share it}, a step with itself among them."""
    found = {}
    for kind, block in enumerate(program.structure.blocks):
        for u in walk(block.branch):
            if not isinstance(u, Linear):
                continue
            same = np.eye(program.steps) * (program.kinds == kind)
            for p, q in np.argwhere(program.ties[u.weight] > 0):
                other = program.partners[p, q]
                same[p, other] = same[other, p] = 1.0
            found[u.weight] = found.get(u.weight, 0) + same
    return {name: np.minimum(same, 1.0) for name, same in found.items()}


def blank(
    program: Program, tokens: int, reach: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return zeros [P, K C, T] of what a unit gives to every weight, forward and backward."""
    blocks, bands = program.structure.blocks, program.structure.bands
    sizes = {READOUT: (1, 1)}
    given = {READOUT: 1}
    for block in blocks:
        sizes |= (found := coordinates(block.branch))
        given |= {name: found[name][1] for name in inputs(block.branch, False)}
    later = {name: size for name, (size, _) in sizes.items()} if reach > FORWARD else {}
    if reach == FORWARD:
        del given[READOUT]
    return tuple(  # pyright: ignore[reportReturnType]
        {name: np.zeros((program.steps, bands * size, tokens)) for name, size in each.items()}
        for each in (given, later)
    )


def points(count: int, dimensions: int, seed: int) -> Float[np.ndarray, "N dimensions"]:
    """Return scrambled Sobol points as normals, with their negatives (plain normals, where that is
    too many dimensions); where they are many more than dimensions, their second moments are set to
    1: less noise, while the scatter of squares falls by about a third of dimensions over points."""
    from scipy.stats import qmc

    half = count // 2
    if dimensions > qmc.Sobol.MAXDIM:
        z = np.random.default_rng(seed).standard_normal((half, dimensions))
    else:
        z = sobol_normals(half, dimensions, seed)
    if dimensions * WHITENED <= half:
        z = np.linalg.solve(np.linalg.cholesky(z.T @ z / half), z.T).T
    return np.concatenate([z, -z])

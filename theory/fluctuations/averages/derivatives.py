"""Derivatives of rows by sources at every average that a network sees, put together from the
programs of ``seen``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from sigprop.description.architecture import Architecture
from sigprop.description.averages import matrices, pulled
from sigprop.description.shapes import Row
from sigprop.theory.attention.draws import head_draws
from sigprop.theory.calculus.environment import Fineness
from sigprop.theory.fluctuations.averages.reading import Slopes, slopes
from sigprop.theory.fluctuations.averages.seen import run_rows, run_seen
from sigprop.theory.fluctuations.forms import moved_by_means, vanishing
from sigprop.theory.fluctuations.running import Given
from sigprop.theory.gaussian.begin import begin
from sigprop.theory.recursion.kernels import DEGREE, Kernels, read_forward, scan_tables
from sigprop.theory.recursion.passes import FORWARD, GRADIENTS
from sigprop.theory.recursion.program import Program
from sigprop.theory.recursion.sources.sources import Sources

HEADS = 512  # of attention, whose mean is what its matrices are given


class Derived(NamedTuple):
    """seen: the averages in the wide limit (``seen.run_seen``); read: derivatives of rows [R, ...]
    by what they are read off (``reading.slopes``); by_source: by sources, likewise; given: what
    programs of this network take (``running``)."""

    seen: dict[str, Any]
    read: Slopes
    by_source: Sources
    given: Given


def has_twin(arch: Architecture) -> bool:
    """Tell if a network has one band of coordinates, Gaussian matrices, no scores that vanish with
    the width, and averages that means over coordinates do not move to first order: averages of
    others have no sources."""
    return (
        arch.ensemble == "gaussian"
        and len(arch.bands) == 1
        and not arch.truncations
        and not vanishing(arch)
        and not moved_by_means(arch)
    )


def derived(
    arch: Architecture,
    program: Program,
    rows: Sequence[Row],
    backward: bool,
    means: Float[np.ndarray, "means rows"] | None = None,
) -> Derived:
    """Return how rows, or means of them, follow every average that a network sees."""
    tables, boundaries, columns = scan_tables(arch, program, tuple(range(arch.depth + 1)))
    readout = arch.readout.gram(arch.tokens)
    heads = tuple(head_draws(law, arch.tokens, 0).first(HEADS) for law in program.structure.heads)
    stem = begin(arch.stem_parts)
    finely, bands = Fineness.of(DEGREE), np.array(arch.bands)
    given = Given(finely, heads, tables, stem, bands, boundaries, readout)
    scan = program.structure, program.coupled, GRADIENTS if backward else FORWARD
    with jax.enable_x64(True):
        none = _no_sources(arch, program)
        seen: Any = jax.device_get(run_seen(*scan, none, given))
        read = slopes(arch, _in_units(seen, program, columns), rows, backward, means)
        raised = _at_steps(read, program, len(boundaries))
        by_source: Any = jax.device_get(run_rows(*scan, none, raised, given))
    return Derived(seen, read, by_source, given)


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

"""The averages over a network's coordinates that a *twin* of it is compared by: which there are,
and in which order they stand in one flat list.

A twin runs a network's own normals through given numbers in place of the network's own averages
(``sigprop.simulations.network.twin``). Its averages, and the numbers that stand for them, have the
shapes and the order below: what gives the numbers and what measures the averages both ask here.

    states         [D + 1, m, m, T, T]    <S_i[t], S_j[s]> of the lanes before every application,
                                          and after the last
    crossed        [D + 1, D + 1, T]      <S_0[t], S_0[t]> of lane 0 at two of these places
    overlaps       [D, m, T]              <w[t], S_i[t]> of a write and the lanes it is added to
    writes         [D, T, T]              <w[t], w[s]>
    write_crossed  [D, D, T]              <w_a[t], w_b[t]> of two applications' writes
    stem           [T]                    <s[t], s[t]> of the stem's output
    gradients      [D + 1, T, T]          <g[t], g[s]> of the gradient by lane 0 at these places
    gradient_stem  [T, T]                 of the gradient by the stem's output
    outputs        [T, T]                 <o[t], o[s]> of what a read-out at one place sees
    inputs:WEIGHT  [slots, U, T, U, T]    <x[t], x[s]> of a matrix's inputs at two uses of a slot,
                                          zeros where a slot has fewer than the most uses, U
    cotangents:WEIGHT  likewise           <d[t], d[s]> of gradients by a matrix's or bias's outputs

<x, y> is the mean over coordinates; matrices and their slots stand in the order of the description.
"""

from __future__ import annotations

import math

from sigprop.description.architecture import Architecture
from sigprop.language.expression import Bias, Linear, Normalise
from sigprop.language.nodes import Centre, Project
from sigprop.language.traversal import walk

INPUTS, COTANGENTS = "inputs:", "cotangents:"
"""In front of a weight's name: the averages of its inputs, and of what comes back to its
outputs."""

COUPLED = (Normalise, Centre, Project)
"""Nodes that take an average over coordinates themselves."""

Layout = dict[str, tuple[int, ...]]
"""Name of an average -> its shape, in the order of the flat list."""


def matrices(arch: Architecture) -> tuple[str, ...]:
    """Name the weights that are matrices, in order."""
    return tuple(name for name, node in arch.weights.items() if isinstance(node, Linear))


def pulled(arch: Architecture) -> tuple[str, ...]:
    """Name the weights whose outputs are coordinates: matrices and biases, in order."""
    return tuple(name for name, node in arch.weights.items() if isinstance(node, (Linear, Bias)))


def averaging(arch: Architecture, backward: bool) -> str | None:
    """Name what takes an average within a branch (backward: or within the read-out's), where units
    would not be independent of each other; None where nothing does."""
    branches = [block.branch for block in arch.sub_blocks]
    branches += [arch.readout.branch] if backward else []
    nodes = (node for branch in branches for node in walk(branch))
    return next((type(node).__name__ for node in nodes if isinstance(node, COUPLED)), None)


def most_uses(arch: Architecture, weight: str) -> int:
    """Count the uses of a weight's most used slot."""
    return max(map(len, arch.applications_of(weight).values()))


def layout(arch: Architecture, lanes: int) -> Layout:
    """Give the shape of every average, in order; lanes: of the twin, the stem among them where it
    has a lane of its own."""
    depth, tokens = arch.depth, arch.tokens
    found: Layout = {
        "states": (depth + 1, lanes, lanes, tokens, tokens),
        "crossed": (depth + 1, depth + 1, tokens),
        "overlaps": (depth, lanes, tokens),
        "writes": (depth, tokens, tokens),
        "write_crossed": (depth, depth, tokens),
        "stem": (tokens,),
        "gradients": (depth + 1, tokens, tokens),
        "gradient_stem": (tokens, tokens),
        "outputs": (tokens, tokens),
    }
    of_uses = [INPUTS + name for name in matrices(arch)]
    for name in (*of_uses, *(COTANGENTS + name for name in pulled(arch))):
        weight = name.split(":", 1)[1]
        slots, uses = len(arch.applications_of(weight)), most_uses(arch, weight)
        found[name] = (slots, uses, tokens, uses, tokens)
    return found


def size(arch: Architecture, lanes: int) -> int:
    """Count all averages."""
    return sum(map(math.prod, layout(arch, lanes).values()))

"""The change of a wide network's output by its first Adam step: every entry moves by its rate, with
the gradient's sign.

    dz = sum over groups G of eta_G sum over entries |dz/dtheta|

Maximal update, z = v . h/n: for a matrix with inputs x_a and output cotangents d_a (sqrt(n) dz'/d,
z' = n^-1/2 v . h) and eta = c/n,

    dz = c (n_out/n) (n_in/n) sum over slots of E|sum_a d_a x_a|,

a the slot's uses; x and d are elementwise functions of jointly Gaussian coordinates whose Grams
over uses the recursion gives, and independent of each other. Stem: c E|g_0|; read-out: c E|h_D|,
both Gaussian. Source: derived (exponents page, section 3;
tests/theory/predictions/test_first_step.py).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.structure import READOUT
from sigprop.description.sub_block import SubBlock
from sigprop.errors import InputError, no_rule
from sigprop.language.expression import Bias, Linear, Scale, Vector
from sigprop.language.traversal import rows_of
from sigprop.theory.calculus.transpose import (
    AttendTransposed,
    Divide,
    Gradient,
    Transposed,
    transpose,
)
from sigprop.theory.predictions.coordinates import coordinates
from sigprop.theory.predictions.uses import Uses, uses
from sigprop.theory.recursion.program import Room

REPLICATES, POINTS = 8, 512
MEAN = math.sqrt(2 / math.pi)  # E|z|, z ~ N(0, 1)


class Change(NamedTuple):
    """dz of a group, and the standard error of its expectation over scrambled points."""

    value: float
    error: float


def adam(
    arch: Architecture,
    rates: Mapping[str, float] | None = None,
    seed: int = 0,
    room: Room = Room(),  # noqa: B008 (a tuple)
) -> dict[str, Change]:
    """group -> dz. rates {group: c}, 1 where not named: entries of matrices and of the read-out
    move by c/n, of biases and the stem by c.

    One input (``arch.tokens`` = 1), no modulators; raises ``InputError``, and ``NoRule`` where
    cotangents are no Gaussian vectors (branches that begin with an activation, one matrix).
    """
    arch.without_experts("the first step")
    if arch.tokens != 1 or arch.scored:
        raise InputError(
            f"tokens={arch.tokens}: the first step is predicted for one input and without learned "
            f"modulators; accepted: tokens=1"
        )

    def rate(group: str) -> float:
        return 1.0 if rates is None else float(rates.get(group, 1.0))

    grams, changes = uses(arch, room), {}
    for block in arch.sub_blocks:
        gradient = _gradient(block)
        for weight, node in block.weights.items():
            size = _size(node)
            change = _slots(arch, block.branch, gradient, weight, grams=grams, seed=seed)
            changes[weight] = _scaled(rate(weight) * size, change)
    changes[READOUT] = Change(rate(READOUT) * MEAN * math.sqrt(grams.last), 0.0)
    return changes | {
        part: Change(rate(part) * MEAN * math.sqrt(grams.stem), 0.0) for part in arch.stem_parts
    }


def _gradient(block: SubBlock) -> Gradient:
    """Transpose the branch; raise ``NoRule`` where cotangents are no Gaussian vectors."""
    gradient = transpose(block.branch)
    if len(block.reads) > 1:
        raise no_rule(block.branch, f"its first step of {len(block.reads)} reads", "one read")
    if any(not _gaussian(term) for term in gradient.reads.get(0, [])):
        raise no_rule(
            block.branch,
            "gradients past it are no Gaussian vectors",
            "a branch that begins with a matrix",
        )
    return gradient


def _size(node: Vector) -> float:
    """Return (n_out/n) (n_in/n) of a matrix, n_out/n of a bias."""
    if not isinstance(node, (Linear, Bias)):
        raise no_rule(node, "no rule for its first step", "matrices and biases")
    return float(node.rows) * (float(rows_of(node.of)) if isinstance(node, Linear) else 1.0)


def total(changes: Mapping[str, Change]) -> Change:
    """The sum over groups."""
    return Change(
        sum(change.value for change in changes.values()),
        math.hypot(*(change.error for change in changes.values())),
    )


def _slots(
    arch: Architecture, branch: Vector, gradient: Gradient, weight: str, *, grams: Uses, seed: int
) -> Change:
    """Return the sum over a weight's slots of E|sum_a d_a x_a|."""
    pairs = gradient.uses.get(weight, [])
    if len(pairs) != 1:
        raise no_rule(weight, f"it stands {len(pairs)} times in its branch", "once")
    ((x, d),) = pairs
    values = np.zeros(REPLICATES)
    for used in arch.applications_of(weight).values():
        draw = functools.partial(
            coordinates,
            arch,
            branch,
            used=used,
            reads=grams.reads[np.ix_(used, used)],
            cotangents=grams.cotangents[np.ix_(used, used)],
        )
        for k in range(REPLICATES):
            # [points, uses]
            inputs = (
                np.ones((1, len(used))) if x is None else draw(x, points=POINTS, seed=(seed, k, 0))
            )
            # over all pairs
            values[k] += np.abs(draw(d, points=POINTS, seed=(seed, k, 1)) @ inputs.T).mean()
    return Change(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values)))


def _gaussian(term: Vector) -> bool:
    """Tell if a term of (df/dr)^T delta ends with a transposed matrix (numbers and norms aside)."""
    while isinstance(term, (Scale, Divide)):
        term = term.of
    return isinstance(term, Transposed) or (
        isinstance(term, AttendTransposed) and _gaussian(term.of)
    )


def _scaled(factor: float, change: Change) -> Change:
    """Multiply a change and its error."""
    return Change(factor * change.value, factor * change.error)

"""Where a change comes from: of every group of parameters, what its own step changes at the
module's output, and what the change of the module's input does there.

    W' x' - W x = (W' - W) x + W (x' - x) + ...    effective and propagating part, x the input
                                                   before the first step

Of biases and gates the effective part is the change of the vector itself, of a part of the stem
that of its output, of the read-out (theta' - theta) . o. Checked by
tests/simulations/training/test_parts.py against a network written by hand.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sigprop.description.architecture import Architecture
from sigprop.description.structure import READOUT
from sigprop.language.expression import Linear
from sigprop.simulations.network.weights import Shape
from sigprop.simulations.training.ascent import Full
from sigprop.simulations.training.trained import Params, over_applications, over_uses, product

EFFECTIVE, PROPAGATING = "effective part", "propagating part"
SHARES = {"1/4": 0.25, "1/2": 0.5, "3/4": 0.75, "1": 1.0}


class Part(NamedTuple):
    """quantity: effective or propagating part, and where; group; uses: applications (from 0)
    whose mean square it is, () of what has none."""

    quantity: str
    group: str
    uses: tuple[int, ...]

    @property
    def effective(self) -> bool:
        """Whether it is the group's own step."""
        return self.quantity.startswith(EFFECTIVE)


def parts_of(arch: Architecture, detailed: bool = False) -> tuple[Part, ...]:
    """Return every group's effective part, the mean over its applications; detailed: then both
    parts of every weight at the applications nearest to 1/4, 1/2, 3/4 and all of those that hold
    it."""
    uses = {
        group: tuple(sorted(a for used in arch.applications_of(group).values() for a in used))
        if group in arch.weights
        else ()
        for group in arch.groups
    }
    whole = [Part(EFFECTIVE, group, used) for group, used in uses.items()]
    return (
        *whole,
        *(
            Part(f"{part} at {name}", group, (_nearest(uses[group], share),))
            for group, node in (arch.weights.items() if detailed else ())
            for part in ((EFFECTIVE, PROPAGATING) if isinstance(node, Linear) else (EFFECTIVE,))
            for name, share in SHARES.items()
        ),
    )


def _nearest(uses: tuple[int, ...], share: float) -> int:
    """Return the application after which this share of a weight's applications is done."""
    return uses[max(1, math.floor(len(uses) * share + 0.5)) - 1]


class Seen(NamedTuple):
    """What a network's modules were given: what theta reads [T, n], inputs {weight: [D, T,
    n_in]}."""

    read: Any
    inputs: dict[str, Any]


def unseen(arch: Architecture, shapes: tuple[Shape, ...], width: int) -> Seen:
    """Return zeros, before anything was seen."""
    lengths = {s.name: s.shape[-1] for s in shapes if isinstance(arch.drawn[s.name], Linear)}
    inputs = {name: jnp.zeros((arch.depth, arch.tokens, n)) for name, n in lengths.items()}
    return Seen(jnp.zeros((arch.tokens, width)), inputs)


def squares(
    arch: Architecture,
    parts: tuple[Part, ...],
    params: tuple[Params, Params],
    seen: tuple[Seen, Seen],
    tables: Any,
) -> Float[Any, " parts"]:
    """Return the parts' mean squares over tokens and coordinates. params, seen: before the first
    step, and now; tables: as of ``trained.tables``."""
    (before, now), (then, here) = params, seen
    step = {group: now[group] - before[group] for group in arch.groups}
    found: dict[tuple[bool, str], Any] = {}
    for group in dict.fromkeys(part.group for part in parts):
        found[True, group] = _effective(arch, group, step[group], then, tables)
    for group in dict.fromkeys(part.group for part in parts if not part.effective):
        change = here.inputs[group] - then.inputs[group]
        found[False, group] = _by_application(arch, group, before[group], change)
    return jnp.stack([_mean(found[part.effective, part.group], part.uses) for part in parts])


def _effective(arch: Architecture, group: str, step: Any, then: Seen, tables: Any) -> Any:
    """Return the mean square of a group's own change, [D] of weights, else a number."""
    if group == READOUT:
        return (product(then.read, step) ** 2).mean()
    if group in tables["inputs"]:
        return (product(tables["inputs"][group], step) ** 2).mean()
    if isinstance(arch.weights[group], Linear):
        return _by_application(arch, group, step, then.inputs[group])
    return (step**2).reshape(len(step), -1).mean(axis=1)[tables["slots"][group]]


def _by_application(arch: Architecture, group: str, matrix: Any, x: Any) -> Float[Any, " D"]:
    """Return the mean square of a matrix's products with x [D, T, n_in]."""
    given = Full(matrix).times(over_uses(arch, group, x))
    return (over_applications(arch, group, given) ** 2).mean(axis=(1, 2))


def _mean(square: Any, uses: tuple[int, ...]) -> Any:
    return square[np.array(uses)].mean() if uses else square

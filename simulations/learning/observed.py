"""What ``measure`` looks at, in networks on their way: the rows of a description's quantities, on
sequences of a text, as means over tokens; and what each group's parameters and gradients are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.quantities import QUANTITIES
from sigprop.description.rows import select, token_means
from sigprop.description.shapes import Row
from sigprop.errors import InputError, near_miss
from sigprop.simulations.engines.engine import Static
from sigprop.simulations.learning import network
from sigprop.simulations.observables.outcome import Outcome
from sigprop.simulations.observables.rows import MEASURED

OF_HEADS = ("logit_variance", "logit_contact", "cross_entropy")
"""Of heads that are drawn, not trained."""
OF_GROUPS = ("parameter", "gradient", "change")
"""Root mean squares of a group's entries: as they are, the loss's gradient by them, what they have
changed since the start."""


def choices() -> tuple[str, ...]:
    """Return the quantities that can be observed: those of one pass forward, and of groups."""
    forward = (name for name, quantity in QUANTITIES.items() if not quantity.backward)
    return (*(name for name in forward if name not in OF_HEADS and name in MEASURED), *OF_GROUPS)


def rows_of(arch: Architecture, names: Sequence[str]) -> tuple[Row, ...]:
    """Return the rows of these quantities, tokens apart. Raises ``InputError``."""
    for name in names:
        if name not in choices():
            raise InputError(f"observe={name!r}{near_miss(name, choices())}")
    wanted = [name for name in names if name not in OF_GROUPS]
    return select(arch, wanted) if wanted else ()


def named(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Return what ``values`` are: the rows as their means over tokens."""
    return token_means(rows)[0] if rows else ()


def values(
    static: Static, rows: tuple[Row, ...], params: Any, given: Any, words: Any, key: Any
) -> Any:
    """Return the means of the rows over tokens and sequences [B, T + 1]."""
    arch = static.arch

    def of_one(sequence: Any) -> Any:
        _, trace = network.forward(arch, static.shapes, params, given, sequence[:-1], key)
        outcome = Outcome(arch, trace, {}, given)
        names = dict.fromkeys(row.quantity for row in rows)
        return jnp.concatenate(
            [MEASURED[name]([r for r in rows if r.quantity == name], outcome) for name in names]
        )

    names = list(dict.fromkeys(row.quantity for row in rows))
    ordered = [row for name in names for row in rows if row.quantity == name]
    weights = token_means(ordered)[1].astype(np.float32)
    return jnp.matmul(weights, jax.vmap(of_one)(words).mean(axis=0), precision="highest")


def by_group(trees: Sequence[Any]) -> Any:
    """Return the root mean square of every group's entries [trees, groups]."""
    return jnp.stack(
        [jnp.stack([jnp.sqrt((x * x).mean()) for _, x in sorted(tree.items())]) for tree in trees]
    )

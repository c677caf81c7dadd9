"""The mean over features that a stem gives every token, along the stream: sums carry it on, a
LayerNorm after one takes it away."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from sigprop.errors import InputError
from sigprop.modules.terms import Norm, Term
from sigprop.reading.findings import pattern
from sigprop.reading.stem import where
from sigprop.reading.stems.means import Means
from sigprop.reading.stream import Stream, unwrapped


def seen(found: Stream, means: list[Means] | None) -> list[Means | None]:
    """Return the means that every application finds; None where no application of its kind finds
    any (layers that are copies stay of one kind)."""
    kinds = [pattern(f"{where(step.writes[0])}.") for step in found.steps]
    if means is None:
        return [None for _ in kinds]
    some = {kind for kind, mean in zip(kinds, means, strict=False) if mean.any()}
    return [mean if kind in some else None for kind, mean in zip(kinds, means, strict=False)]


def carried(stem: Any, found: Stream, terms: Iterable[Term]) -> list[Means] | None:
    """Return every state's means [T], of the stem first; None where it has none, or where no
    LayerNorm is of a state, so that nothing tells them from its other numbers.

    terms: all of the graph. Raises ``InputError`` for an RMSNorm of a state with a mean beside
    LayerNorms.
    """
    mean = np.broadcast_to(stem.means(found.stem), stem.tokens)
    states = {id(found.stem), *(id(step.total) for step in found.steps)}
    states |= {id(step.after) for step in found.steps}
    inner = map(unwrapped, terms)
    norms = [norm for norm in inner if isinstance(norm, Norm) and id(norm.of) in states]
    if not mean.any() or not any(norm.kind == "layer" for norm in norms):
        return None
    every = [np.array(mean)]
    held = {id(found.stem): every[0]}
    for step in found.steps:
        mean = step.factor * mean
        held[id(step.total)] = np.array(mean)
        if any(isinstance(norm, Norm) and norm.kind == "layer" for norm in step.norms):
            mean = 0 * mean
        held[id(step.after)] = np.array(mean)
        every.append(np.array(mean))
    for norm in norms:
        if norm.kind == "rms" and held[id(norm.of)].any():
            raise InputError(
                f"{where(norm)}: an RMSNorm of a state whose stem has a mean over features, beside "
                f"LayerNorms, which take it away; accepted: one kind of norm, or a stem without"
            )
    return every

"""Twins that know nothing of the theory: of any numbers, and of a network's own averages."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import sigprop as sp
from sigprop.description.averages import INPUTS, layout, matrices, most_uses
from sigprop.simulations.network.twin import Twin, looks_back
from sigprop.simulations.network.twins.uses import steps


def any_twin(
    arch: sp.Architecture,
    rows: int,
    seed: int = 0,
    off: float = 0.2,
    more: int = 0,
    back: bool = False,
) -> Twin:
    """One whose numbers are all drawn: coefficients ``off`` from 1, Grams of 1 + small cosines,
    every row a combination of up to 60 averages. more: lanes than the network's; back: whether it
    is pulled back, and rows look at averages there too."""
    draw = np.random.default_rng(seed)
    tokens, lanes = arch.tokens, arch.lanes + more
    reads = max(len(block.reads) for block in arch.sub_blocks)

    def near(value: Any, *shape: int) -> np.ndarray:
        return np.broadcast_to(value, shape) + off * draw.uniform(-1, 1, shape)

    def lower(*, last_first: bool) -> dict[str, np.ndarray]:
        found = {}
        for weight in matrices(arch):
            used = [len(each) * tokens for each in arch.applications_of(weight).values()]
            found[weight] = np.zeros((len(used), max(used), max(used)))
            for slot, side in enumerate(used):
                own = np.s_[max(used) - side :] if last_first else np.s_[:side]
                found[weight][slot, own, own] = np.tril(near(0.0, side, side)) + np.eye(side)
        return found

    at = places_of(arch, lanes, back)
    places = np.sort(draw.choice(at, min(60, len(at)), replace=False)).astype(np.int32)
    return Twin(
        near(1.0, lanes, tokens),
        near(1.0, arch.depth, reads, lanes, tokens),
        near(np.eye(lanes)[:, :, None], arch.depth, lanes, lanes, tokens),
        near(0.7, arch.depth, lanes, tokens),
        near(1.0, len(arch.readout.at), lanes, tokens),
        lower(last_first=False),
        lower(last_first=True) if back else {},
        places,
        near(1.0, len(places)),
        near(0.0, rows, len(places)),
    )


def places_of(arch: sp.Architecture, lanes: int, back: bool) -> np.ndarray:
    """Where averages stand that a twin of so many lanes has, those of a pass back among them or
    not."""
    shapes = layout(arch, lanes)
    kinds = np.repeat([looks_back([name]) for name in shapes], [*map(math.prod, shapes.values())])
    return np.flatnonzero(kinds <= back).astype(np.int32)


def own_averages(arch: sp.Architecture, stem: Any, trace: Any) -> dict[str, np.ndarray]:
    """A network's, of one lane, by name. trace: what its pass left."""
    lane, writes, stem = (np.asarray(x) for x in (trace.lanes[0], trace.writes, stem))
    n = lane.shape[-1]
    averages = {
        "states": np.einsum("atn,asn->ats", lane, lane)[:, None, None] / n,
        "crossed": np.einsum("atn,btn->abt", lane, lane) / n,
        "overlaps": np.einsum("atn,atn->at", writes, lane[:-1])[:, None] / n,
        "writes": np.einsum("atn,asn->ats", writes, writes) / n,
        "write_crossed": np.einsum("atn,btn->abt", writes, writes) / n,
        "stem": (stem * stem).mean(axis=-1),
    }
    for weight in matrices(arch):
        at, x = steps(arch, weight), np.asarray(trace.inputs[weight])
        seen = x[at] * (at >= 0)[:, :, None, None]
        averages[INPUTS + weight] = np.einsum("autn,avsn->autvs", seen, seen) / x.shape[-1]
    return averages


def own_twin(arch: sp.Architecture, averages: dict[str, np.ndarray]) -> Twin:
    """The twin of a residual network that is given what the network had: norms of what is read,
    Grams of what matrices are asked. Its rows are all averages."""
    norms = np.sqrt(np.einsum("aiitt->ait", averages["states"]))[:-1]
    normed = "Normalise" in str(arch.sub_blocks[0].reads)
    scale = np.broadcast_to(arch.number_tables["residual_scale"][:, None, None], norms.shape)
    factors = {}
    for weight in matrices(arch):
        side = most_uses(arch, weight) * arch.tokens
        factors[weight] = np.linalg.cholesky(averages[INPUTS + weight].reshape(-1, side, side))
    places = places_of(arch, 1, back=False)
    count = len(places)
    return Twin(
        np.ones((1, arch.tokens)),
        (1 / norms if normed else np.ones_like(norms))[:, None],
        np.ones((arch.depth, 1, 1, arch.tokens)),
        scale,
        np.ones((1, 1, arch.tokens)),
        factors,
        {},
        places,
        np.zeros(count),
        np.eye(count),
    )


def flat(arch: sp.Architecture, averages: dict[str, np.ndarray]) -> np.ndarray:
    """Those of the pass forward in order, of one lane."""
    names = [name for name in layout(arch, 1) if not looks_back([name])]
    return np.concatenate([averages[name].ravel() for name in names])

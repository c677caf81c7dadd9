"""Twins that know nothing of the theory: of any numbers, and of a network's own averages."""

from __future__ import annotations

from typing import Any

import numpy as np

import sigprop as sp
from sigprop.description.averages import INPUTS, layout, matrices, most_uses, size
from sigprop.simulations.network.twin import Twin, steps


def any_twin(
    arch: sp.Architecture, rows: int, seed: int = 0, off: float = 0.2, more: int = 0
) -> Twin:
    """One whose numbers are all drawn: coefficients ``off`` from 1, Grams of 1 + small cosines,
    every row a combination of up to 60 averages. more: lanes than the network's."""
    draw = np.random.default_rng(seed)
    tokens, lanes = arch.tokens, arch.lanes + more
    reads = max(len(block.reads) for block in arch.sub_blocks)

    def near(value: Any, *shape: int) -> np.ndarray:
        return np.broadcast_to(value, shape) + off * draw.uniform(-1, 1, shape)

    factors = {}
    for weight in matrices(arch):
        used = [len(each) * tokens for each in arch.applications_of(weight).values()]
        factors[weight] = np.zeros((len(used), max(used), max(used)))
        for slot, side in enumerate(used):
            lower = np.tril(near(0.0, side, side)) + np.eye(side)
            factors[weight][slot, :side, :side] = lower
    count = size(arch, lanes)
    places = np.sort(draw.choice(count, min(60, count), replace=False)).astype(np.int32)
    return Twin(
        near(1.0, lanes, tokens),
        near(1.0, arch.depth, reads, lanes, tokens),
        near(np.eye(lanes)[:, :, None], arch.depth, lanes, lanes, tokens),
        near(0.7, arch.depth, lanes, tokens),
        factors,
        places,
        near(1.0, len(places)),
        near(0.0, rows, len(places)),
    )


def own_averages(arch: sp.Architecture, stem: Any, trace: Any) -> dict[str, np.ndarray]:
    """A network's, of one lane, by name. trace: what its pass left."""
    lane, writes, stem = (np.asarray(x) for x in (trace.lanes[0], trace.writes, stem))
    n = lane.shape[-1]
    averages = {
        "states": np.einsum("atn,asn->ats", lane, lane)[:, None, None] / n,
        "crossed": np.einsum("atn,btn->abt", lane, lane) / n,
        "overlaps": np.einsum("atn,atn->at", writes, lane[:-1])[:, None] / n,
        "writes": np.einsum("atn,asn->ats", writes, writes) / n,
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
    count = size(arch, 1)
    return Twin(
        np.ones((1, arch.tokens)),
        (1 / norms if normed else np.ones_like(norms))[:, None],
        np.ones((arch.depth, 1, 1, arch.tokens)),
        scale,
        factors,
        np.arange(count, dtype=np.int32),
        np.zeros(count),
        np.eye(count),
    )


def flat(arch: sp.Architecture, averages: dict[str, np.ndarray]) -> np.ndarray:
    """The averages in order, of one lane."""
    return np.concatenate([averages[name].ravel() for name in layout(arch, 1)])

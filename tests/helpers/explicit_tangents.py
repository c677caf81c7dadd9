"""Tangent kernels of explicit networks, in plain numpy: every matrix drawn, applied, transposed."""

from __future__ import annotations

from typing import Any

import numpy as np

Found = dict[str | None, np.ndarray]


def tanh(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.tanh(u), 1 / np.cosh(u) ** 2


def linear(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return u, np.ones_like(u)


ACTIVATIONS = {"tanh": tanh, "linear": linear}


def means(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """<left_t, right_s> [B, T, T] of vectors [B, n, T]."""
    return np.swapaxes(left, 1, 2) @ right / left.shape[1]


def over_norm(g: np.ndarray, x: np.ndarray, size: np.ndarray) -> np.ndarray:
    """What comes back through x = h/rms(h)."""
    return (g - x * (x * g).mean(axis=1, keepdims=True)) / size


def tangents(rng: np.random.Generator, count: int, n: int, gram: np.ndarray, **given: Any) -> Found:
    """{group, or None: of all: Theta [count, T, T]} of networks of width n as
    ``skip_networks.network`` describes them (norm '', 'rms' or 'post'); z_t = v . h_D[t]/sqrt(n),
    one v; summed over all pairs of uses of a matrix, over n_in as ``ntk`` is."""
    phi, norm = ACTIVATIONS[given["activation"]], given.get("norm", "")
    matrices, ratio, slots = given["matrices"], int(given.get("rows", 1)), given["slots"]
    skip, strength = given.get("skip", 1.0), given.get("strength", 0.7)
    m = n * ratio if matrices == 2 else n

    def drawn(variance: float, rows: int, columns: int) -> np.ndarray:
        return np.sqrt(variance / columns) * rng.standard_normal((count, rows, columns))

    outer = {k: drawn(given["c2"], n, m) for k in sorted(set(slots))}
    inner = {k: drawn(given.get("c1", 1.0), m, n) for k in outer} if matrices == 2 else {}
    h = rng.standard_normal((count, n, len(gram))) @ np.linalg.cholesky(gram).T
    stack, size = [], np.ones((count, 1, len(gram)))
    for k in slots:
        if norm == "rms":
            size = np.sqrt((h**2).mean(axis=1, keepdims=True))
        r = h / size if norm == "rms" else h
        x, slope = phi(inner[k] @ r if inner else r)
        h = skip * h + strength * (outer[k] @ x)
        if norm == "post":
            size = np.sqrt((h**2).mean(axis=1, keepdims=True))
            h = h / size
        stack.append((k, r, x, slope, h, size))
    found: Found = {"readout": means(h, h)}
    g = np.repeat(rng.standard_normal((count, n, 1)), len(gram), axis=2)
    uses: dict[tuple[str, int], list[tuple[np.ndarray, np.ndarray]]] = {}
    for k, r, x, slope, after, size in reversed(stack):
        g = over_norm(g, after, size) if norm == "post" else g
        uses.setdefault(("w2", k), []).append((strength * g, x))
        y = slope * (np.swapaxes(outer[k], 1, 2) @ (strength * g))
        if inner:
            uses.setdefault(("w1", k), []).append((y, r))
            y = np.swapaxes(inner[k], 1, 2) @ y
        g = skip * g + (over_norm(y, r, size) if norm == "rms" else y)
    found["stem"] = means(g, g) * gram
    for (group, _), pairs in uses.items():
        rows = pairs[0][0].shape[1] / n
        every = np.array([means(d, e) * means(x, y) for d, x in pairs for e, y in pairs])
        found[group] = found.get(group, 0.0) + rows * every.sum(axis=0)
    return found | {None: np.array(list(found.values())).sum(axis=0)}

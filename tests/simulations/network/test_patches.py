"""A patch embedding drawn as a matrix: its gradient by ``jax.grad`` against the part of the
stem, and its slopes in n and n_patch (2304.02034)."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sigprop as sp
from sigprop.description.rows import select
from sigprop.simulations.engines.dense import DenseEngine
from sigprop.simulations.network.passes import run
from sigprop.simulations.network.trace import zero_probes

TOKENS, SAMPLES = 2, 160
SIZES = (64, 128, 256)


@functools.cache
def squared(width: int, patch: int) -> tuple[float, float]:
    """(mean of |dz/dW_patch|^2 over networks, its standard error): W_patch of variance 2/n_patch
    on unit patches of cosine 0.3."""
    arch = sp.architectures.transformer(tokens=TOKENS, mlp_ratio=1, head_dim=16, c_we=2.0)
    engine = DenseEngine(arch, select(arch, ["residual_variance"]), width, 2**30)
    shapes, probes = engine.static.shapes, zero_probes(arch, engine.static.shapes, width)
    root = jnp.asarray(np.linalg.cholesky([[1, 0.3], [0.3, 1]]), dtype=jnp.float32)

    def network(key: Any) -> Any:
        keys = [jax.random.fold_in(key, i) for i in range(3 + len(shapes))]
        normal = functools.partial(jax.random.normal, dtype=jnp.float32)
        patches, v = root @ normal(keys[0], (TOKENS, patch)), normal(keys[1], (TOKENS, width))
        matrices = engine.static.plan(
            engine.static, {s.name: k for s, k in zip(shapes, keys[3:], strict=True)}
        )

        def output(w: Any) -> Any:
            trace, _ = run(
                arch,
                shapes,
                patches @ w.T,
                matrices,
                state=matrices.start(),
                tables=engine.tables,
                probes=probes,
            )
            return (v * trace.lanes[0][-1]).sum() / jnp.float32(width) ** 0.5

        w = normal(keys[2], (width, patch)) * jnp.float32(2 / patch) ** 0.5
        return (jax.grad(output)(w) ** 2).sum()

    found = np.asarray(
        jax.jit(jax.vmap(network))(jax.random.split(jax.random.key(width + 7 * patch), SAMPLES)),
        dtype=np.float64,
    )
    return float(found.mean()), float(found.std(ddof=1) / math.sqrt(SAMPLES))


def slope(sizes: tuple[int, ...], values: list[tuple[float, float]]) -> tuple[float, float]:
    """Of the log by the log of the size, least squares: (slope, standard error)."""
    x = np.log(sizes) - np.log(sizes).mean()
    y, se = np.array([(math.log(value), error / value) for value, error in values]).T
    return float(x @ y / (x @ x)), float(np.sqrt((x**2) @ se**2) / (x @ x))


@pytest.mark.parametrize(
    ("name", "expected"), [("n", 0.0), pytest.param("n_patch", 1.0, marks=pytest.mark.long)]
)
def test_slopes_of_the_raw_squared_gradient(name: str, expected: float):
    """0 in n and 1 in n_patch, so a component's rms falls as n^-1/2 and does not know n_patch; 4
    standard errors and 0.03 for 1/n terms."""
    at = [squared(size, 32) if name == "n" else squared(64, size) for size in SIZES]
    value, se = slope(SIZES, at)
    assert abs(value - expected) < 4 * se + 0.03
    assert se < 0.06  # the companion: a slope that is 1/2 off would be seen


def test_the_part_of_the_stem_is_this_gradient():
    """``weight_gradient`` of the embedding is |dz/dW_patch|^2 / n_patch in the wide limit:
    within 4 standard errors and 3 % at n = 256."""
    arch = sp.architectures.transformer(tokens=TOKENS, mlp_ratio=1, head_dim=16, c_we=2.0)
    predicted = next(
        row["value"] for row in sp.predict(arch, ["weight_gradient"]) if row["group"] == "embedding"
    )
    mean, se = squared(256, 32)
    assert mean / 32 == pytest.approx(predicted, abs=4 * se / 32 + 0.03 * predicted)
    # the companion: with the variance 2 in it, it would be far off
    assert abs(mean / 32 - 2 * predicted) > 8 * se / 32

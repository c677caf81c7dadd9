"""The terms that the backward recursion drops: products of different paths of one gradient have
mean zero in finite two-block transformers."""

from __future__ import annotations

import functools
import itertools
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

WIDTH, TOKENS, SAMPLES = 128, 2, 300
PATHS = {"attention": ("skip", "v", "q", "k"), "mlp": ("skip", "w")}
MOST = 4.0  # standard errors: of the 56 products here one exceeds it in 4 of 1,000 runs


def layer_norm(h: Any) -> Any:
    """As the blocks read the stream."""
    centred = h - h.mean(axis=-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(axis=-1, keepdims=True))


@functools.cache
def products() -> dict[tuple[int, str, str, int, int], np.ndarray]:
    """(application, path, path', t, s) -> [SAMPLES] of <g_path[t], g_path'[s]>, of the gradient
    that reaches the state before it.

    Every path is pulled back by hand: the skip's is g_{a+1}; a weight's is the norm's Jacobian
    applied to W^T d.
    """
    arch = sp.architectures.transformer(depth=2, tokens=TOKENS, mlp_ratio=1, head_dim=8, c_q=4)
    engine = DenseEngine(arch, select(arch, ["residual_variance"]), WIDTH, 2**30)
    shapes, probes = engine.static.shapes, zero_probes(arch, engine.static.shapes, WIDTH)

    def network(key: Any) -> Any:
        keys = [jax.random.fold_in(key, i) for i in range(2 + len(shapes))]
        stem, v = (jax.random.normal(k, (TOKENS, WIDTH), dtype=jnp.float32) for k in keys[:2])
        matrices = engine.static.plan(
            engine.static, {s.name: k for s, k in zip(shapes, keys[2:], strict=True)}
        )
        sources = matrices.sources

        def forward(probes):
            given = {"state": matrices.start(), "tables": engine.tables, "probes": probes}
            return run(arch, shapes, stem, matrices, **given)[0]

        trace, pull = jax.vjp(lambda p: forward(p).lanes[0], probes)
        (g,) = pull(jnp.zeros_like(trace).at[-1].set(v))
        found = {}
        for a in range(arch.depth):
            _, norm = jax.vjp(layer_norm, trace[a])
            names = PATHS["attention" if a % 2 == 0 else "mlp"]
            paths = {"skip": g.states[a + 1]}
            for name in names[1:]:
                weight = sources[name][a // 2] * jnp.sqrt(
                    jnp.float32(arch.numbers[f"c_{name}"]) / WIDTH
                )
                paths[name] = norm(g.outputs[name][a] @ weight)[0]
            found |= {
                (a, x, y): paths[x] @ paths[y].T / WIDTH
                for x, y in itertools.combinations_with_replacement(names, 2)
            }
            found[a, "all", "all"] = sum(paths.values()) - g.states[a]
        return found

    found = jax.jit(jax.vmap(network))(jax.random.split(jax.random.key(0), SAMPLES))
    rest = max(float(np.abs(value).max()) for (_, x, _), value in found.items() if x == "all")
    assert rest < 1e-3  # the paths are the whole gradient
    cells = list(itertools.product(range(TOKENS), repeat=2))
    return {
        (a, x, y, t, s): np.asarray(value[:, t, s], dtype=np.float64)
        for (a, x, y), value in found.items()
        if x != "all"
        for t, s in cells
    }


def scores(different: bool) -> np.ndarray:
    """Means over their standard errors, of products of different paths or of a path with itself
    (same token)."""
    own = {
        key: p
        for key, p in products().items()
        if (key[1] != key[2]) == different and (different or key[3] == key[4])
    }
    return np.array([p.mean() / (p.std(ddof=1) / np.sqrt(SAMPLES)) for p in own.values()])


def test_products_of_different_paths_have_mean_zero():
    found = scores(different=True)
    assert len(found) == 2 * (6 + 1) * TOKENS**2
    assert np.abs(found).max() < MOST
    # as standardised means of zero scatter (correlated ones, hence so wide)
    assert (found**2).mean() == pytest.approx(1, abs=0.6)


def test_products_of_a_path_with_itself_do_not():
    """The companion: what the recursion keeps is many standard errors from zero."""
    assert scores(different=False).min() > 15

"""Shaped attention in finite networks against plain networks with explicit matrices and gates;
its fluctuations with Gaussian and orthogonal ones."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_rows import engine, rows_of

import sigprop as sp
from sigprop.description.rows import select
from sigprop.simulations.engines.engine import base_key
from sigprop.simulations.network import random
from sigprop.simulations.network.weights import draw, shapes

WIDTH, DEPTH, TOKENS, HEAD = 16, 2, 3, 4
GATES = {"gate_identity": 0.8, "gate": 0.5, "gate_centre": 0.3}


def network() -> sp.Architecture:
    alpha, beta, gamma = GATES.values()
    sizes = {
        "depth": DEPTH,
        "tokens": TOKENS,
        "head_dim": HEAD,
        "weights": "gaussian",
        "token_cosine": 0.3,
    }
    return sp.architectures.value_skipinit(
        **sizes, shape_alpha=alpha, shape_beta=beta, shape_gamma=gamma
    )


def plain(arch: sp.Architecture, key: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """{group: squared gradient of every block}, and <h, h> of the last state [T]: h <- U (alpha
    + beta Omega - gamma C) V h, in float64."""
    known = shapes(arch, WIDTH)
    keys = [jax.random.fold_in(key, i) for i in range(2 + len(known))]
    stem, v = (np.asarray(random.normal(k, (TOKENS, WIDTH)), dtype=np.float64) for k in keys[:2])
    theta: dict[str, Any] = {
        s.name: np.stack(
            [np.asarray(draw(k, s, np.uint32(slot)), dtype=np.float64) for slot in range(DEPTH)]
        )
        / WIDTH**0.5
        for s, k in zip(known, keys[2:], strict=True)
        if s.name not in GATES
    }
    heads = WIDTH // HEAD
    theta |= {name: np.full((DEPTH, heads), value) for name, value in GATES.items()}
    values, vectors = np.linalg.eigh(arch.input_gram)
    stem = (vectors * np.sqrt(values)) @ stem
    seen = np.tril(np.ones((TOKENS, TOKENS)))
    centre = seen / seen.sum(axis=1, keepdims=True)

    def last(theta: dict[str, Any]) -> Any:
        h = stem
        for a in range(DEPTH):
            q, k, x = (
                (h @ theta[name][a].T).reshape(TOKENS, heads, HEAD) for name in ("q", "k", "v")
            )
            scores = jnp.einsum("thd,shd->hts", q, k) / HEAD**0.5
            omega = jax.nn.softmax(jnp.where(seen[None] > 0, scores, -np.inf), axis=-1)
            gate = {name: theta[name][a][:, None, None] for name in GATES}
            both = (
                gate["gate_identity"] * np.eye(TOKENS)[None]
                + gate["gate"] * omega
                - gate["gate_centre"] * centre[None]
            )
            h = jnp.einsum("hts,shd->thd", both, x).reshape(TOKENS, WIDTH) @ theta["u"][a].T
        return h

    with jax.enable_x64(True):
        gradient = jax.grad(lambda theta: jnp.sum(v * last(theta)) / np.sqrt(WIDTH))(theta)
        h = np.asarray(last(theta))
    size = {name: 1.0 if name in GATES else 1 / WIDTH for name in theta}
    return {
        name: size[name] * (np.asarray(g) ** 2).reshape(DEPTH, -1).sum(axis=1)
        for name, g in gradient.items()
    }, (h**2).mean(axis=1)


def test_gates_and_weights_are_those_of_explicit_networks():
    """|dz/dW|^2/n and the sum over heads of (dz/dgate)^2, and the last state, network by
    network."""
    arch = network()
    rows = select(arch, ["residual_variance", "weight_gradient"])
    measured = rows_of(engine(arch, WIDTH, rows), 2, 4)
    key = base_key(arch, WIDTH, 3, 0)
    for sample in range(2):
        gradients, last = plain(arch, jax.random.fold_in(key, np.uint32(sample)))
        for row, value in zip(rows, measured[sample], strict=True):
            if row.quantity == "weight_gradient" and row.group in gradients:
                assert value == pytest.approx(
                    gradients[row.group][row.application or 0], rel=1e-4
                ), row
            elif row.quantity == "residual_variance" and row.application == DEPTH:
                assert value == pytest.approx(last[row.token or 0], rel=1e-4), row


@pytest.mark.parametrize("ensemble", ["gaussian", "orthogonal"])
def test_fluctuations_grow_with_depth_over_width_for_gaussian_matrices_only(ensemble: str):
    """One token, attention the identity, l layers of two matrices: <h, h> has relative variance
    (1 + 2/n)^(2l + 1) - 1 with Gaussian matrices, 2/n (the stem's own) with orthogonal ones;
    within five standard errors (a false alarm in 10^6)."""
    width, depth, samples = 64, 8, 4000
    arch = sp.architectures.value_skipinit(depth=depth, tokens=1, weights=ensemble, head_dim=8)
    (row,) = sp.measure(
        arch,
        width=width,
        samples=samples,
        seed=2,
        quantities=["residual_variance"],
        applications=[depth],
    )
    factors = 2 * depth * (ensemble == "gaussian") + 1
    first, second, third, fourth = (
        np.prod([1 + 2 * j / width for j in range(k)]) ** factors for k in (1, 2, 3, 4)
    )
    variance, error = (
        row["se"] ** 2 * samples,
        np.sqrt((fourth - 4 * third + 6 * second - 3 * first - (second - first) ** 2) / samples),
    )
    assert abs(variance - (second - first)) < 5 * error
    assert abs(variance - 2 / width) > 5 * error or ensemble == "orthogonal"

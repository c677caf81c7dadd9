"""The dense engine's gradients against plain networks with explicit matrices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_rows import SIZES, engine, rows_of

import sigprop as sp
from sigprop.description.rows import select
from sigprop.description.shapes import Row
from sigprop.simulations.engines.engine import base_key
from sigprop.simulations.network import random
from sigprop.simulations.network.weights import draw, shapes


@pytest.fixture(scope="module")
def explicit() -> Iterator[tuple[list[Row], np.ndarray, list[dict[Any, float]]]]:
    """(rows, the engine's [samples, R], the same numbers by key from plain networks with
    explicit matrices in float64)."""
    arch, width, samples = sp.architectures.looped_mlp(**SIZES, residual_scale=0.6), 16, 3
    rows = select(arch)
    measured = rows_of(engine(arch, width, rows), samples, 4)
    key = base_key(arch, width, 3, 0)
    plain = [
        plain_network(arch, width, jax.random.fold_in(key, np.uint32(i)), scale=0.6)
        for i in range(samples)
    ]
    yield list(rows), measured, plain


def plain_network(arch: sp.Architecture, width: int, key: Any, scale: float) -> dict[Any, float]:
    """h <- h + eps X_l relu(W_l h / rms(h)), blocks l = 0, 1 looped twice, two tokens; gradients
    with respect to W_l and X_l."""
    keys = [jax.random.fold_in(key, i) for i in range(4)]
    normal = [np.asarray(random.normal(k, (2, width)), dtype=np.float64) for k in keys[:2]]
    matrices = {
        shape.name: np.stack(
            [np.asarray(draw(k, shape, np.uint32(slot)), dtype=np.float64) for slot in range(2)]
        )
        for shape, k in zip(shapes(arch, width), keys[2:], strict=True)
    }
    matrices = {"w": matrices["w"] / np.sqrt(width), "x": matrices["x"] * np.sqrt(2 / width)}
    values, vectors = np.linalg.eigh(arch.input_gram)
    stem, v = (vectors * np.sqrt(values)) @ normal[0], normal[1]

    def states(theta: dict[str, Any], added: Any) -> list[Any]:
        """h_0 .. h_4 with a perturbation added at each of them."""
        found = [stem + added[0]]
        for a in range(4):
            h = found[-1]
            r = h / jnp.sqrt(jnp.mean(h * h, axis=1, keepdims=True))
            hidden = jnp.maximum(r @ theta["w"][a % 2].T, np.zeros((1, 1)))
            found.append(h + scale * hidden @ theta["x"][a % 2].T + added[a + 1])
        return found

    def z(theta: dict[str, Any], added: Any, readout: Any) -> Any:
        return jnp.sum(readout * states(theta, added)[-1]) / np.sqrt(width)

    with jax.enable_x64(True):
        none = np.zeros((5, 2, width))
        h = [np.asarray(s) for s in states(matrices, none)]
        by_weight, by_state = jax.grad(z, argnums=(0, 1))(matrices, none, v)
        each = [
            jax.grad(z, argnums=(0, 1))(matrices, none, np.eye(2)[:, t : t + 1] * v[0])
            for t in range(2)
        ]
    found: dict[Any, float] = {}
    for a, t in np.ndindex(5, 2):
        found["residual_variance", a, t] = float(np.mean(h[a][t] ** 2))
        found["gradient_variance", a, t] = float(np.sum(np.asarray(by_state)[a, t] ** 2))
    for a in range(5):
        found["token_covariance", a, 0] = float(np.mean(h[a][0] * h[a][1]))
        found["gradient_covariance", a, 0] = float(
            np.sum(np.asarray(by_state)[a, 0] * np.asarray(by_state)[a, 1])
        )
    for name, slot in (("w", 0), ("w", 1), ("x", 0), ("x", 1)):
        found["weight_gradient", slot, name] = (
            float(np.sum(np.asarray(by_weight[name])[slot] ** 2)) / width
        )
    stem = np.asarray(by_state)[0]
    found["weight_gradient", 0, "stem"] = float(np.sum(stem @ stem.T * arch.input_gram))
    found["weight_gradient", 4, "readout"] = float(sum(np.mean(h[4][t] ** 2) for t in range(2)))
    for t, s in ((0, 0), (0, 1), (1, 1)):
        parts = {
            name: float(np.sum(np.asarray(each[t][0][name]) * np.asarray(each[s][0][name]))) / width
            for name in ("w", "x")
        }
        own = [np.asarray(each[token][1])[0] for token in (t, s)]
        parts["stem"] = float(np.sum(np.einsum("ai,bi->ab", *own) * arch.input_gram))
        parts["readout"] = float(np.mean(h[4][t] * h[4][s]))
        found |= {("ntk", t, s, name): value for name, value in parts.items()}
        found["ntk", t, s, None] = sum(parts.values())
    return found


def key_of(row: Row) -> tuple[Any, ...]:
    if row.quantity == "ntk":
        return "ntk", row.token, row.token_2, row.group
    return (
        row.quantity,
        row.application,
        row.group if row.quantity == "weight_gradient" else row.token,
    )


@pytest.mark.parametrize(
    "quantity",
    [
        "residual_variance",
        "token_covariance",
        "gradient_variance",
        "gradient_covariance",
        "weight_gradient",
        "ntk",
    ],
)
def test_rows_are_those_of_explicit_matrices(quantity: str, explicit: Any):
    """The low-rank weight gradients and the NTK are jax.grad's with respect to the matrices,
    network by network, to 1e-4."""
    rows, measured, plain = explicit
    wanted = [i for i, row in enumerate(rows) if row.quantity == quantity]
    assert wanted
    expected = np.array([[network[key_of(rows[i])] for i in wanted] for network in plain])
    np.testing.assert_allclose(measured[:, wanted], expected, rtol=1e-4, atol=1e-5)


def test_explicit_matrices_of_another_sample_are_not_these(explicit: Any):
    """The companion: the comparison above fails for the network of another sample."""
    rows, measured, plain = explicit
    wanted = [i for i, row in enumerate(rows) if row.quantity == "weight_gradient"]
    other = np.array([plain[1][key_of(rows[i])] for i in wanted])
    assert not np.allclose(measured[0, wanted], other, rtol=1e-2)

"""Attention's tables: values that two other programs found and finite networks confirmed."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
from long_cases import apart

import sigprop as sp

INF = math.inf
STREAM = ["residual_variance", "token_covariance"]
GRADIENT = ["gradient_variance", "gradient_covariance"]


def found(table: sp.Table) -> dict[Any, float]:
    """(quantity, application, group) of token 0, or tokens 0 and 1 -> value."""
    rows = [row for row in table if row.get("token", 0) == 0 and row.get("token_2", 1) == 1]
    return {(row["quantity"], row["application"], row.get("group")): row["value"] for row in rows}


@pytest.mark.parametrize("head_dim", [INF, 64])
def test_twelve_sub_blocks_of_a_layer_norm_transformer(head_dim: float):
    """All C = 1, GELU, T = 8, cosine 0.3: to 0.1 %, and the stated error below that."""
    arch = sp.architectures.transformer(depth=6, tokens=8, c_x=1, mlp_ratio=1, head_dim=head_dim)
    table = sp.predict(arch, STREAM, [1, 2, 6, 12])
    values = found(table)
    for a, own, cross in [
        (1, 1.4414, 0.7016),
        (2, 1.8666, 0.9244),
        (6, 3.981, 2.726),
        (12, 7.569, 6.006),
    ]:
        assert values["residual_variance", a, None] == pytest.approx(own, rel=1e-3)
        assert values["token_covariance", a, None] == pytest.approx(cross, rel=1e-3)
    assert all(0 < row["error"] < 2e-3 * row["value"] for row in table)


TIED = {
    INF: ({1: (1.1584, 0.3093), 2: (1.6004, None), 4: (3.2724, 2.0638)}, (5.151, 0.366)),
    64: ({1: (1.1580, None), 2: (1.5991, None), 4: (3.2693, 2.0644)}, (5.128, 0.371)),
}


@pytest.mark.parametrize("head_dim", [INF, 64])
def test_tied_attention(head_dim: float):
    """T = 4, c_q c_k = 4, cosine 0.2, D = 4, eps = 1/2: scores are joint over the loops."""
    arch = sp.architectures.looped_transformer(**ATTENTION, loops=4, depth=1, head_dim=head_dim)
    values = found(sp.predict(arch, STREAM + GRADIENT, [0, 1, 2, 4]))
    states, gradient = TIED[head_dim]
    for a, (own, cross) in states.items():
        assert values["residual_variance", a, None] == pytest.approx(own, abs=1e-3)
        assert cross is None or values["token_covariance", a, None] == pytest.approx(
            cross, abs=1e-3
        )
    assert values["gradient_variance", 0, None] == pytest.approx(gradient[0], abs=5e-3)
    assert values["gradient_covariance", 0, None] == pytest.approx(gradient[1], abs=5e-3)


ATTENTION: dict[str, Any] = {
    "block": "attention",
    "tokens": 4,
    "token_cosine": 0.2,
    "c_q": 4,
    "norm_kind": "rms",
    "residual_scale": 0.5,
}


def test_untied_attention_is_another_network():
    values = found(
        sp.predict(
            sp.architectures.transformer(**ATTENTION, depth=4, head_dim=INF),
            STREAM + GRADIENT,
            [0, 1, 2, 4],
        )
    )
    assert values["residual_variance", 2, None] == pytest.approx(1.3223, abs=1e-3)
    assert values["residual_variance", 4, None] == pytest.approx(1.6646, abs=1e-3)
    assert values["token_covariance", 4, None] == pytest.approx(0.7162, abs=1e-3)
    assert values["gradient_variance", 0, None] == pytest.approx(2.396, abs=5e-3)
    assert values["gradient_covariance", 0, None] == pytest.approx(0.043, abs=5e-3)


# Three blocks, T = 6, read-out Gram of cosine 1/2 = (each + T^2 mean)/2, as gradients are linear in
# it.
BLOCKS: dict[str, Any] = {"depth": 3, "tokens": 6, "norm_kind": "rms", "mlp_ratio": 2}
BLOCKS_TABLE = {
    INF: {
        "own": [1.4801, 2.4801, 3.1038, 4.1038, 4.7972, 5.7972],
        "cross": [0.7336, 1.2647, 1.8717, 2.4916, 3.1764, 3.8476],
        "g": [9.0083, 4.6731, 2.7101, 1.9904, 1.4794, 1.2235],
        "g_cross": [4.5038, 2.1207, 1.3749, 0.9551, 0.7491, 0.5920],
        "q": [3.2044, 0.8986],
        "k": [3.2044, 0.8986],
        "v": [41.050, 24.840, 17.250],
        "u": [41.050, 24.840, 17.250],
    },
    32: {
        "own": [1.4795, 2.4795, 3.1031, 4.1031, 4.7967, 5.7967],
        "cross": [0.7336, 1.2649, 1.8720, 2.4921, 3.1771, 3.8485],
        "g": [9.0081, 4.6745, 2.7105, 1.9906, 1.4795, 1.2235],
        "g_cross": [4.5036, 2.1213, 1.3750, 0.9552, 0.7491, 0.5920],
        "q": [3.1744, 0.8910],
        "k": [3.2247, 0.9014],
        "v": [41.044, 24.847, 17.255],
        "u": [41.044, 24.847, 17.255],
        "w": [33.859 / 2],
        "x": [16.233],
    },
}


@functools.cache
def blocks(readout: str, head_dim: float, **more: Any) -> dict[Any, float]:
    return found(
        sp.predict(
            sp.architectures.transformer(**BLOCKS, **more, head_dim=head_dim, readout=readout),
            [*STREAM, *GRADIENT, "weight_gradient"],
        )
    )


@pytest.mark.parametrize("head_dim", apart([INF, 32], [INF]))
def test_untied_transformer(head_dim: float):
    """The stream to 0.1 %, gradients to 0.3 %, dQ and dK to 0.5 %: the tables' own inner errors,
    and ours."""
    each, mean, table = blocks("each", head_dim), blocks("mean", head_dim), BLOCKS_TABLE[head_dim]

    def g(*key):
        return (each[key] + 36 * mean[key]) / 2

    for a in range(6):
        assert each["residual_variance", a + 1, None] == pytest.approx(table["own"][a], rel=1e-3)
        assert each["token_covariance", a + 1, None] == pytest.approx(table["cross"][a], rel=1e-3)
        assert g("gradient_variance", a, None) == pytest.approx(table["g"][a], rel=1e-3)
        assert g("gradient_covariance", a, None) == pytest.approx(table["g_cross"][a], rel=1e-3)
    for group, first, rel in [
        ("q", 0, 5e-3),
        ("k", 0, 5e-3),
        ("v", 0, 3e-3),
        ("u", 0, 3e-3),
        ("w", 1, 3e-3),
        ("x", 1, 3e-3),
    ]:
        for i, value in enumerate(table.get(group, ())):
            assert g("weight_gradient", first + 2 * i, group) == pytest.approx(value, rel=rel), (
                group,
                i,
            )


LOOPS = {
    "1/N": (
        [1.0318, 1.0943, 1.1869, 1.3690, 1.5201, 1.8119, 2.0228, 2.4172],
        [0.3287, 0.3534, 0.4379, 0.5148, 0.6552, 0.7889, 0.9886, 1.1843],
        [2.9719, 2.3997, 1.8934, 1.5913, 1.3223, 1.1898, 1.0672, 1.0331],
        {(1, 3): 0.931, (2, 4): 0.957, (1, 7): 0.643, (2, 8): 0.768},
    ),
    "1/sqrt(N)": (
        [1.1271, 1.3771, 1.7247, 2.4141, 2.9941, 4.0744, 4.9250, 6.3909],
        None,
        [8.684, 5.480, 3.364, 2.351, 1.638, 1.3497, 1.1125, 1.0544],
        {(1, 3): 0.781, (2, 4): 0.879, (1, 7): 0.381, (2, 8): 0.599},
    ),
}


@pytest.mark.parametrize("scale", apart(LOOPS, ["1/N"]))
def test_looped_transformer(scale: str):
    """N = 4 loops of (attention, MLP), T = 5, head_dim 32; gradients are of the read-out Gram of
    cosine 1/2."""
    own, cross, gradient, cosines = LOOPS[scale]
    make = functools.partial(
        sp.architectures.looped_transformer,
        loops=4,
        tokens=5,
        norm_kind="rms",
        mlp_ratio=2,
        head_dim=32,
        residual_scale=scale,
    )
    each, mean = (
        found(sp.predict(make(readout=readout), STREAM + GRADIENT)) for readout in ("each", "mean")
    )
    for a in range(8):
        assert each["residual_variance", a + 1, None] == pytest.approx(own[a], rel=3e-3)
        assert cross is None or each["token_covariance", a + 1, None] == pytest.approx(
            cross[a], rel=3e-3
        )
        g = (each["gradient_variance", a, None] + 25 * mean["gradient_variance", a, None]) / 2
        assert g == pytest.approx(gradient[a], rel=3e-3)
    table = sp.predict(make(), ["write_cosine"], list(range(9)))
    pairs = {
        (row["application"], row["application_2"]): row["value"]
        for row in table
        if row["token"] == 0
    }
    for pair, value in cosines.items():
        assert pairs[pair] == pytest.approx(value, abs=3e-3)
